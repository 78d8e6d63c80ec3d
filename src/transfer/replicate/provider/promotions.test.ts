/** Goal: a planned move comes about while the agent stands still, or not at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../../../sim/index.ts';
import { toHex } from '../../../core/index.ts';
import { makePlace, openPlace, presentOf, sendEpoch } from '../../replicate.suite.ts';
import { digestOf } from '../../replicate-model.suite.ts';
import { GroupPromotions } from './group-promotion.ts';
import { Promotions } from './promotions.ts';

for (const isCutOff of [false, true]) {
  const how = isCutOff ? 'is not taken once the link to its agent broke' : 'is taken';
  test(`what an agent offers ${how}`, async () => {
    const world = simulatedEnv(1);
    await world.run(async () => {
      const { env } = world;
      await makePlace(env);
      await using place = await openPlace(env);
      const { replica } = place;
      await sendEpoch(replica, 1, [[{ offsetBytes: 0, bytes: new Uint8Array(4096).fill(1) }]]);
      const digest = toHex(await digestOf(env, await presentOf(replica)));
      const promotions = new Promotions(env, new GroupPromotions(env, '/replica'));
      let taken: Promise<number> | undefined;
      // Its snapshot is being made when the session ends; the agent may come again, and go on.
      const wishMove = () => {
        taken = promotions.takeOver(replica, { authority: 1, epoch: 1, digest });
        taken.catch(() => undefined); // Asked below.
        if (isCutOff) promotions.ended(replica);
      };
      const contact = { wishMove, fence: async () => undefined };
      const presenceOf = () => ({ contact, sinceContactMs: 0 });
      const by = { isForced: false, isAgentDead: false };
      const promoting = promotions.promote([replica], presenceOf, by);
      if (isCutOff) {
        await assert.rejects(promoting, { code: 'REPLICATE_NOT_MOVED' });
        await assert.rejects(taken!, { code: 'REPLICATE_NOT_MOVED' });
      } else await promoting;
      assert.equal(replica.authority.state.promotion?.epoch, isCutOff ? undefined : 1);
    });
  });
}
