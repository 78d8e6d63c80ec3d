/** Goal: what is lent is lent once, is long enough, and no more is kept than was agreed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SpareMemory } from './spare-memory.ts';

test('nobody gets what somebody has, nor less than was asked for', () =>
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -5, max: 60 }), { maxLength: 80 }), (steps) => {
      const spare = new SpareMemory(100);
      const lent: Uint8Array[] = [];
      for (const step of steps) {
        if (step < 0) {
          const back = lent.splice(Math.min(lent.length, -step) - 1, 1)[0];
          if (back !== undefined) spare.give(back);
          continue;
        }
        const memory = spare.take(step);
        assert(memory.byteLength >= step);
        assert(!lent.some(({ buffer }) => buffer === memory.buffer));
        lent.push(memory);
      }
    }),
  ));

test('it comes back as it was, and what would be too much is let go', () => {
  const spare = new SpareMemory(100);
  const [first, second] = [spare.take(60), spare.take(50)];
  spare.give(first);
  spare.give(second);
  assert.equal(spare.take(10), first);
  assert.notEqual(spare.take(50), second);
});
