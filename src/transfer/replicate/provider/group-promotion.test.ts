/** Goal: a replica takes what its group has decided; another one of its name does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../../../sim/index.ts';
import { commitOf, cutOf, dataOf, makePlace, openPlace } from '../../replicate.suite.ts';
import { GroupPromotions } from './group-promotion.ts';
import type { Replica } from './replica.ts';

const group = { name: 'db', members: ['log', 'vol'] };

/** Epoch 1, as one of the group. */
async function oneEpoch(replica: Replica): Promise<void> {
  const messages = [dataOf(1, [{ offsetBytes: 0, bytes: new Uint8Array(4096).fill(1) }])];
  await replica.begin({ ...cutOf(1, 0), group: 1 });
  for (const message of messages) await replica.put(message);
  await replica.inTurn(async () => {
    await replica.ready(commitOf(1, messages), group);
    await replica.settle(commitOf(1, messages), group);
  });
}

test('a decision is for the replica that it was made of, and for no other of its name', async () => {
  const world = simulatedEnv(3);
  await world.run(async () => {
    const { env } = world;
    const promotions = new GroupPromotions(env, '/replica');
    await makePlace(env);
    {
      await using before = await openPlace(env);
      await oneEpoch(before.replica);
      await promotions.decide([before.replica], { isForced: true, wallMs: 0 });
      assert.equal(before.replica.authority.state.promotion, undefined);
    }
    {
      await using same = await openPlace(env);
      await promotions.finish(same.replica);
      assert.equal(same.replica.authority.state.promotion?.epoch, 1);
    }
    // Somebody gives that up: what the volume was kept in goes, and its agent begins anew.
    for (const name of await env.files.list('/replica')) {
      if (name !== 'groups') await env.files.remove(`/replica/${name}`);
    }
    await using another = await openPlace(env);
    await oneEpoch(another.replica);
    assert.deepEqual(another.replica.group, group);
    await promotions.finish(another.replica);
    assert.equal(another.replica.authority.state.promotion, undefined);
  });
});
