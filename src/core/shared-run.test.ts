/** Goal: a shared run begins after all who share it have joined, and never beside another one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SharedRun } from './shared-run.ts';

test('who joins meanwhile shares the next run; a failure reaches only those of its run', async () => {
  const runs: PromiseWithResolvers<void>[] = [];
  const shared = new SharedRun(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  const first = shared.join();
  const second = shared.join();
  const third = shared.join();
  assert.equal(runs.length, 1);
  assert.notEqual(first, second);
  assert.equal(second, third);
  runs[0]!.reject(new Error('no'));
  await assert.rejects(first, /no/);
  await Promise.resolve();
  assert.equal(runs.length, 2);
  const fourth = shared.join();
  let isSettled = false;
  const settled = shared.settled().then(() => {
    isSettled = true;
  });
  runs[1]!.resolve();
  await second;
  assert.equal(isSettled, false);
  runs[2]!.reject(new Error('again'));
  await assert.rejects(fourth, /again/);
  await settled;
  await new SharedRun(async () => {}).settled();
});
