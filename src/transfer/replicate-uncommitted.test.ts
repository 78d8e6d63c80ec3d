/** Goal: a journal relies on no chunk of a snapshot that may not come about. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../sim/index.ts';
import { codecPool } from '../codec/index.ts';
import { sha256 } from '../core/index.ts';
import { backup } from './backup/index.ts';
import { KIB, makePlace, openPlace, sendEpoch } from './replicate.suite.ts';

test('what a snapshot in the making has stored is asked for, until that is committed', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    const bytes = Uint8Array.from({ length: 64 * KIB }, (_, at) => (at * at) >> 5);
    const hash = sha256(bytes);
    const meanwhile: (readonly boolean[])[] = [];
    await using place = await openPlace(env, {
      makeSnapshot: async (device, _since, wish) => {
        await using pool = codecPool(env, 0);
        const beforeCommit = async () => {
          // The chunk is in a pack by then.
          const index = await place.repository.index();
          assert.ok(index.uncommitted.size > 0);
          meanwhile.push(await place.replica.knows([hash]));
        };
        const more = { changeSource: 'replica', pool, compare: false, beforeCommit };
        return (await backup(env, place.repository, device, { ...wish, ...more })).snapshot;
      },
    });
    await sendEpoch(place.replica, 1, [[{ offsetBytes: 0, bytes }]]);
    await place.replica.assemble();
    assert.deepEqual(meanwhile, [[false]]);
    assert.deepEqual(await place.replica.knows([hash]), [true]);
  });
});
