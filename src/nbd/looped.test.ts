/** Goal: a step that asks for itself runs again, never within itself, and not once too often. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { looped } from './looped.ts';

test('a step that asks for itself runs again after it, without end of the stack', () => {
  let runs = 0;
  let depth = 0;
  const step = looped(() => {
    depth += 1;
    assert.equal(depth, 1);
    runs += 1;
    if (runs < 100_000) {
      step();
      step();
    }
    depth -= 1;
  });
  step();
  assert.equal(runs, 100_000);
});

test('after a step that failed the next one runs', () => {
  let runs = 0;
  const step = looped(() => {
    runs += 1;
    if (runs === 1) throw new Error('the first');
  });
  assert.throws(step, /the first/);
  step();
  assert.equal(runs, 2);
});
