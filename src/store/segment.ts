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
import { ObjectError, type ObjectStore } from '../objects/index.ts';
import { type ChunkIndex, prefixOf } from './chunk-index.ts';
import { seal, unseal } from './envelope.ts';
import { damagedObject, missingObject } from './errors.ts';
import { LARGE_OBJECT_BYTES_MAX, PACK_RECORDS_MAX } from './limits.ts';
import type { SegmentInfo } from './log-entry.ts';
import { PACK_ID_BYTES } from './pack-file.ts';
import type { PackTable } from './pack-table.ts';

/** Id prefix and CRC-32 of a record. */
const FINGERPRINT_BYTES = 8;

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

/** Stores a segment; what it covers is in the log's hands. */
export async function writeSegment(
  objects: ObjectStore,
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
  await objects.putIfAbsent(segmentKey(id), seal('segment', writer.view()));
  return { id, records };
}

/** STORE_MISSING, STORE_DAMAGED. */
export async function readSegment(objects: ObjectStore, id: string): Promise<SegmentPack[]> {
  const key = segmentKey(id);
  try {
    return parse(unseal('segment', await objects.get(key, LARGE_OBJECT_BYTES_MAX), key));
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
export function addSegment(index: ChunkIndex, packs: readonly SegmentPack[]): void {
  for (const { packId, count, fingerprints } of packs) {
    if (index.hasPack(packId)) continue;
    const pack = index.addPack(packId);
    index.reserve(count);
    for (let at = 0; at < count; at++) {
      const from = at * FINGERPRINT_BYTES;
      index.addRecord(pack, at, prefixOf(fingerprints, from), prefixOf(fingerprints, from + 4));
    }
  }
}
