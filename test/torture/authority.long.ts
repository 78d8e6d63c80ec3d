/** Goal: many moves between two writers under seeds; each planted defect in them is found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateAlone } from '../../src/transfer/replicate-alone.suite.ts';
import { simulateAuthority } from '../../src/transfer/replicate-authority.suite.ts';
import {
  plantedAuthority,
  plantedGroupPromotion,
} from '../../src/transfer/replicate-authority-planted.suite.ts';
import { simulateGroupPromotion } from '../../src/transfer/replicate-group-promotion.suite.ts';
import {
  PARTITION_LEASE_MS,
  simulatePartition,
} from '../../src/transfer/replicate-partition.suite.ts';

const SEEDS = 100;
const SEEDS_TO_FIND = 60;
const LEASE_MS = 60;

test('a hundred seeds leave one writer, and lose nothing; so do they with leases', async () => {
  let planned = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    planned += (await simulateAuthority(seed)).planned;
    planned += (await simulateAuthority(seed, { leaseMs: LEASE_MS })).planned;
  }
  assert.ok(planned > 5, `only ${planned} planned moves`);
});

test('a hundred seeds with long partitions leave one writer, with leases and without', async () => {
  let forced = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const lease = seed % 2 === 0 ? {} : { leaseMs: PARTITION_LEASE_MS };
    forced += (await simulatePartition(seed, lease)).forced;
  }
  assert.ok(forced > SEEDS, `only ${forced} promotions by force`);
});

test('a hundred seeds where the agent comes back first leave one writer, and lose nothing', async () => {
  let branches = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const lease = seed % 2 === 0 ? {} : { leaseMs: LEASE_MS };
    branches += (await simulateAlone(seed, lease)).branches;
  }
  assert.ok(branches > SEEDS / 2, `only ${branches} branches`);
});

test('sixty groups are promoted whole, or not at all', async () => {
  for (let seed = 1; seed <= SEEDS_TO_FIND; seed += 1) await simulateGroupPromotion(seed);
});

for (const [name, plant] of Object.entries(plantedGroupPromotion)) {
  test(`the trials find a defect: ${name}`, async () => {
    const undo = plant();
    try {
      for (let seed = 1; seed <= SEEDS_TO_FIND; seed += 1) {
        const found = await simulateGroupPromotion(seed).catch((error: unknown) => error);
        if (found instanceof Error) return;
      }
    } finally {
      undo();
    }
    assert.fail(`not found under ${SEEDS_TO_FIND} seeds`);
  });
}

for (const [name, plant] of Object.entries(plantedAuthority)) {
  test(`the trials find a defect: ${name}`, async () => {
    const { plant: begin, isPartition = false, isAlone = false, ...options } = plant;
    const elsewhere = isAlone ? simulateAlone : simulateAuthority;
    const simulate = isPartition ? simulatePartition : elsewhere;
    const undo = begin();
    try {
      for (let seed = 1; seed <= SEEDS_TO_FIND; seed += 1) {
        const found = await simulate(seed, options).catch((error: unknown) => error);
        if (found instanceof Error) return;
      }
    } finally {
      undo();
    }
    assert.fail(`not found under ${SEEDS_TO_FIND} seeds`);
  });
}
