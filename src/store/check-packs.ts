/** Checks packs and index segments: tables always, every frame and record on demand. */
import { CodecError } from '../codec/index.ts';
import { equalBytes, FormatError, toHex } from '../core/index.ts';
import type { CheckRun } from './check.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { damagedObject, StoreError } from './errors.ts';
import { Arena, FramePlan } from './frame-plan.ts';
import { checkPackHeader, packKey, readPackTable } from './pack-file.ts';
import { PACK_HEADER_BYTES, type PackTable, RECORD_TREE } from './pack-table.ts';
import { packFingerprints, readSegment, segmentKey } from './segment.ts';
import { readTree } from './tree-loader.ts';

/** Frames of one decode job. */
const FRAMES_PER_JOB = 8;

/** Jobs that wait for a thread. */
const JOBS_IN_FLIGHT = 4;

export type PackFindings = {
  readonly count: number;
  readonly orphans: number;
};

export async function checkPacks(run: CheckRun): Promise<PackFindings> {
  const { repository } = run;
  const named = new Set(repository.log.state.loosePacks);
  const expected = new Map<string, Uint8Array>();
  for (const segment of repository.log.state.segments.keys()) {
    await run.part(segmentKey(segment), async () => {
      for (const { packId, fingerprints } of await readSegment(repository.objects, segment)) {
        named.add(packId);
        expected.set(packId, fingerprints);
        run.progress(fingerprints.byteLength);
      }
    });
  }
  for (const packId of named) {
    await run.part(packKey(packId), () => checkPack(run, packId, expected.get(packId)));
  }
  let orphans = 0;
  for await (const { key } of repository.objects.list('packs/')) {
    if (!named.has(key.slice(key.lastIndexOf('/') + 1))) orphans++;
  }
  return { count: named.size, orphans };
}

async function checkPack(
  run: CheckRun,
  packId: string,
  fingerprints: Uint8Array | undefined,
): Promise<void> {
  const { objects } = run.repository;
  const table = await readPackTable(objects, packId).catch((error) => {
    run.damagedPack(packId);
    throw error;
  });
  const key = packKey(packId);
  if (fingerprints !== undefined) {
    const same = equalBytes(packFingerprints(packId, table).fingerprints, fingerprints);
    if (!same) throw damagedObject(key, 'the index has other fingerprints for it');
  }
  const header = new Uint8Array(PACK_HEADER_BYTES);
  await objects.getRange(key, header, 0);
  try {
    checkPackHeader(header, packId);
  } catch (error) {
    if (error instanceof FormatError) throw damagedObject(key, error.message, error);
    throw error;
  }
  run.progress(PACK_HEADER_BYTES);
  if (run.options.readData) await readPack(run, packId, table);
}

/** Decodes every record; each damaged frame is named by itself. */
async function readPack(run: CheckRun, packId: string, table: PackTable): Promise<void> {
  const index = await run.repository.index();
  const pack = index.packNumber(packId);
  if (pack === undefined) return;
  const running = new Set<Promise<void>>();
  for (let frame = 0; frame < table.frameFirst.length; frame += FRAMES_PER_JOB) {
    const end = Math.min(table.frameFirst.length, frame + FRAMES_PER_JOB);
    const job = readFrames(run, index, { packId, pack, table, from: frame, to: end }).finally(() =>
      running.delete(job),
    );
    running.add(job);
    if (running.size >= JOBS_IN_FLIGHT) await Promise.race(running);
  }
  await Promise.all(running);
}

type Span = { packId: string; pack: number; table: PackTable; from: number; to: number };

async function readFrames(run: CheckRun, index: ChunkIndex, span: Span): Promise<void> {
  try {
    await decodeSpan(run, index, span);
  } catch (error) {
    // One frame at a time tells which one it is.
    if (span.to - span.from === 1) {
      if (!isDamage(error)) {
        run.note(packKey(span.packId), error);
        return;
      }
      run.damagedFrame(span.packId, span.from);
      run.note(packKey(span.packId), located(error, span));
      return;
    }
    for (let frame = span.from; frame < span.to; frame++) {
      await readFrames(run, index, { ...span, from: frame, to: frame + 1 });
    }
  }
}

/** A store that fails, or a thread that dies, says nothing about the bytes. */
function isDamage(error: unknown): boolean {
  if (error instanceof CodecError) return error.code !== 'CODEC_WORKER';
  return error instanceof StoreError || error instanceof FormatError;
}

function located(error: unknown, { packId, table, from }: Span): unknown {
  if (!(error instanceof Error)) return error;
  const where = `frame ${from} at ${table.frameOffset[from]}: ${detail(error, packId)}`;
  return damagedObject(packKey(packId), where, error);
}

/** What went wrong, without the pack's name in front. */
function detail({ message }: Error, packId: string): string {
  const prefix = `${packKey(packId)} is damaged: `;
  return message.startsWith(prefix) ? message.slice(prefix.length) : message;
}

async function decodeSpan(run: CheckRun, index: ChunkIndex, span: Span): Promise<void> {
  const { objects } = run.repository;
  const { packId, pack, table } = span;
  const plan = new FramePlan(objects, index, new Arena());
  let bytes = 0;
  for (let frame = span.from; frame < span.to; frame++) {
    bytes += table.frameBytes[frame]!;
    const end = table.frameFirst[frame + 1] ?? table.count;
    for (let ordinal = table.frameFirst[frame]!; ordinal < end; ordinal++) {
      const location: Location = { pack, packId, ordinal, table };
      if (table.kinds[ordinal] === RECORD_TREE) {
        await readTree(objects, location, toHex(table.id(ordinal)));
      } else await plan.add(location);
    }
  }
  const target = { memory: new SharedArrayBuffer(0), at: 0, lengthBytes: 0 };
  const job = { kind: 'decode', plan: plan.finish(), outputs: [], target } as const;
  await run.options.pool.run<'decode'>(job);
  run.progress(bytes);
}
