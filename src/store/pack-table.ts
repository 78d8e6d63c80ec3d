/** A pack's chunk table: where its frames lie, and what each record in them is. */
import assert from 'node:assert/strict';
import {
  compress,
  decompress,
  FRAME_RAW_MAX,
  FRAME_STORED_MAX,
  FRAMES_TOUCHED_MAX,
  PARENT_REFERENCE_BYTES,
  PATCH_DEPTH_MAX,
} from '../codec/index.ts';
import {
  ByteReader,
  ByteWriter,
  FormatError,
  partitionPoint,
  SHA256_BYTES,
} from '../core/index.ts';
import { PACK_BYTES_MAX, PACK_RECORDS_MAX, PACK_TABLE_BYTES_MAX } from './limits.ts';
import type { PackSeal } from './pack-seal.ts';

/** The numbers are part of the format. */
export const RECORD_CHUNK = 0;
export const RECORD_TREE = 1;

/** The pack's first frame begins behind its header. */
export const PACK_HEADER_BYTES = 44;

const CAPACITY_MIN = 64;

type Columns = Pick<PackTable, 'kinds' | 'depths' | 'touched' | 'rawBytes' | 'checksums' | 'ids'>;

/**
 * Columns, one entry per record in the order of the frames. Grows while a pack is written; a
 * record is known (its id, checksum) before the frame that holds it is.
 */
export class PackTable {
  /** How the pack's frames are read. */
  readonly seal: PackSeal;
  #capacity = CAPACITY_MIN;
  count = 0;
  /** Records from here on have no frame yet: a pack is being written. */
  framedCount = Number.MAX_SAFE_INTEGER;
  kinds = new Uint8Array(this.#capacity);
  /** 0 is plain; see PATCH_DEPTH_MAX. */
  depths = new Uint8Array(this.#capacity);
  /** Frames that reading the record touches, its own included. */
  touched = new Uint8Array(this.#capacity);
  rawBytes = new Uint32Array(this.#capacity);
  checksums = new Uint32Array(this.#capacity);
  ids = new Uint8Array(this.#capacity * SHA256_BYTES);
  /** Per frame: first record, offset in the pack, stored bytes. */
  readonly frameFirst: number[] = [];
  readonly frameOffset: number[] = [];
  readonly frameBytes: number[] = [];
  /** Per frame, in sealed packs only: SHA-256 of the stored bytes. */
  readonly frameHash: Uint8Array[] = [];
  /** By record, where the table knows them: references to a patch's parents, back to back. */
  readonly #parents = new Map<number, Uint8Array>();

  constructor(seal: PackSeal) {
    this.seal = seal;
  }

  /** About what it holds in memory. */
  get sizeBytes(): number {
    const columns = this.#capacity * (11 + SHA256_BYTES) + this.#parents.size * 160;
    return columns + this.frameFirst.length * 24 + this.frameHash.length * 128 + 256;
  }

  add(kind: number, id: Uint8Array, checksum: number, rawBytes: number): number {
    if (this.count === this.#capacity) this.#grow(Math.max(CAPACITY_MIN, this.#capacity * 2));
    const ordinal = this.count++;
    this.kinds[ordinal] = kind;
    this.touched[ordinal] = 1;
    this.rawBytes[ordinal] = rawBytes;
    this.checksums[ordinal] = checksum;
    this.ids.set(id, ordinal * SHA256_BYTES);
    return ordinal;
  }

  /** All records of a pack that is there, as whole columns. */
  fill(columns: Columns): void {
    assert(this.count === 0);
    Object.assign(this, columns);
    this.count = columns.kinds.length;
    this.#capacity = this.count;
  }

  #grow(capacity: number): void {
    const widen = <T extends Uint8Array | Uint32Array>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.#capacity = capacity;
    this.kinds = widen(new Uint8Array(capacity), this.kinds);
    this.depths = widen(new Uint8Array(capacity), this.depths);
    this.touched = widen(new Uint8Array(capacity), this.touched);
    this.rawBytes = widen(new Uint32Array(capacity), this.rawBytes);
    this.checksums = widen(new Uint32Array(capacity), this.checksums);
    this.ids = widen(new Uint8Array(capacity * SHA256_BYTES), this.ids);
  }

  addFrame(
    firstRecord: number,
    offsetBytes: number,
    storedBytes: number,
    hash?: Uint8Array | undefined,
  ): void {
    this.frameFirst.push(firstRecord);
    this.frameOffset.push(offsetBytes);
    this.frameBytes.push(storedBytes);
    if (hash !== undefined) this.frameHash.push(hash);
  }

  /** Remembers which chunks the patch stands on. */
  setParents(ordinal: number, references: readonly Uint8Array[]): void {
    this.#parents.set(ordinal, new Uint8Array(Buffer.concat(references)));
  }

  /** References to the parents of a patch; undefined if only its frame tells them. */
  parentsOf(ordinal: number): Uint8Array[] | undefined {
    const all = this.#parents.get(ordinal);
    if (all === undefined) return undefined;
    const references: Uint8Array[] = [];
    for (let at = 0; at < all.byteLength; at += PARENT_REFERENCE_BYTES) {
      references.push(all.subarray(at, at + PARENT_REFERENCE_BYTES));
    }
    return references;
  }

  /** A view. */
  id(ordinal: number): Uint8Array {
    return this.ids.subarray(ordinal * SHA256_BYTES, (ordinal + 1) * SHA256_BYTES);
  }

  /** The number of the frame that holds record `ordinal`. */
  frameOf(ordinal: number): number {
    assert(ordinal < this.count && this.frameFirst.length > 0);
    const { frameFirst } = this;
    return partitionPoint(frameFirst.length, (frame) => frameFirst[frame]! <= ordinal) - 1;
  }
}

/** The table as it is stored: compressed columns. `rawBytes` is what it decompresses to. */
export function encodeTable(table: PackTable): { stored: Uint8Array; rawBytes: number } {
  const { count } = table;
  const writer = new ByteWriter(count * 40 + 256);
  writer.varint(count);
  writer.varint(table.frameFirst.length);
  for (const [frame, first] of table.frameFirst.entries()) {
    const next = table.frameFirst[frame + 1] ?? count;
    writer.varint(next - first);
    writer.varint(table.frameBytes[frame]!);
  }
  writer.put(table.kinds.subarray(0, count));
  writer.put(table.depths.subarray(0, count));
  writer.put(table.touched.subarray(0, count));
  for (let at = 0; at < count; at++) writer.varint(table.rawBytes[at]!);
  for (let at = 0; at < count; at++) writer.u32(table.checksums[at]!);
  writer.put(table.ids.subarray(0, count * SHA256_BYTES));
  const raw = writer.view();
  const { algorithm, stored } = compress(raw, { algorithm: 'zstd', level: 3 });
  const bytes = new Uint8Array(1 + stored.byteLength);
  bytes[0] = algorithm;
  bytes.set(stored, 1);
  return { stored: bytes, rawBytes: raw.byteLength };
}

/** FormatError or CodecError when the bytes are not a table. `dataBytes` is where frames end. */
export function decodeTable(
  stored: Uint8Array,
  rawBytes: number,
  dataBytes: number,
  seal: PackSeal,
): PackTable {
  if (rawBytes > PACK_TABLE_BYTES_MAX) throw new FormatError(`a table of ${rawBytes} bytes`);
  const reader = new ByteReader(decompress(stored[0] ?? 255, stored.subarray(1), rawBytes));
  const table = new PackTable(seal);
  const count = readFrames(reader, dataBytes, (first, offset) => {
    const storedBytes = reader.count(FRAME_STORED_MAX, 'a frame');
    table.addFrame(first, offset, storedBytes);
    return storedBytes;
  });
  readColumns(reader, table, count);
  reader.end();
  return table;
}

/**
 * Answers how many records there are in all. `readFrame` reads what follows the count of a frame's
 * records, and answers how long it is.
 */
export function readFrames(
  reader: ByteReader,
  dataBytes: number,
  readFrame: (firstRecord: number, offsetBytes: number) => number,
): number {
  const count = reader.count(PACK_RECORDS_MAX, 'the number of records');
  const frameCount = reader.count(count, 'the number of frames');
  let first = 0;
  let offset = PACK_HEADER_BYTES;
  for (let frame = 0; frame < frameCount; frame++) {
    const records = reader.count(count - first, 'the records of a frame');
    if (records === 0) throw new FormatError('a frame without records');
    offset += readFrame(first, offset);
    first += records;
  }
  if (first !== count) throw new FormatError('the frames do not hold all records');
  if (offset !== dataBytes || offset > PACK_BYTES_MAX) {
    throw new FormatError(`its frames end at ${offset}, not at ${dataBytes}`);
  }
  return count;
}

function readColumns(reader: ByteReader, table: PackTable, count: number): void {
  const kinds = new Uint8Array(reader.take(count));
  const depths = new Uint8Array(reader.take(count));
  const touched = new Uint8Array(reader.take(count));
  for (let at = 0; at < count; at++) checkRecord(kinds[at]!, depths[at]!, touched[at]!);
  const rawBytes = new Uint32Array(count);
  for (let at = 0; at < count; at++) rawBytes[at] = reader.count(FRAME_RAW_MAX, 'a record');
  const checksums = new Uint32Array(count);
  for (let at = 0; at < count; at++) checksums[at] = reader.u32();
  const ids = new Uint8Array(reader.take(count * SHA256_BYTES));
  table.fill({ kinds, depths, touched, rawBytes, checksums, ids });
}

export function checkRecord(kind: number, depth: number, touched: number): void {
  if (kind > RECORD_TREE) throw new FormatError(`record kind ${kind} is not known`);
  if (depth > PATCH_DEPTH_MAX) throw new FormatError(`a record has depth ${depth}`);
  if (touched < 1 || touched > FRAMES_TOUCHED_MAX) {
    throw new FormatError(`a record touches ${touched} frames`);
  }
}
