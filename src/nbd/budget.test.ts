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

test('thousands that wait and release in turn are called without end of the stack', () => {
  const budget = new Budget(100);
  let called = 0;
  for (let count = 0; count < 50_000; count += 1) {
    budget.wait(() => {
      called += 1;
      budget.hold(1);
      budget.release(1);
    });
  }
  budget.hold(1);
  budget.release(1);
  assert.equal(called, 50_000);
});

test('who waits again while others release is called again', () => {
  const budget = new Budget(100);
  const calls: string[] = [];
  budget.hold(2);
  budget.wait(() => {
    calls.push('first');
    if (calls.length === 1) budget.wait(() => calls.push('first again'));
  });
  budget.wait(() => {
    calls.push('second');
    budget.release(1);
  });
  budget.release(1);
  assert.deepEqual(calls, ['first', 'second', 'first again']);
});
