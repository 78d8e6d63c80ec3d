/** Goal: whatever breaks, the provider has the volume as it was at some cut, and ends equal. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../core/index.ts';
import { Attempt } from './replicate/provider/attempt.ts';
import type { TrackedModel } from './replicate-model.suite.ts';
import { planted, replaced } from './replicate-planted.suite.ts';
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

test('patches against other places are made in the trials, and refused if those hold something else', async () => {
  const counts = { isNew: 0, isBelow: 0, refused: 0 };
  const undo = watched(counts);
  try {
    for (let seed = 1; seed <= 5; seed += 1) await simulate(seed);
    assert.ok(counts.isNew > 20 && counts.isBelow > 20, JSON.stringify(counts));
    assert.equal(counts.refused, 0);
    const source = (model: TrackedModel) => {
      model.belowFrom = (number) => Math.max(0, number - 1);
      return model;
    };
    for (let seed = 1; seed <= 5; seed += 1) await simulate(seed, { source });
    assert.ok(counts.refused > 0, JSON.stringify(counts));
  } finally {
    undo();
  }
});

/** Counts what patches stand on, and epochs that were given up. */
function watched(counts: { isNew: number; isBelow: number; refused: number }): () => void {
  const { count, fail } = Attempt.prototype;
  const ends = [
    replaced(Attempt.prototype, 'count', function (this: Attempt, data) {
      for (const { isNew } of data.entries.flatMap(({ places = [] }) => places)) {
        if (isNew) counts.isNew += 1;
        else counts.isBelow += 1;
      }
      count.call(this, data);
    }),
    replaced(Attempt.prototype, 'fail', function (this: Attempt, error) {
      if (hasCode(error, 'REPLICATE_HASH')) counts.refused += 1;
      fail.call(this, error);
    }),
  ];
  return () => {
    for (const end of ends) end();
  };
}

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
