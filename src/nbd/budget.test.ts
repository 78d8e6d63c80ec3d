/** Goal: memory is shared, and no request is too long to get its turn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Budget } from './budget.ts';

test('what is longer than the whole budget has room when nobody holds anything', () => {
  const budget = new Budget(100);
  assert.equal(budget.hasRoomFor(101), true);
  budget.hold(1);
  assert.equal(budget.hasRoomFor(99), true);
  assert.equal(budget.hasRoomFor(100), false);
  assert.equal(budget.hasRoomFor(101), false);
});

test('those who wait are called once, when something was released', () => {
  const budget = new Budget(100);
  const calls: string[] = [];
  const forgotten = (): void => void calls.push('forgotten');
  budget.hold(100);
  budget.wait(() => calls.push('first'));
  budget.wait(forgotten);
  budget.forget(forgotten);
  assert.equal(budget.isContended, true);
  budget.release(1);
  budget.release(1);
  assert.deepEqual(calls, ['first']);
  assert.equal(budget.isContended, false);
});
