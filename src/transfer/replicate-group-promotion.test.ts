/** Goal: a group is promoted whole or not at all, whatever fails; its agent hears the truth. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  authorityOf,
  DECISION,
  simulateGroupPromotion,
} from './replicate-group-promotion.suite.ts';

const SEEDS = 6;

test('both volumes of a group are promoted or none, at one cut, at every moment', async () => {
  let crashes = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    crashes += (await simulateGroupPromotion(seed)).crashes;
  }
  assert.ok(crashes > SEEDS, `only ${crashes} power cuts`);
});

test('where one file cannot be written, the move is whole or does not come about', async () => {
  for (const failsAt of [authorityOf('log'), authorityOf('vol'), DECISION]) {
    for (const seed of [2, 3]) await simulateGroupPromotion(seed, { failsAt });
  }
});
