/**
 * `npm run torture -- nbd [KILLS] [POWER-CUTS]`, `store [SEED [TRIAL]]`, `store-kills [KILLS]`,
 * `tracker [KILLS]`, `replicate [SEEDS]`, `replicate-seed SEED`, `replicate-kills [ROUNDS]`:
 * see the files of these names.
 * The numbers are totals: a run goes on where an interrupted one of the same code has stopped.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tortureNbd } from './nbd.ts';
import { tortureReplicate, trySeed } from './replicate.ts';
import { tortureReplicateKills } from './replicate-kills.ts';
import { tortureStore, tryStore } from './store.ts';
import { tortureStoreKills } from './store-kills.ts';
import { tortureTracker } from './tracker.ts';

const folder = mkdtempSync(join(tmpdir(), 'ferry-torture-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
// The handler of 'exit' runs only if the signal does not end the process at once.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

const usage =
  'Usage: npm run torture -- nbd [KILLS] [POWER-CUTS] | store [SEED [TRIAL]] | ' +
  'store-kills [KILLS] | tracker [KILLS] | replicate [SEEDS] | replicate-seed SEED | ' +
  'replicate-kills [ROUNDS]\n';

/** What each name runs, given its numbers; true if nothing was found. */
const tortures: Record<string, (words: readonly string[]) => Promise<boolean>> = {
  nbd: ([kills = '300', cuts = '20']) => tortureNbd(folder, number(kills), number(cuts)),
  store: ([seed, trial]) => (seed === undefined ? tortureStore() : tryStore(number(seed), trial)),
  'store-kills': ([kills = '1000']) => tortureStoreKills(folder, number(kills)),
  tracker: ([kills = '1000']) => tortureTracker(folder, number(kills)),
  replicate: ([seeds = '1000']) => tortureReplicate(number(seeds)),
  'replicate-seed': async ([seed = '']) => (await trySeed(number(seed))) !== undefined,
  'replicate-kills': ([rounds = '300']) => tortureReplicateKills(folder, number(rounds)),
};

function number(word: string): number {
  if (!/^\d+$/.test(word)) leave();
  return Number(word);
}

function leave(): never {
  process.stderr.write(usage);
  process.exit(2);
}

const [name = '', ...words] = process.argv.slice(2);
const torture = Object.hasOwn(tortures, name) ? tortures[name] : undefined;
if (torture === undefined) leave();
process.exitCode = (await torture(words)) ? 0 : 1;
