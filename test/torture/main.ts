/**
 * `npm run torture -- nbd [KILLS] [POWER-CUTS]`, `store [SEED [TRIAL]]`, `tracker [KILLS]`,
 * `replicate [SEEDS [FIRST]]`, `replicate-kills [ROUNDS]`: see the files of these names.
 * The numbers are totals: a run goes on where an interrupted one of the same code has stopped.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tortureNbd } from './nbd.ts';
import { tortureReplicate } from './replicate.ts';
import { tortureReplicateKills } from './replicate-kills.ts';
import { tortureStore, tryStore } from './store.ts';
import { tortureTracker } from './tracker.ts';

const folder = mkdtempSync(join(tmpdir(), 'ferry-torture-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
// The handler of 'exit' runs only if the signal does not end the process at once.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));

async function run([name, ...words]: readonly string[]): Promise<boolean | undefined> {
  const number = (word: string) => (/^\d+$/.test(word) ? Number(word) : Number.NaN);
  if (name === 'nbd') {
    const [kills = '300', cuts = '20'] = words;
    const counts = [number(kills), number(cuts)] as const;
    return counts.some(Number.isNaN) ? undefined : tortureNbd(folder, ...counts);
  }
  if (name === 'tracker') {
    const kills = number(words[0] ?? '1000');
    return Number.isNaN(kills) ? undefined : tortureTracker(folder, kills);
  }
  if (name === 'replicate') {
    const [seeds = '1000', first = '1'] = words;
    const counts = [number(seeds), number(first)] as const;
    return counts.some(Number.isNaN) ? undefined : tortureReplicate(...counts);
  }
  if (name === 'replicate-kills') {
    const rounds = number(words[0] ?? '300');
    return Number.isNaN(rounds) ? undefined : tortureReplicateKills(folder, rounds);
  }
  if (name !== 'store') return undefined;
  const [seed, trial] = words;
  if (seed === undefined) return tortureStore(folder);
  return Number.isNaN(number(seed)) ? undefined : tryStore(number(seed), trial);
}

const right = await run(process.argv.slice(2));
if (right === undefined) {
  process.stderr.write(
    'Usage: npm run torture -- nbd [KILLS] [POWER-CUTS] | store [SEED [TRIAL]] | tracker [KILLS] ' +
      '| replicate [SEEDS [FIRST]] | replicate-kills [ROUNDS]\n',
  );
  process.exitCode = 2;
} else process.exitCode = right ? 0 : 1;
