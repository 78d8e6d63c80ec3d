/** What a writer waits beside replication, and beside as much other work. */
import { join } from 'node:path';
import { start } from '../test/interop/processes.ts';
import { ReplicationPlace } from '../test/interop/replication-place.ts';
import { fioWrites } from './fio.ts';
import type { BenchOptions } from './main.ts';
import { peakBytes, type ThreadTime, threadTimes } from './processes.ts';
import { VOLUME_BYTES, writeVolume } from './replicate.volume.ts';
import { OWN_SUBJECT, type Report } from './report.ts';
import { toolFor } from './tools.ts';
import { touchMemory } from './touch-memory.ts';

const MIB = 2 ** 20;
const RATE_BYTES = 20 * MIB;
/** Of a load that is one process's. */
const ONE_SLICE_MS = 10;
/** Threads that take less of a processor count with the others of their process. */
const SHARE_MIN = 0.005;

type Latency = { readonly medianUs: number; readonly p99Us: number; readonly longestMs: number };
/** So much of a processor, a slice at a time. */
type Load = { readonly share: number; readonly sliceMs: number };

export async function steady(
  report: Report,
  options: BenchOptions,
  folder: string,
  seconds: number,
): Promise<void> {
  const fio = toolFor(report, 'fio');
  if (fio === undefined) return;
  const place = new ReplicationPlace(folder);
  await place.begin();
  const image = join(folder, 'disk.img');
  await writeVolume(image, '/dev/zero');
  await touchMemory(folder);
  const socket = join(folder, 'export.sock');
  const exported = (...more: string[]) =>
    place.start('export', image, '--name', 'v', '--listen', `unix:${socket}`, '--json', ...more);
  const writes = (forSeconds = seconds) => writer(fio, folder, socket, forSeconds);
  const replicated = exported('--to', place.uri);
  await replicated.socket(socket);
  // All is there: a first synchronisation is no steady state.
  await replicated.line('"state":"epoch"');
  await writes(5);
  const both = [replicated.pid, place.provider!.pid];
  const before = both.map(threadTimes);
  const on = await writes();
  const [agent, provider] = both.map((id, at) => since(before[at]!, threadTimes(id)));
  const epochs = replicated.stdout.split('\n').filter((line) => line.includes('"state":"epoch"'));
  const lags = epochs.map((line) => Number(JSON.parse(line).lagSeconds)).slice(5);
  const peaks = { agent: peakBytes(replicated.pid), provider: peakBytes(place.provider!.pid) };
  replicated.kill('SIGINT');
  await replicated.finished();
  await place.end();
  const alone = exported();
  await alone.socket(socket);
  await writes(5);
  const beforeAlone = threadTimes(alone.pid);
  const free = await writes();
  const { seconds: own } = total(since(beforeAlone, threadTimes(alone.pid)));
  const threads = loads([without(agent!, own), provider!], seconds);
  const share = threads.reduce((all, one) => all + one.share, 0);
  const off = await beside(onePerProcessor(share), writes);
  const offThreads = await beside(threads, writes);
  alone.kill('SIGINT');
  await alone.finished();
  tell(report, { on, off, offThreads, free, lags, peaks, share });
  const { seconds: worked } = total([...agent!, ...provider!]);
  options.say(`processor: ${worked.toFixed(1)} s with replication, ${own.toFixed(1)} s without`);
  const told = threads.map((load) => `${load.share.toFixed(3)} by ${load.sliceMs.toFixed(2)} ms`);
  options.say(`its threads: ${told.join(', ')}`);
}

function since(before: ReadonlyMap<number, ThreadTime>, now: ReadonlyMap<number, ThreadTime>) {
  return [...now].map(([id, { seconds, slices }]) => {
    const was = before.get(id) ?? { seconds: 0, slices: 0 };
    return { seconds: seconds - was.seconds, slices: slices - was.slices };
  });
}

function total(threads: readonly ThreadTime[]): ThreadTime {
  return threads.reduce(
    (all, { seconds, slices }) => ({ seconds: all.seconds + seconds, slices: all.slices + slices }),
    { seconds: 0, slices: 0 },
  );
}

/** The busiest thread serves the writer: what that takes is no load beside it. */
function without(threads: readonly ThreadTime[], ownSeconds: number): ThreadTime[] {
  const [serving, ...others] = threads.toSorted((a, b) => b.seconds - a.seconds);
  const rest = Math.max(0, serving!.seconds - ownSeconds);
  const slices = Math.round((serving!.slices * rest) / serving!.seconds);
  return [{ seconds: rest, slices }, ...others];
}

/** A load for each thread, with slices as long as its own were. */
function loads(processes: readonly (readonly ThreadTime[])[], ofSeconds: number): Load[] {
  return processes.flatMap((threads) => {
    const isOwn = ({ seconds }: ThreadTime) => seconds / ofSeconds >= SHARE_MIN;
    const rest = total(threads.filter((thread) => !isOwn(thread)));
    return [...threads.filter(isOwn), rest]
      .filter(({ seconds, slices }) => seconds > 0 && slices > 0)
      .map(({ seconds, slices }) => ({
        share: seconds / ofSeconds,
        sliceMs: (seconds * 1000) / slices,
      }));
  });
}

function onePerProcessor(share: number): Load[] {
  const count = Math.ceil(share);
  const one = { share: share / count, sliceMs: (ONE_SLICE_MS * share) / count };
  return Array.from({ length: count }, () => one);
}

type Steady = {
  readonly on: Latency;
  readonly off: Latency;
  readonly offThreads: Latency;
  readonly free: Latency;
  readonly lags: readonly number[];
  readonly peaks: { readonly agent: number; readonly provider: number };
  readonly share: number;
};

function tell(report: Report, steady: Steady): void {
  const { on, off, offThreads, free, lags, peaks, share } = steady;
  const name = '20 MB/s of 4 KiB random writes';
  const add = (subject: string, metric: string, value: number, unit: string) =>
    report.add({ case: name, subject, metric, value, unit, better: 'less' });
  for (const [subject, { medianUs, p99Us, longestMs }] of [
    [OWN_SUBJECT, on],
    ['as much load', off],
    ['by as many threads', offThreads],
    ['nothing beside', free],
  ] as const) {
    add(subject, 'median of a write', medianUs, 'us');
    add(subject, 'p99 of a write', p99Us, 'us');
    add(subject, 'longest write', longestMs, 'ms');
  }
  add(OWN_SUBJECT, 'largest lag', Math.max(...lags), 's');
  add(OWN_SUBJECT, 'peak of the agent', peaks.agent / 1e6, 'MB');
  add(OWN_SUBJECT, 'peak of the provider', peaks.provider / 1e6, 'MB');
  add(OWN_SUBJECT, 'processors taken', share, '');
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

/** A thread of one process for each load, as long as `writes` last. */
async function beside(loads: readonly Load[], writes: () => Promise<Latency>): Promise<Latency> {
  const thread = `const { share, sliceMs } = require('node:worker_threads').workerData;
    setInterval(() => {
      const endMs = performance.now() + sliceMs;
      while (performance.now() < endMs);
    }, sliceMs / share);`;
  const code = `for (const workerData of JSON.parse(process.argv[1]))
    new (require('node:worker_threads').Worker)(process.argv[2], { eval: true, workerData });`;
  await using _load = start(process.execPath, ['-e', code, JSON.stringify(loads), thread]);
  return await writes();
}
