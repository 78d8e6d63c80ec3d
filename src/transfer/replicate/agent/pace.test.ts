/** Goal: who gave up waiting for an epoch is forgotten, however long no epoch comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../../../sim/index.ts';
import { Pace } from './pace.ts';

test('who asked and gave up hurries nothing any more; the others get what they asked for', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const pace = new Pace(world.env.clock);
    for (const isCut of [true, false]) {
      const late = new AbortController();
      const given = pace.reached(late.signal);
      if (isCut) pace.begun();
      late.abort(new Error('too late'));
      await assert.rejects(given, /too late/);
      if (!isCut) pace.begun();
    }
    pace.retry();
    const fromMs = world.nowMs;
    await pace.next(5_000, undefined);
    assert.ok(world.nowMs - fromMs >= 5_000, 'nobody waits for an epoch');

    const still = pace.reached(new AbortController().signal);
    pace.begun();
    pace.retry();
    pace.begun();
    pace.done();
    await still;
  });
});
