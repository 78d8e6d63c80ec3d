/**
 * `npm run torture -- replicate [SEEDS]`: agent and provider in a simulated world, under as many
 * seeds; each one twice, which must give the same run. `replicate-seed SEED` runs one again.
 */

import { simulateAlone } from '../../src/transfer/replicate-alone.suite.ts';
import { simulateAuthority } from '../../src/transfer/replicate-authority.suite.ts';
import { simulateGroupPromotion } from '../../src/transfer/replicate-group-promotion.suite.ts';
import {
  PARTITION_LEASE_MS,
  simulatePartition,
} from '../../src/transfer/replicate-partition.suite.ts';
import { simulate } from '../../src/transfer/replicate-simulation.suite.ts';
import { type Counts, Total } from './total.ts';

/** More failures than this are the same ones again. */
const FAILURES_MAX = 20;
const kind = 'seeds';

/** True if every seed ended well, in this run and in those of the same code before it. */
export async function tortureReplicate(seeds: number): Promise<boolean> {
  const total = new Total('replicate', ['test/torture/replicate.ts']);
  process.stdout.write(`code ${total.code}, totals in ${total.path}\n`);
  const of = (count: string) => total.get(kind, count);
  for (let failed = 0; of('rounds') < seeds && failed < FAILURES_MAX; ) {
    failed += await total.count(kind, () => trySeed(of('rounds') + 1));
  }
  process.stdout.write(
    `${of('rounds')} seeds: ${of('cuts')} cuts of the volume, ${of('crashes')} power cuts, ` +
      `${of('promotions')} promotions, ${of('failures')} seeds failed\n`,
  );
  return of('failures') === 0;
}

/** Throws, with the seed, what was found. */
export async function trySeed(seed: number): Promise<Counts> {
  // Every other seed two volumes as a group, every third one over datagrams; in every seventh the
  // provider's disk goes back to an older copy.
  const how = { isGroup: seed % 2 === 0, isUdp: seed % 3 === 0, goesBack: seed % 7 === 0 };
  try {
    const { digest, cuts, crashes } = await simulate(seed, {}, how);
    const again = await simulate(seed, {}, how);
    if (digest !== again.digest) throw new Error('two runs differ');
    const moves = await tryMoves(seed);
    return { cuts, crashes: crashes + moves.crashes, promotions: moves.promotions };
  } catch (cause) {
    throw new Error(`seed ${seed}`, { cause });
  }
}

/**
 * A fifth of the seeds each: moves by plan and by force, long partitions, a group's promotion, and
 * agents that come back before their providers.
 */
async function tryMoves(seed: number) {
  const isLeased = seed % 4 < 2;
  const none = { planned: 0, forced: 0, crashes: 0 };
  const apart = () => simulatePartition(seed, isLeased ? { leaseMs: PARTITION_LEASE_MS } : {});
  const moves = () => simulateAuthority(seed, isLeased ? { leaseMs: 60 } : {});
  const group = async () => {
    const { isForced, wasAtOnce, crashes } = await simulateGroupPromotion(seed);
    return { planned: wasAtOnce && !isForced ? 1 : 0, forced: isForced ? 1 : 0, crashes };
  };
  const alone = () => simulateAlone(seed, isLeased ? { leaseMs: 60 } : {});
  const trial = [apart, moves, group, alone][seed % 5];
  const { planned, forced, crashes } = (await trial?.()) ?? none;
  return { promotions: planned + forced, crashes };
}
