/** Goal: exactly one continuation runs, at once where the answer is there. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attempt } from './settle.ts';

const never = (): never => {
  throw new Error('the wrong continuation was called');
};

test('a plain answer continues in the same tick, a promise later', async () => {
  const seen: number[] = [];
  attempt(
    () => 1,
    (value) => seen.push(value),
    never,
  );
  assert.deepEqual(seen, [1]);
  await new Promise<void>((resolve) => {
    attempt(
      async () => 2,
      (value) => {
        seen.push(value);
        resolve();
      },
      never,
    );
    assert.deepEqual(seen, [1]);
  });
  assert.deepEqual(seen, [1, 2]);
});

test('a throw and a rejection of the call are both failures', async () => {
  const failures: unknown[] = [];
  attempt(never, never, (error) => failures.push(error));
  assert.equal(failures.length, 1);
  await new Promise<void>((resolve) => {
    attempt(
      async () => never(),
      never,
      (error) => {
        failures.push(error);
        resolve();
      },
    );
  });
  assert.equal(failures.length, 2);
});

test('what the continuation throws is not a failure of the call', () => {
  const mine = new Error('from the continuation');
  assert.throws(
    () =>
      attempt(
        () => 1,
        () => {
          throw mine;
        },
        never,
      ),
    (error) => error === mine,
  );
});
