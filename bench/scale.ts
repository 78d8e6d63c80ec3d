/** Made up: an index of 1 TiB unique data, and a log of very many snapshots; how they open. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { nodeEnv, toHex } from '../src/core/index.ts';
import { directoryStore } from '../src/objects/index.ts';
import { sealJson } from '../src/store/envelope.ts';
import { plainSealer, Repository, type SealedObjects, sealedObjects } from '../src/store/index.ts';
import { JsonFields } from '../src/store/json.ts';
import {
  entryToJson,
  type LogEntry,
  logKey,
  NO_PREVIOUS,
  type SegmentInfo,
} from '../src/store/log-entry.ts';
import { type SegmentPack, writeSegment } from '../src/store/segment.ts';
import { snapshotFromJson } from '../src/store/snapshot.ts';
import type { Bench, BenchOptions } from './main.ts';
import { ferry } from './package.ts';
import { type Measured, measure } from './processes.ts';
import { OWN_SUBJECT, type Report } from './report.ts';
import { generateSnapshots } from './scale.snapshots.ts';

const TIB = 2 ** 40;
const CHUNK_BYTES = 64 * 1024;
/** What fits into a pack of 32 MiB when nothing can be compressed. */
const PACK_RECORDS = 512;
const SEGMENT_PACKS = 4096;
const MEGABYTE = 1_000_000;
/** As bin/ferry starts Node: young objects, and stripping types anew, take memory of their own. */
const YOUNG = '--max-semi-space-size=8';
const env = nodeEnv();

export const bench: Bench = {
  summary:
    'index of 1 TiB unique data, 100,000 snapshots: seconds, memory [--tib N] [--snapshots N]',
  run,
};

async function run(report: Report, options: BenchOptions): Promise<void> {
  const { values } = parseArgs({
    args: [...options.rest],
    options: {
      tib: { type: 'string', default: '1' },
      snapshots: { type: 'string', default: '100000' },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), 'ferry-scale-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  if (Number(values.tib) > 0) await openIndex(report, options, join(folder, 'index'), values.tib);
  const count = Number(values.snapshots);
  if (count > 0) await listSnapshots(report, options, join(folder, 'snapshots'), count);
}

async function openIndex(
  report: Report,
  options: BenchOptions,
  folder: string,
  tib: string,
): Promise<void> {
  const records = (Number(tib) * TIB) / CHUNK_BYTES;
  await using objects = await directoryStore(env.files, folder, env.random);
  await Repository.init(env, objects);
  await generateIndex(sealedObjects(objects, plainSealer), records);
  options.say(`made an index of ${records} chunks`);
  const opener = join(import.meta.dirname, 'scale.open.ts');
  const variables = { NODE_COMPILE_CACHE: `${folder}.code` };
  const command = { words: [process.execPath, YOUNG, opener, folder], variables } as const;
  await measure(command); // As for `ferry`, compiled code is kept: not the first call.
  for (let round = 0; round < options.rounds; round++) {
    const { seconds, peakBytes } = await measure(command);
    addRow(report, `open ${tib} TiB of unique data`, { seconds, peakBytes });
  }
  report.note(
    `${records} chunks of 64 KiB; the process opens, loads the index, looks 1,000 ids up`,
  );
}

async function listSnapshots(
  report: Report,
  options: BenchOptions,
  folder: string,
  count: number,
): Promise<void> {
  await generateSnapshots(folder, count);
  options.say(`made a log of ${count} snapshots`);
  const variables = { FERRY_STATE_DIR: `${folder}.state`, FERRY_CACHE_DIR: `${folder}.cache` };
  const words = [ferry, 'ls', '--repo', folder] as const;
  const command = { words, variables, outputPath: `${folder}.txt` } as const;
  await measure(command); // Compiled code and the head that was seen are kept: not the first call.
  for (let round = 0; round < options.rounds; round++) {
    addRow(report, `ls of ${count} snapshots`, await measure(command));
  }
}

function addRow(report: Report, name: string, { seconds, peakBytes }: Measured): void {
  const row = { case: name, subject: OWN_SUBJECT, better: 'less' } as const;
  report.add({ ...row, metric: 'time', value: seconds, unit: 's' });
  report.add({ ...row, metric: 'peak memory', value: peakBytes / MEGABYTE, unit: 'MB' });
}

async function generateIndex(objects: SealedObjects, records: number): Promise<void> {
  const segments: SegmentInfo[] = [];
  for (let left = records; left > 0; ) {
    const packs: SegmentPack[] = [];
    for (; packs.length < SEGMENT_PACKS && left > 0; left -= PACK_RECORDS) {
      const fingerprints = new Uint8Array(Math.min(left, PACK_RECORDS) * 8);
      env.random.fill(fingerprints);
      packs.push({ packId: randomHex(32), count: fingerprints.byteLength / 8, fingerprints });
    }
    segments.push(await writeSegment(objects, env.random, packs));
  }
  const entry: LogEntry = {
    type: 'snapshot',
    ...{ sequence: 1, previous: NO_PREVIOUS, nonce: randomHex(16), generation: 0 },
    snapshot: snapshotFromJson(new JsonFields(emptySnapshot(), 'generated'), plainSealer),
    index: { packs: [], packsDropped: [], segments, segmentsDropped: [] },
  };
  await objects.putIfAbsent(logKey(1), sealJson('log', entryToJson(entry, plainSealer)));
}

function emptySnapshot(): unknown {
  return {
    ...{ id: randomHex(16), volume: 'scale', time: '2026-01-01T00:00:00Z', sizeBytes: 0 },
    ...{ chunkBytes: CHUNK_BYTES, root: null, digest: randomHex(32), source: 'full' },
    ...{ origin: randomHex(32), readBytes: 0, changedBytes: 0, storedBytes: 0 },
  };
}

function randomHex(lengthBytes: number): string {
  const bytes = new Uint8Array(lengthBytes);
  env.random.fill(bytes);
  return toHex(bytes);
}
