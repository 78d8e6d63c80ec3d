/**
 * `npm run torture -- replicate [SEEDS [FIRST]]`: agent and provider in a simulated world, under as
 * many seeds; each one twice, which must give the same run.
 */
import { messageOf } from '../../src/core/index.ts';
import { simulate } from '../../src/transfer/replicate-simulation.suite.ts';

/** True if every seed ended well. */
export async function tortureReplicate(seeds: number, first: number): Promise<boolean> {
  let bad = 0;
  let cuts = 0;
  let crashes = 0;
  for (let seed = first; seed < first + seeds; seed += 1) {
    try {
      // Every other seed two volumes as a group, every third one over datagrams.
      const how = { isGroup: seed % 2 === 0, isUdp: seed % 3 === 0 };
      const outcome = await simulate(seed, {}, how);
      const again = await simulate(seed, {}, how);
      if (outcome.digest !== again.digest) throw new Error('two runs differ');
      cuts += outcome.cuts;
      crashes += outcome.crashes;
    } catch (error) {
      bad += 1;
      process.stderr.write(`seed ${seed}: ${messageOf(error)}\n`);
    }
  }
  const done = `${seeds} seeds from ${first} on: ${cuts} cuts of the volume`;
  process.stdout.write(`${done}, ${crashes} power cuts judged, ${bad} seeds failed\n`);
  return bad === 0;
}
