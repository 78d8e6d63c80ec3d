/** Goal: whatever breaks, the provider has the volume as it was at some cut, and ends equal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrackedModel } from './replicate-model.suite.ts';
import { planted } from './replicate-planted.suite.ts';
import { simulate } from './replicate-simulation.suite.ts';

const SEEDS = 50;
const GROUP_SEEDS = 12;
const UDP_SEEDS = 6;
const GONE_BACK_SEEDS = 6;
const SEEDS_TO_FIND = 40;

test('under every seed the provider has some cut whole, and both ends become equal', async () => {
  let crashes = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) crashes += (await simulate(seed)).crashes;
  assert.ok(crashes > 3 * SEEDS, `only ${crashes} power cuts were tried`);
});

test('two volumes of a group are at one cut at every moment, whatever breaks', async () => {
  let crashes = 0;
  for (let seed = 1; seed <= GROUP_SEEDS; seed += 1) {
    crashes += (await simulate(seed, {}, { isGroup: true, crashChance: 1 / 40 })).crashes;
  }
  assert.ok(crashes > 10 * GROUP_SEEDS, `only ${crashes} power cuts were tried`);
});

test('datagrams that are lost, doubled, late or changed alter nothing but the time', async () => {
  let count = 0;
  for (let seed = 1; seed <= UDP_SEEDS; seed += 1) {
    count += (await simulate(seed, {}, { isUdp: true })).datagrams;
  }
  assert.ok(count > 40 * UDP_SEEDS, `only ${count} datagrams were sent`);
});

test('a provider that goes back to an older disk is noticed, and has all of it again', async () => {
  let goneBack = 0;
  for (let seed = 1; seed <= GONE_BACK_SEEDS; seed += 1) {
    const how = { goesBack: true, isGroup: seed % 2 === 0 };
    goneBack += (await simulate(seed, {}, how)).goneBack;
  }
  assert.ok(goneBack > GONE_BACK_SEEDS, `only ${goneBack} times`);
});

test('patches against what is not there are refused, and what they stood for is sent whole', async () => {
  const plant = {
    source: (model: TrackedModel) => {
      model.oldBytesFrom = (number) => Math.max(0, number - 1);
      return model;
    },
  };
  for (let seed = 1; seed <= 5; seed += 1) await simulate(seed, plant);
});

test('a seed gives the same run twice', async () => {
  assert.equal((await simulate(3)).digest, (await simulate(3)).digest);
});

for (const [name, plant] of Object.entries(planted)) {
  test(`the trials find a defect: ${name}`, async () => {
    const undo = plant.plant?.();
    try {
      for (let seed = 1; seed <= SEEDS_TO_FIND; seed += 1) {
        const { isGroup = false, goesBack = false } = plant;
        const options = { crashChance: 1 / 20, isGroup, goesBack };
        const found = await simulate(seed, plant, options).catch((error: unknown) => error);
        if (found instanceof Error) return;
      }
    } finally {
      undo?.();
    }
    assert.fail(`not found under ${SEEDS_TO_FIND} seeds`);
  });
}
