/**
 * `npm run fuzz -- TARGET SECONDS [SEED]`: tries seed after seed until the time is over. A failure
 * prints its seed; given that seed and 0 seconds, that one trial runs again. FERRY_FUZZ_TOTAL names
 * a file that keeps the total over several runs, from which the next run goes on.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { target as fs } from './fs.suite.ts';
import { target as nbd } from './nbd.suite.ts';
import { target as nbdDecoders } from './nbd-decoders.suite.ts';
import type { FuzzTarget } from './target.ts';
import { target as wire } from './wire.suite.ts';

const targets: Readonly<Record<string, FuzzTarget>> = {
  nbd,
  'nbd-decoders': nbdDecoders,
  wire,
  fs,
};

type Total = { seconds: number; trials: number; nextSeed: number };

const SAVE_EVERY_MS = 10_000;

function usage(): never {
  const rows = Object.entries(targets).map(([name, { summary }]) => `  ${name}  ${summary}`);
  process.stderr.write(`Usage: npm run fuzz -- TARGET SECONDS [SEED]\n\n${rows.join('\n')}\n`);
  process.exit(2);
}

function readTotal(path: string | undefined): Total {
  try {
    if (path !== undefined) return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // The first run, with this file at least.
  }
  return { seconds: 0, trials: 0, nextSeed: 1 };
}

const [name = '', seconds = '', seedWord] = process.argv.slice(2);
const target = targets[name];
if (target === undefined || !/^\d+$/.test(seconds)) usage();
const totalPath = process.env.FERRY_FUZZ_TOTAL;
const total = readTotal(totalPath);
const before = { ...total };
const startMs = performance.now();
let seed = seedWord === undefined ? total.nextSeed : Number(seedWord);
let trials = 0;

function failed(error: unknown): never {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${text}\nfailed: replay with npm run fuzz -- ${name} 0 ${seed}\n`);
  process.exit(1);
}
process.on('uncaughtException', failed);
process.on('unhandledRejection', failed);

function save(): void {
  total.seconds = before.seconds + (performance.now() - startMs) / 1000;
  total.trials = before.trials + trials;
  if (seedWord === undefined) total.nextSeed = seed;
  if (totalPath !== undefined) writeFileSync(totalPath, JSON.stringify(total));
}

const trial = await target.prepare();
let savedMs = startMs;
do {
  try {
    await trial(seed);
  } catch (error) {
    failed(error);
  }
  seed += 1;
  trials += 1;
  if (performance.now() - savedMs > SAVE_EVERY_MS) {
    savedMs = performance.now();
    save();
  }
} while (performance.now() - startMs < Number(seconds) * 1000);
save();
process.stdout.write(
  `${name}: ${trials} trials without a find in ${seconds} s; ` +
    `in all ${total.trials} in ${Math.round(total.seconds)} s\n`,
);
