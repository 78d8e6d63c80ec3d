/** What tracking costs a writer: processor time per write, fio through an export, cold regions. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeEnv } from '../src/core/index.ts';
import { type Device, memory } from '../src/device/index.ts';
import { ProfileKeeper, Tracker, tracked } from '../src/track/index.ts';
import type { Bench, BenchOptions } from './main.ts';
import { OWN_SUBJECT, type Report } from './report.ts';
import { withFio } from './tracker.fio.ts';
import { underWriter } from './tracker.moment.ts';

const BLOCK_BYTES = 4096;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const WRITES = 1_000_000;
const COLD_WRITES = 400;
const env = nodeEnv();

export const bench: Bench = {
  summary:
    'what tracking costs: per write, under fio, in a backup [--only cpu|cold|load|fio|moment]',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: {
      only: { type: 'string', default: '' },
      seconds: { type: 'string', default: '4' },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'ferry-tracker-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const wants = (part: string) => values.only === '' || values.only === part;
  for (let round = 0; round < options.rounds; round++) {
    const place = join(folder, `${round}`);
    if (wants('cpu')) await timePerWrite(report, options, place);
    if (wants('cold')) await coldRegions(report, place);
    if (wants('load')) await loading(report, place);
  }
  if (wants('fio')) await withFio(report, options, folder, Number(values.seconds));
  if (wants('moment')) await underWriter(report, options, folder);
  report.note(
    'cpu: random and ascending 4 KiB writes to warm regions, over a device that does nothing',
  );
  report.note('cold: each write is the first one to its region, one at a time and 16 at a time');
}

async function trackerIn(directory: string, sizeBytes: number): Promise<Tracker> {
  mkdirSync(directory, { recursive: true });
  const identify = async () => undefined;
  return Tracker.open(env, { directory, volume: 'bench', sizeBytes, identify });
}

/** Answers at once and keeps nothing. */
function nothing(sizeBytes: number): Device {
  const base = memory('nothing', sizeBytes);
  return {
    ...{ name: base.name, sizeBytes, blockSizes: base.blockSizes, readOnly: false },
    ...{ hints: base.hints, durable: true, settlesAtOnce: true },
    read: () => undefined,
    write: () => undefined,
    flush: () => undefined,
    zero: () => undefined,
    trim: () => undefined,
    extents: (length, offsetBytes, limit) => base.extents(length, offsetBytes, limit),
    [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
  };
}

function add(report: Report, name: string, metric: string, value: number, unit: string): void {
  report.add({ case: name, subject: OWN_SUBJECT, metric, value, unit, better: 'less' });
}

/** The same loop over the bare device is taken off. */
async function timePerWrite(report: Report, options: BenchOptions, place: string): Promise<void> {
  const sizeBytes = 4 * GIB;
  const base = nothing(sizeBytes);
  const directory = `${place}-cpu`;
  const tracker = await trackerIn(directory, sizeBytes);
  await using keeper = await ProfileKeeper.open(env, {
    ...{ directory, volume: 'bench', sizeBytes, tracker },
    onTrouble: (error) => options.say(String(error)),
  });
  const device = tracked({ base, tracker, profile: keeper.profile });
  const alone = tracked({ base, tracker });
  await tracker.heat(0, tracker.shape.blockCount - 1);
  const source = new Uint8Array(BLOCK_BYTES);
  for (const [name, step] of [
    ['random', 611_953 * BLOCK_BYTES],
    ['ascending', BLOCK_BYTES],
  ] as const) {
    const loop = (target: Device): number => {
      const before = process.cpuUsage();
      for (let at = 0, count = 0; count < WRITES; count++) {
        if (target.write(source, at, 0) !== undefined) throw new Error('a region is cold');
        at = (at + step) % sizeBytes;
      }
      const { user, system } = process.cpuUsage(before);
      return (user + system) / WRITES;
    };
    for (const one of [device, alone, base]) loop(one); // Compiled once.
    const bare = loop(base);
    const marks = loop(alone) - bare;
    const all = loop(device) - bare;
    add(report, `cpu: ${name} 4 KiB writes`, 'marks and profile, per write', all, 'us');
    add(report, `cpu: ${name} 4 KiB writes`, 'of that the profile', all - marks, 'us');
  }
  await tracker[Symbol.asyncDispose]();
}

async function coldRegions(report: Report, place: string): Promise<void> {
  for (const depth of [1, 16]) {
    const sizeBytes = 2048 * 4 * 2 ** 20;
    const tracker = await trackerIn(`${place}-cold-${depth}`, sizeBytes);
    const device = tracked({ base: nothing(sizeBytes), tracker });
    const source = new Uint8Array(BLOCK_BYTES);
    const waits: number[] = [];
    let next = 0;
    const startMs = performance.now();
    const writer = async () => {
      while (next < COLD_WRITES) {
        const region = next++;
        const beforeMs = performance.now();
        await device.write(source, region * tracker.shape.regionBytes, 0);
        waits.push(performance.now() - beforeMs);
      }
    };
    await Promise.all(Array.from({ length: depth }, writer));
    const seconds = (performance.now() - startMs) / 1000;
    waits.sort((a, b) => a - b);
    const name = `cold: ${depth} at a time`;
    add(report, name, 'time per write', (seconds * 1e6) / COLD_WRITES, 'us');
    add(report, name, 'p99 of a write', waits[Math.floor(waits.length * 0.99)]! * 1000, 'us');
    await tracker[Symbol.asyncDispose]();
  }
}

/** A TiB with a mark in every 20th block: half of what the marks of a TiB can take. */
async function loading(report: Report, place: string): Promise<void> {
  const directory = `${place}-load`;
  const first = await trackerIn(directory, TIB);
  {
    await using cut = first.cut();
    await first.acknowledge('bench', cut, { snapshot: null, digest: null });
  }
  const { blockCount, blocksPerRegion } = first.shape;
  for (let from = 0; from < blockCount; from += 512 * blocksPerRegion) {
    const end = Math.min(blockCount, from + 512 * blocksPerRegion) - 1;
    await first.heat(from, end);
    for (let block = from; block <= end; block += 20) first.touch(block, block);
  }
  await first[Symbol.asyncDispose]();
  const before = performance.now();
  const tracker = await trackerIn(directory, TIB);
  const seconds = (performance.now() - before) / 1000;
  add(report, 'load: 1 TiB, every 20th block marked', 'time to open', seconds, 's');
  await tracker[Symbol.asyncDispose]();
}
