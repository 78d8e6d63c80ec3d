/** What tracking costs a writer: processor time per write, fio through an export, cold regions. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeEnv } from '../src/core/index.ts';
import { type Device, memory } from '../src/device/index.ts';
import { ProfileKeeper, Tracker, tracked } from '../src/track/index.ts';
import { runOk, start } from '../test/interop/processes.ts';
import { findTool } from '../test/interop/tools.ts';
import type { Bench, BenchOptions } from './main.ts';
import { median, OWN_SUBJECT, type Report } from './report.ts';

const BLOCK_BYTES = 4096;
const GIB = 2 ** 30;
const TIB = 2 ** 40;
const WRITES = 1_000_000;
const COLD_WRITES = 400;
/** What fio writes: 256 regions, all of which stay warm. */
const FIO_BYTES = GIB;
const FIO_PAIRS = 10;
const env = nodeEnv();

export const bench: Bench = {
  summary: 'what tracking costs: time per write, fio with and without [--only cpu|cold|load|fio]',
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

/** Tracked and untracked in turn, each an export of its own over the same file. */
async function withFio(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const fio = findTool('fio');
  if (fio === undefined) return report.absent('fio', 'not installed; Debian: fio');
  const image = join(folder, 'disk.img');
  await runOk('sh', ['-c', `head -c ${FIO_BYTES} /dev/zero > "$1"`, 'sh', image]);
  const ratios: number[] = [];
  for (let pair = 0; pair < FIO_PAIRS; pair++) {
    const rates: number[] = [];
    // Who comes first is at an advantage, or not: each does in turn.
    for (const isTracked of pair % 2 === 0 ? [true, false] : [false, true]) {
      const rate = await fioRate(fio, folder, image, isTracked, seconds);
      rates[isTracked ? 1 : 0] = rate;
      const subject = isTracked ? OWN_SUBJECT : 'untracked';
      const row = { case: 'fio: 4 KiB random writes, depth 16', subject, metric: 'requests' };
      report.add({ ...row, value: rate, unit: '1/s', better: 'more' });
    }
    ratios.push(rates[1]! / rates[0]!);
    options.say(`pair ${pair + 1}: ${rates[1]!.toFixed(0)} / ${rates[0]!.toFixed(0)}`);
  }
  report.note(`fio: median ratio of ${FIO_PAIRS} pairs ${median(ratios).toFixed(3)}`);
}

async function fioRate(
  fio: string,
  folder: string,
  image: string,
  isTracked: boolean,
  seconds: number,
): Promise<number> {
  const socket = join(folder, 'export.sock');
  const ferry = join(import.meta.dirname, '../bin/ferry');
  const words = ['export', image, '--name', 'bench', '--listen', `unix:${socket}`];
  const server = start(ferry, isTracked ? words : [...words, '--untracked'], {
    env: { ...process.env, FERRY_STATE_DIR: join(folder, 'state') },
  });
  await server.socket(socket);
  const run = (runtime: number) =>
    runOk(
      fio,
      [
        ...['--name=bench', '--ioengine=nbd', `--uri=nbd+unix:///?socket=${socket}`],
        ...['--rw=randwrite', '--bs=4096', '--iodepth=16', `--size=${FIO_BYTES}`],
        ...['--time_based', `--runtime=${runtime}`, '--output-format=json'],
      ],
      { cwd: folder, timeoutMs: (runtime + 60) * 1000 },
    );
  await run(1); // Warms the regions, and the compiler.
  const { stdout } = await run(seconds);
  await server[Symbol.asyncDispose]();
  await runOk('sync', ['--file-system', folder]);
  return JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs[0].write.iops;
}
