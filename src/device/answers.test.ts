/** Goal: several answers become one that comes when no buffer is in use any more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allOf } from './answers.ts';

test('synchronous calls stay synchronous, and a throw ends them', () => {
  const done: number[] = [];
  assert.equal(allOf([() => void done.push(1), () => void done.push(2)]), undefined);
  const fail = (): never => {
    throw new Error('on purpose');
  };
  assert.throws(
    () => allOf([() => void done.push(3), fail, () => void done.push(4)]),
    /on purpose/,
  );
  assert.deepEqual(done, [1, 2, 3]);
});

test('a failure is told only after the other calls have settled', async () => {
  const thrown = (): never => {
    throw new Error('thrown');
  };
  for (const failing of [async () => Promise.reject(new Error('rejected')), thrown]) {
    let slowDone = false;
    const slow = async (): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve));
      slowDone = true;
    };
    const answer = allOf([slow, failing]);
    await assert.rejects(async () => answer, /rejected|thrown/);
    assert.ok(slowDone);
  }
});
