/** Goal: at most one side writes under each authority, and nothing that was written is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulateAlone } from './replicate-alone.suite.ts';
import { simulateAuthority } from './replicate-authority.suite.ts';
import { PARTITION_LEASE_MS, simulatePartition } from './replicate-partition.suite.ts';

const SEEDS = 10;
const LEASE_SEEDS = 4;
const LEASE_MS = 60;
const ALONE = [
  [3, {}],
  [6, {}],
  [2, { leaseMs: LEASE_MS }],
  [5, { leaseMs: LEASE_MS }],
] as const;

test('moves by plan and by force, cut off anywhere, leave one writer and lose nothing', async () => {
  const total = { planned: 0, forced: 0, returned: 0, branches: 0, crashes: 0 };
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const outcome = await simulateAuthority(seed);
    for (const key of ['planned', 'forced', 'returned', 'branches', 'crashes'] as const)
      total[key] += outcome[key];
  }
  const { crashes, planned, ...others } = total;
  assert.ok(crashes > 10 * SEEDS, `only ${crashes} power cuts, ${planned} planned moves`);
  for (const [name, count] of Object.entries(others)) assert.ok(count > 0, `${name}: ${count}`);
});

test('with a lease the agent acknowledges nothing after the provider has begun to write', async () => {
  let forced = 0;
  for (let seed = 1; seed <= LEASE_SEEDS; seed += 1) {
    forced += (await simulateAuthority(seed, { leaseMs: LEASE_MS })).forced;
  }
  assert.ok(forced > 0, `only ${forced} promotions by force`);
});

test('an agent that serves before it has heard its provider leaves one writer, and loses nothing', async () => {
  const total = { forced: 0, branches: 0, alone: 0 };
  for (const [seed, lease] of ALONE) {
    const outcome = await simulateAlone(seed, lease);
    for (const key of ['forced', 'branches', 'alone'] as const) total[key] += outcome[key];
  }
  for (const [name, count] of Object.entries(total)) assert.ok(count > 0, `${name}: ${count}`);
});

test('an agent that is cut off for long does not write under what its provider writes', async () => {
  const withLease = await simulatePartition(1, { leaseMs: PARTITION_LEASE_MS });
  const without = await simulatePartition(2);
  for (const { forced } of [withLease, without]) assert.ok(forced > 0, 'nothing was promoted');
});
