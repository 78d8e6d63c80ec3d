/** Checks packs and index segments: tables always, every frame and record on demand. */
import { CodecError } from '../codec/index.ts';
import { equalBytes, FormatError, hasCode, sha256, toHex } from '../core/index.ts';
import { boundedPlans } from './bounded-plans.ts';
import type { CheckRun } from './check.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { damagedObject, StoreError } from './errors.ts';
import { FrameCache, frameHeldBytes } from './frame-cache.ts';
import { checkPackHeader, packKey, readFrame, readPackTable } from './pack-file.ts';
import { PACK_HEADER_BYTES, type PackTable, RECORD_TREE } from './pack-table.ts';
import { packFingerprints, readSegment, segmentKey } from './segment.ts';
import { readTree } from './tree-loader.ts';

/** Frames of one decode job, and the memory they may need; their parents' come on top. */
const FRAMES_PER_JOB = 8;
const JOB_HELD_BYTES = 4 * 1024 * 1024;

/** Jobs that run or wait for a thread. */
const JOBS_IN_FLIGHT = 4;

export type PackFindings = {
  readonly named: ReadonlySet<string>;
  /** Those whose every byte was to be read. */
  readonly wanted: ReadonlySet<string>;
  /** Read to the end, and whole. */
  readonly read: readonly string[];
  readonly damaged: readonly string[];
  readonly orphans: number;
};

export async function checkPacks(run: CheckRun): Promise<PackFindings> {
  const { repository } = run;
  const named = new Set(repository.log.state.loosePacks);
  const expected = new Map<string, Uint8Array>();
  const inSegment = new Map<string, string>();
  for (const segment of repository.log.state.segments.keys()) {
    await run.part(segmentKey(segment), async () => {
      run.badSegments.add(segment);
      for (const { packId, fingerprints } of await readSegment(repository.objects, segment)) {
        named.add(packId);
        expected.set(packId, fingerprints);
        run.progress(fingerprints.byteLength);
        inSegment.set(packId, segment);
      }
      run.badSegments.delete(segment);
    });
  }
  const frames = new FrameCache(repository.objects);
  const { readData, choose } = run.options;
  const wanted = readData ? (choose?.([...named]) ?? named) : new Set<string>();
  const read: string[] = [];
  const damaged: string[] = [];
  for (const packId of named) {
    const notedBefore = run.noted;
    const readsAll = wanted.has(packId);
    await run.part(packKey(packId), () =>
      checkPack(run, packId, expected.get(packId), readsAll ? frames : undefined, () =>
        run.badSegments.add(inSegment.get(packId)!),
      ),
    );
    if (run.noted > notedBefore) damaged.push(packId);
    else if (readsAll) read.push(packId);
  }
  let orphans = 0;
  for await (const { key } of repository.objects.list('packs/')) {
    if (!named.has(key.slice(key.lastIndexOf('/') + 1))) orphans++;
  }
  return { named, wanted, read, damaged, orphans };
}

async function checkPack(
  run: CheckRun,
  packId: string,
  fingerprints: Uint8Array | undefined,
  frames: FrameCache | undefined,
  blameSegment: () => void,
): Promise<void> {
  const { objects } = run.repository;
  const table = await readPackTable(objects, packId).catch((error) => {
    run.damagedPack(packId);
    throw error;
  });
  const key = packKey(packId);
  if (fingerprints !== undefined) {
    const same = equalBytes(packFingerprints(packId, table).fingerprints, fingerprints);
    if (!same) {
      blameSegment();
      throw damagedObject(key, 'the index has other fingerprints for it');
    }
  }
  const header = new Uint8Array(PACK_HEADER_BYTES);
  try {
    await objects.getRange(key, header, 0);
    checkPackHeader(header, packId);
  } catch (error) {
    const isFormat = error instanceof FormatError;
    if (isFormat || hasCode(error, 'OBJECT_IO')) run.damagedHull(packId);
    throw isFormat ? damagedObject(key, error.message, error) : error;
  }
  run.progress(PACK_HEADER_BYTES);
  if (frames === undefined) return;
  if (run.repository.isBlind) await hashFrames(run, packId, table);
  else await readPack(run, packId, table, frames);
}

/** Without the key: compares the stored bytes of every frame with the hash that the table has. */
async function hashFrames(run: CheckRun, packId: string, table: PackTable): Promise<void> {
  const { objects } = run.repository;
  for (const [frame, hash] of table.frameHash.entries()) {
    const bytes = new Uint8Array(table.frameBytes[frame]!);
    await readFrame(objects, packId, bytes, table.frameOffset[frame]!);
    run.progress(bytes.byteLength);
    if (equalBytes(sha256(bytes), hash)) continue;
    run.damagedFrame(packId, frame);
    const where = `frame ${frame} at ${table.frameOffset[frame]}`;
    run.note(packKey(packId), damagedObject(packKey(packId), `${where}: its hash is another`));
  }
}

/** Decodes every record; each damaged frame is named by itself. */
async function readPack(
  run: CheckRun,
  packId: string,
  table: PackTable,
  frames: FrameCache,
): Promise<void> {
  const index = await run.repository.index();
  const pack = index.packNumber(packId);
  if (pack === undefined) return;
  const running = new Set<Promise<void>>();
  for (let from = 0; from < table.frameFirst.length; ) {
    const to = spanEnd(table, from);
    const span = { packId, pack, table, from, to };
    const job = readFrames(run, index, span, frames).finally(() => running.delete(job));
    from = to;
    running.add(job);
    if (running.size >= JOBS_IN_FLIGHT) await Promise.race(running);
  }
  await Promise.all(running);
}

function spanEnd(table: PackTable, from: number): number {
  let held = frameHeldBytes(table, from);
  let end = from + 1;
  while (end < table.frameFirst.length && end - from < FRAMES_PER_JOB) {
    held += frameHeldBytes(table, end);
    if (held > JOB_HELD_BYTES) break;
    end++;
  }
  return end;
}

type Span = { packId: string; pack: number; table: PackTable; from: number; to: number };

async function readFrames(
  run: CheckRun,
  index: ChunkIndex,
  span: Span,
  frames: FrameCache,
): Promise<void> {
  try {
    await decodeSpan(run, index, span, frames);
  } catch (error) {
    // One frame at a time tells which one it is.
    if (span.to - span.from === 1) {
      if (!isDamage(error)) {
        // A bad sector: as good as damaged for whoever repairs, and told as what it is.
        if (hasCode(error, 'OBJECT_IO')) run.damagedFrame(span.packId, span.from);
        run.note(packKey(span.packId), error);
        return;
      }
      run.damagedFrame(span.packId, span.from);
      run.note(packKey(span.packId), located(error, span));
      return;
    }
    for (let frame = span.from; frame < span.to; frame++) {
      await readFrames(run, index, { ...span, from: frame, to: frame + 1 }, frames);
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

async function decodeSpan(
  run: CheckRun,
  index: ChunkIndex,
  span: Span,
  frames: FrameCache,
): Promise<void> {
  const { objects } = run.repository;
  const { packId, pack, table } = span;
  const chunks: Location[] = [];
  let bytes = 0;
  for (let frame = span.from; frame < span.to; frame++) {
    bytes += table.frameBytes[frame]!;
    const end = table.frameFirst[frame + 1] ?? table.count;
    for (let ordinal = table.frameFirst[frame]!; ordinal < end; ordinal++) {
      const location: Location = { pack, packId, ordinal, table };
      if (table.kinds[ordinal] === RECORD_TREE) {
        await readTree(objects, location, toHex(table.id(ordinal)));
      } else chunks.push(location);
    }
  }
  const target = { memory: new SharedArrayBuffer(0), at: 0, lengthBytes: 0 };
  for await (const { plan } of boundedPlans(index, frames, chunks)) {
    const job = { kind: 'decode', plan, outputs: [], target, checksAll: true } as const;
    await run.options.pool.run<'decode'>(job);
  }
  run.progress(bytes);
}
