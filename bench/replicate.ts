/** What replication carries, what it costs the writer, and what goes over the wire. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CodecPool, codecPool } from '../src/codec/index.ts';
import { nodeEnv } from '../src/core/index.ts';
import { openFile } from '../src/device/index.ts';
import { connectProvider, nodeIdentity, PeerBook } from '../src/service/index.ts';
import { comparedSource, keepReplica } from '../src/transfer/replicate/index.ts';
import { type Running, runOk, start } from '../test/interop/processes.ts';
import { portOf, ReplicationPlace } from '../test/interop/replication-place.ts';
import { findTool } from '../test/interop/tools.ts';
import { fioWrites } from './fio.ts';
import type { Bench, BenchOptions } from './main.ts';
import { peakBytes, processorSeconds } from './processes.ts';
import { wireBytes } from './replicate.wire.ts';
import { OWN_SUBJECT, type Report } from './report.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 2 ** 30;
const RATE_BYTES = 20 * MIB;
const env = nodeEnv();

export const bench: Bench = {
  summary:
    'replication on loopback [--only initial|steady|wire --seconds N --images DIR --place D]',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: {
      only: { type: 'string', default: '' },
      seconds: { type: 'string', default: '20' },
      images: { type: 'string' },
      place: { type: 'string', default: tmpdir() },
    },
  });
  const folder = mkdtempSync(join(values.place, 'ferry-replicate-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const wants = (part: string) => values.only === '' || values.only === part;
  for (let round = 0; round < options.rounds; round++) {
    const at = (part: string) => join(folder, `${part}-${round}`);
    if (wants('initial')) await initial(report, at('initial'));
    if (wants('steady')) await steady(report, options, at('steady'), Number(values.seconds));
    if (wants('wire')) await wireBytes(report, options, at('wire'), values.images);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Random bytes, which nothing compresses; the page cache has them afterwards. */
async function noise(path: string): Promise<void> {
  await runOk('sh', ['-c', `head -c ${VOLUME_BYTES} /dev/urandom > "$1"; sync "$1"`, 'sh', path]);
}

/** A disk all of which was written once: no write has to find room, whether it is the first. */
async function zeroes(path: string): Promise<void> {
  await runOk('sh', ['-c', `head -c ${VOLUME_BYTES} /dev/zero > "$1"; sync "$1"`, 'sh', path]);
}

/** The agent is this process: from its cut to the acknowledged epoch. */
async function initial(report: Report, folder: string): Promise<void> {
  const place = new ReplicationPlace(folder);
  await place.begin();
  const image = join(folder, 'disk.img');
  await noise(image);
  // As `ferry replicate` has it.
  await using pool = codecPool(env, Math.ceil(env.workers.parallelism / 2));
  for (const [name, volume] of [
    ['new data, incompressible', 'first'],
    ['data that is known there', 'second'],
  ] as const) {
    const { seconds, processors } = await oneEpoch(place, pool, image, volume);
    const row = { case: name, subject: OWN_SUBJECT } as const;
    const rate = VOLUME_BYTES / 1e6 / seconds;
    report.add({ ...row, metric: 'rate', unit: 'MB/s', value: rate, better: 'more' });
    const time = { metric: 'processor time, both sides', unit: 's', value: processors } as const;
    report.add({ ...row, ...time, better: 'less' });
  }
  const memory = { case: 'both', subject: OWN_SUBJECT, unit: 'MB', better: 'less' } as const;
  report.add({
    ...memory,
    metric: 'peak of the provider',
    value: peakBytes(place.provider!.pid) / 1e6,
  });
  await place.end();
}

async function oneEpoch(place: ReplicationPlace, pool: CodecPool, image: string, volume: string) {
  const folder = {
    directory: join(place.folder, 'agent', 'node'),
    makeDirectory: async () => undefined,
  };
  const identity = await nodeIdentity(env, folder, 'bench');
  await using device = await openFile(env.files, image, { readOnly: true });
  const written = place.uri.slice('ferry://'.length);
  const address = { kind: 'tcp', host: '127.0.0.1', port: portOf(place.uri) } as const;
  const taken = () => processorSeconds(process.pid) + processorSeconds(place.provider!.pid);
  const start = { ms: 0, processors: 0 };
  const end = { ...start };
  await keepReplica(env, {
    ...{ name: volume, source: comparedSource(device, env.clock), pool },
    connect: () =>
      connectProvider(env, { address, written, identity, peers: new PeerBook(env, folder) }),
    onCut: (nowMs) => Object.assign(start, { ms: nowMs, processors: taken() }),
    onReached: () => Object.assign(end, { ms: env.clock.monotonicMs(), processors: taken() }),
  });
  return { seconds: (end.ms - start.ms) / 1000, processors: end.processors - start.processors };
}

type Latency = { readonly medianUs: number; readonly p99Us: number; readonly longestMs: number };

/** The writer beside replication, and beside as much work that has nothing to do with it. */
async function steady(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const fio = findTool('fio');
  if (fio === undefined) return report.absent('fio', 'not installed; Debian: fio');
  const place = new ReplicationPlace(folder);
  await place.begin();
  const image = join(folder, 'disk.img');
  await zeroes(image);
  const socket = join(folder, 'export.sock');
  const exported = (...more: string[]) =>
    place.start('export', image, '--name', 'v', '--listen', `unix:${socket}`, '--json', ...more);
  const replicated = exported('--to', place.uri);
  await replicated.socket(socket);
  // All is there: a first synchronisation is no steady state.
  await replicated.line('"state":"epoch"');
  await writer(fio, folder, socket, 5);
  const taken = () => processorSeconds(replicated.pid) + processorSeconds(place.provider!.pid);
  const before = taken();
  const on = await writer(fio, folder, socket, seconds);
  const worked = taken() - before;
  const epochs = replicated.stdout.split('\n').filter((line) => line.includes('"state":"epoch"'));
  const lags = epochs.map((line) => Number(JSON.parse(line).lagSeconds)).slice(5);
  const peaks = { agent: peakBytes(replicated.pid), provider: peakBytes(place.provider!.pid) };
  replicated.kill('SIGINT');
  await replicated.finished();
  await place.end();
  const alone = exported();
  await alone.socket(socket);
  await writer(fio, folder, socket, 5);
  const beforeAlone = processorSeconds(alone.pid);
  const free = await writer(fio, folder, socket, seconds);
  const own = processorSeconds(alone.pid) - beforeAlone;
  const load = burning(Math.max(0, worked - own) / seconds);
  const off = await writer(fio, folder, socket, seconds);
  await load[Symbol.asyncDispose]();
  alone.kill('SIGINT');
  await alone.finished();
  tellSteady(report, { on, off, free, lags, peaks, extra: (worked - own) / seconds });
  options.say(`processor: ${worked.toFixed(1)} s with replication, ${own.toFixed(1)} s without`);
}

type Steady = {
  readonly on: Latency;
  readonly off: Latency;
  readonly free: Latency;
  readonly lags: readonly number[];
  readonly peaks: { readonly agent: number; readonly provider: number };
  readonly extra: number;
};

function tellSteady(report: Report, { on, off, free, lags, peaks, extra }: Steady): void {
  const name = '20 MB/s of 4 KiB random writes';
  const add = (subject: string, metric: string, value: number, unit: string) =>
    report.add({ case: name, subject, metric, value, unit, better: 'less' });
  for (const [subject, { medianUs, p99Us, longestMs }] of [
    [OWN_SUBJECT, on],
    ['as much load', off],
    ['nothing beside', free],
  ] as const) {
    add(subject, 'median of a write', medianUs, 'us');
    add(subject, 'p99 of a write', p99Us, 'us');
    add(subject, 'longest write', longestMs, 'ms');
  }
  add(OWN_SUBJECT, 'largest lag', Math.max(...lags), 's');
  add(OWN_SUBJECT, 'peak of the agent', peaks.agent / 1e6, 'MB');
  add(OWN_SUBJECT, 'peak of the provider', peaks.provider / 1e6, 'MB');
  add(OWN_SUBJECT, 'processors taken', extra, '');
}

async function writer(
  fio: string,
  folder: string,
  socket: string,
  seconds: number,
): Promise<Latency> {
  const uri = `nbd+unix:///v?socket=${socket}`;
  const { clat_ns } = await fioWrites({ fio, folder, uri, timeoutMs: (seconds + 60) * 1000 }, [
    ...['--iodepth=4', `--size=${VOLUME_BYTES}`, `--rate=${RATE_BYTES}`, '--refill_buffers'],
    ...['--randrepeat=0', '--time_based', `--runtime=${seconds}`],
  ]);
  const { percentile, max } = clat_ns;
  return {
    medianUs: percentile['50.000000']! / 1e3,
    p99Us: percentile['99.000000']! / 1e3,
    longestMs: max / 1e6,
  };
}

/** Takes so many processors, in slices of ten milliseconds, on as many processes. */
function burning(processors: number): AsyncDisposable {
  const count = Math.ceil(processors);
  const code = `const share = ${processors / Math.max(1, count)}; setInterval(() => {
    const end = performance.now() + 10 * share; while (performance.now() < end); }, 10);`;
  const all: Running[] = [];
  for (let at = 0; at < count; at++) all.push(start(process.execPath, ['-e', code]));
  return {
    async [Symbol.asyncDispose]() {
      for (const one of all) await one[Symbol.asyncDispose]();
    },
  };
}
