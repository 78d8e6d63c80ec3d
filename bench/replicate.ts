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
import { portOf, ReplicationPlace } from '../test/interop/replication-place.ts';
import type { Bench, BenchOptions } from './main.ts';
import { peakBytes, processorSeconds } from './processes.ts';
import { steady } from './replicate.steady.ts';
import { VOLUME_BYTES, writeVolume } from './replicate.volume.ts';
import { wireBytes } from './replicate.wire.ts';
import { OWN_SUBJECT, type Report } from './report.ts';
import { touchMemory } from './touch-memory.ts';

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

/** The agent is this process: from its cut to the acknowledged epoch. */
async function initial(report: Report, folder: string): Promise<void> {
  const place = new ReplicationPlace(folder);
  await place.begin();
  const image = join(folder, 'disk.img');
  await writeVolume(image, '/dev/urandom');
  await touchMemory(folder);
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
