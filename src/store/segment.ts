/** Index segments: the fingerprints of many packs in one object, so that opening reads few. */
import {
  ByteReader,
  ByteWriter,
  FormatError,
  fromHex,
  type Random,
  SHA256_BYTES,
  toHex,
} from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { type ChunkIndex, prefixOf } from './chunk-index.ts';
import { damagedObject, missingObject } from './errors.ts';
import { FINGERPRINT_BYTES, type PackPart, sortingMemory } from './fingerprint-table.ts';
import { LARGE_OBJECT_BYTES_MAX, PACK_RECORDS_MAX, SEGMENT_RECORDS_MAX } from './limits.ts';
import type { SegmentInfo } from './log-entry.ts';
import { PACK_ID_BYTES } from './pack-file.ts';
import type { PackTable } from './pack-table.ts';
import { type SealedObjects, sealObject, unsealObject } from './sealer.ts';

export type SegmentPack = {
  readonly packId: string;
  readonly count: number;
  /** FINGERPRINT_BYTES per record, in the pack's order. */
  readonly fingerprints: Uint8Array;
};

export function segmentKey(id: string): string {
  return `index/${id}`;
}

export function packFingerprints(packId: string, table: PackTable): SegmentPack {
  const fingerprints = new Uint8Array(table.count * FINGERPRINT_BYTES);
  const view = new DataView(fingerprints.buffer);
  for (let at = 0; at < table.count; at++) {
    view.setUint32(at * FINGERPRINT_BYTES, prefixOf(table.ids, at * SHA256_BYTES), true);
    view.setUint32(at * FINGERPRINT_BYTES + 4, table.checksums[at]!, true);
  }
  return { packId, count: table.count, fingerprints };
}

/** Stores segments of bounded size; what they cover is in the log's hands. */
export async function writeSegments(
  objects: SealedObjects,
  random: Random,
  packs: readonly SegmentPack[],
): Promise<SegmentInfo[]> {
  const segments: SegmentInfo[] = [];
  let part: SegmentPack[] = [];
  let records = 0;
  for (const pack of packs) {
    if (part.length > 0 && records + pack.count > SEGMENT_RECORDS_MAX) {
      segments.push(await writeSegment(objects, random, part));
      part = [];
      records = 0;
    }
    part.push(pack);
    records += pack.count;
  }
  if (part.length > 0) segments.push(await writeSegment(objects, random, part));
  return segments;
}

export async function writeSegment(
  objects: SealedObjects,
  random: Random,
  packs: readonly SegmentPack[],
): Promise<SegmentInfo> {
  const idBytes = new Uint8Array(32);
  random.fill(idBytes);
  const id = toHex(idBytes);
  const writer = new ByteWriter(1024);
  writer.varint(packs.length);
  let records = 0;
  for (const pack of packs) {
    writer.put(fromHex(pack.packId, PACK_ID_BYTES)!);
    writer.varint(pack.count);
    records += pack.count;
  }
  for (const pack of packs) writer.put(pack.fingerprints);
  const key = segmentKey(id);
  const bytes = sealObject(objects.sealer, 'segment', key, writer.view());
  await objects.putIfAbsent(key, bytes);
  return { id, records };
}

/** Records that go into the index together, 8 MiB of them: with fewer each is a miss of its own. */
const BATCH_RECORDS = 1 << 19;

/** Memory for one segment at a time, used again for the next. */
export class SegmentMemory {
  #bytes = new Uint8Array(0);
  #sorting: Uint32Array | undefined;

  /** For BATCH_RECORDS on their way into the index; most often there is no segment to load. */
  get sorting(): Uint32Array {
    this.#sorting ??= sortingMemory(BATCH_RECORDS);
    return this.#sorting;
  }

  take(lengthBytes: number): Uint8Array {
    if (this.#bytes.byteLength < lengthBytes) this.#bytes = new Uint8Array(lengthBytes);
    return this.#bytes.subarray(0, lengthBytes);
  }
}

/** How many records the object has room for, whatever the log says. */
export async function segmentRoom(objects: SealedObjects, id: string): Promise<number> {
  return Math.floor((await sizeOf(objects, segmentKey(id))) / FINGERPRINT_BYTES);
}

async function sizeOf(objects: SealedObjects, key: string): Promise<number> {
  const sizeBytes = await objects.size(key);
  if (sizeBytes <= LARGE_OBJECT_BYTES_MAX) return sizeBytes;
  throw damagedObject(key, `${sizeBytes} bytes are more than any segment has`);
}

/** The packs' fingerprints lie in `memory`, if it is passed. STORE_MISSING, STORE_DAMAGED. */
export async function readSegment(
  objects: SealedObjects,
  id: string,
  memory = new SegmentMemory(),
): Promise<SegmentPack[]> {
  const key = segmentKey(id);
  try {
    const bytes = memory.take(await sizeOf(objects, key));
    await objects.getRange(key, bytes, 0);
    return parse(unsealObject(objects.sealer, 'segment', key, bytes));
  } catch (error) {
    if (error instanceof FormatError) throw damagedObject(key, error.message, error);
    if (error instanceof ObjectError && error.code === 'OBJECT_NOT_FOUND') {
      throw missingObject(key, error);
    }
    throw error;
  }
}

function parse(payload: Uint8Array): SegmentPack[] {
  const reader = new ByteReader(payload);
  const packCount = reader.count(payload.byteLength / PACK_ID_BYTES, 'the number of packs');
  const heads: { packId: string; count: number }[] = [];
  for (let at = 0; at < packCount; at++) {
    const packId = toHex(reader.take(PACK_ID_BYTES));
    heads.push({ packId, count: reader.count(PACK_RECORDS_MAX, 'the records of a pack') });
  }
  const packs = heads.map(({ packId, count }) => ({
    packId,
    count,
    fingerprints: reader.take(count * FINGERPRINT_BYTES),
  }));
  reader.end();
  return packs;
}

/** Adds a segment's packs to an index. */
export function addSegment(
  index: ChunkIndex,
  packs: readonly SegmentPack[],
  memory = new SegmentMemory(),
): void {
  let batch: PackPart[] = [];
  let room = BATCH_RECORDS;
  const add = () => {
    index.addParts(batch, memory.sorting);
    batch = [];
    room = BATCH_RECORDS;
  };
  for (const { packId, count, fingerprints } of packs) {
    if (index.hasPack(packId)) continue;
    const pack = index.addPack(packId);
    for (let firstOrdinal = 0; firstOrdinal < count; ) {
      const end = Math.min(count, firstOrdinal + room);
      const bytes = [firstOrdinal * FINGERPRINT_BYTES, end * FINGERPRINT_BYTES] as const;
      batch.push({ pack, firstOrdinal, fingerprints: fingerprints.subarray(...bytes) });
      room -= end - firstOrdinal;
      firstOrdinal = end;
      if (room === 0) add();
    }
  }
  add();
}
