/**
 * Frames: a run of records, compressed and checksummed together, position-independent, the same
 * bytes on disk and on the wire. docs/format.md describes the layout.
 */
import assert from 'node:assert/strict';
import { ByteReader, ByteWriter, crc32, FormatError } from '../core/index.ts';
import { type Compression, compress, compressedBytesMax, decompress } from './compression.ts';
import { damaged } from './errors.ts';
import { joinedChecksum } from './joined-checksum.ts';
import {
  FRAME_RAW_MAX,
  FRAME_RECORDS_MAX,
  FRAME_STORED_MAX,
  FRAME_UNFOLDED_MAX,
  PATCH_PARENTS_MAX,
} from './limits.ts';
import { looksIncompressible } from './probe.ts';

/** `FRAM`, little-endian: lets a reader find the next frame behind a damaged one. */
const MAGIC = 0x4d415246;
const VERSION = 1;
/** Magic, CRC-32, stored length. */
const FIXED_BYTES = 12;
/** Where begins what the checksum is of. */
const CHECKED_AT = 8;

const KIND_PLAIN = 0;
const KIND_PATCH = 1;
/** A plain record of which only the part between its zero margins is stored. */
const KIND_RUN = 2;
/** Set in a record's kind byte when its raw length is that of the record before. */
const SAME_LENGTH = 0x80;

export const PARENT_REFERENCE_BYTES = 12;

/**
 * Names a parent: the CRC-32 and the first 8 bytes of the id, as they stand in the frame. It only
 * finds candidates; the SHA-256 of the decoded chunk proves that the right one was taken.
 */
export type ParentReference = Uint8Array;

/** What goes into a frame, in order: plain bytes, or a patch with the parents it needs. */
export type FrameInput =
  | {
      readonly kind: 'plain';
      readonly bytes: Uint8Array;
      /** The record is this long, zero but for `bytes` at `skipBytes`; by default just `bytes`. */
      readonly rawBytes?: number;
      readonly skipBytes?: number;
    }
  | {
      readonly kind: 'patch';
      readonly rawBytes: number;
      readonly patch: Uint8Array;
      readonly parents: readonly ParentReference[];
    };

export type FrameRecord = {
  readonly rawBytes: number;
  /** Empty for a plain record. */
  readonly parents: readonly ParentReference[];
  /**
   * Plain: where its bytes begin in the plain section. Patch: where its patch begins in the frame.
   */
  readonly at: number;
  /** Plain: the bytes it has there, fewer than `rawBytes` if its margins are zero. */
  readonly storedBytes: number;
  readonly skipBytes: number;
};

export type Frame = {
  readonly bytes: Uint8Array;
  readonly records: readonly FrameRecord[];
  readonly algorithm: number;
  readonly plainRawBytes: number;
  readonly plainAt: number;
  readonly plainStoredBytes: number;
};

/**
 * Writes a frame to the start of `target` (FRAME_STORED_MAX bytes suffice) and returns its length;
 * the plain records are compressed as one section.
 */
export function encodeFrame(
  inputs: readonly FrameInput[],
  compression: Compression,
  target: Uint8Array,
): number {
  const { head, section } = headAndSection(inputs, compression);
  return finishFrame(inputs, { head, section, target, isInPlace: false });
}

/**
 * The same where plain bytes may lie already: what does not compress is left in its place if there
 * is room for the head before it and for patches behind it. Otherwise the frame is at the start,
 * over whatever was there.
 */
export function encodeFrameWithin(
  inputs: readonly FrameInput[],
  compression: Compression,
  memory: Uint8Array,
): { readonly at: number; readonly storedBytes: number } {
  const { head, section } = headAndSection(inputs, compression);
  const headBytes = FIXED_BYTES + head.byteLength;
  const at = section.byteOffset - memory.byteOffset - headBytes;
  const isView = section.buffer === memory.buffer && section.byteLength > 0;
  const end = at + headBytes + section.byteLength + patchBytesOf(inputs);
  if (isView && at >= 0 && end <= memory.byteLength) {
    const parts = { head, section, target: memory.subarray(at), isInPlace: true };
    return { at, storedBytes: finishFrame(inputs, parts) };
  }
  // The head would be written over what is to follow it.
  const parts = { head, section: isView ? section.slice() : section, target: memory };
  return { at: 0, storedBytes: finishFrame(inputs, { ...parts, isInPlace: false }) };
}

function patchBytesOf(inputs: readonly FrameInput[]): number {
  return inputs.reduce((sum, input) => sum + (input.kind === 'patch' ? input.patch.length : 0), 0);
}

type Parts = { readonly head: Uint8Array; readonly section: Uint8Array };

function headAndSection(inputs: readonly FrameInput[], compression: Compression): Parts {
  assert(inputs.length > 0 && inputs.length <= FRAME_RECORDS_MAX);
  const plain = joinPlain(inputs);
  const { algorithm, stored } = looksIncompressible(plain)
    ? compress(plain, { algorithm: 'raw' })
    : compress(plain, compression, sectionMemory(plain.byteLength));
  const head = new ByteWriter(256);
  head.u8(VERSION);
  head.u8(algorithm);
  head.varint(inputs.length);
  head.varint(plain.byteLength);
  head.varint(stored.byteLength);
  putRecords(head, inputs);
  return { head: head.view(), section: stored };
}

function finishFrame(
  inputs: readonly FrameInput[],
  { head, section, target, isInPlace }: Parts & { target: Uint8Array; isInPlace: boolean },
): number {
  let at = FIXED_BYTES;
  const put = (bytes: Uint8Array) => {
    target.set(bytes, at);
    at += bytes.byteLength;
  };
  put(head);
  if (isInPlace) at += section.byteLength;
  else put(section);
  for (const input of inputs) if (input.kind === 'patch') put(input.patch);
  const fixed = new DataView(target.buffer, target.byteOffset, FIXED_BYTES);
  fixed.setUint32(0, MAGIC, true);
  fixed.setUint32(8, at, true);
  fixed.setUint32(4, crc32(target.subarray(CHECKED_AT, at)), true);
  return at;
}

let memory = new Uint8Array(0);

/** Where a section is compressed before it is put into its frame: used again and again. */
function sectionMemory(rawBytes: number): Uint8Array {
  const mostBytes = compressedBytesMax(rawBytes);
  if (memory.byteLength < mostBytes) memory = new Uint8Array(mostBytes);
  return memory;
}

/** The plain records' bytes in one piece: a view where they lie one after the other already. */
function joinPlain(inputs: readonly FrameInput[]): Uint8Array {
  const parts = inputs.flatMap((input) => (input.kind === 'plain' ? [input.bytes] : []));
  const total = parts.reduce((sum, part) => sum + part.byteLength, 0);
  assert(total <= FRAME_RAW_MAX, `${total} plain bytes in one frame`);
  const first = parts[0];
  if (first === undefined) return new Uint8Array(0);
  let end = first.byteOffset;
  const adjacent = parts.every((part) => {
    const follows = part.buffer === first.buffer && part.byteOffset === end;
    end += part.byteLength;
    return follows;
  });
  if (adjacent) return new Uint8Array(first.buffer, first.byteOffset, total);
  const plain = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    plain.set(part, at);
    at += part.byteLength;
  }
  return plain;
}

function putRecords(writer: ByteWriter, inputs: readonly FrameInput[]): void {
  let before = -1;
  for (const input of inputs) {
    const rawBytes = rawBytesOf(input);
    const kind = kindOf(input);
    writer.u8(rawBytes === before ? kind | SAME_LENGTH : kind);
    if (rawBytes !== before) writer.varint(rawBytes);
    before = rawBytes;
    if (kind === KIND_RUN && input.kind === 'plain') {
      writer.varint(input.skipBytes ?? 0);
      writer.varint(input.bytes.byteLength);
    }
    if (input.kind === 'plain') continue;
    writer.varint(input.patch.byteLength);
    writer.u8(input.parents.length);
    for (const parent of input.parents) {
      assert(parent.byteLength === PARENT_REFERENCE_BYTES);
      writer.put(parent);
    }
  }
}

function rawBytesOf(input: FrameInput): number {
  if (input.kind === 'patch') return input.rawBytes;
  return input.rawBytes ?? input.bytes.byteLength;
}

function kindOf(input: FrameInput): number {
  if (input.kind === 'patch') return KIND_PATCH;
  return rawBytesOf(input) === input.bytes.byteLength ? KIND_PLAIN : KIND_RUN;
}

/** Of all of a frame's bytes, if its own checksum is right: nothing but its beginning is read. */
export function checksumOfFrame(bytes: Uint8Array): number {
  const own = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4, true);
  const first = crc32(bytes.subarray(0, CHECKED_AT));
  return joinedChecksum(first, own, bytes.byteLength - CHECKED_AT);
}

/**
 * Checks the checksum, unless it `isSound` is known, and every length; CODEC_DAMAGED. The frame
 * keeps a view of `bytes`.
 */
export function parseFrame(bytes: Uint8Array, { isSound = false } = {}): Frame {
  try {
    return parse(bytes, isSound);
  } catch (error) {
    if (error instanceof FormatError) throw damaged(`a frame does not parse: ${error.message}`);
    throw error;
  }
}

function parse(bytes: Uint8Array, isSound: boolean): Frame {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC) throw new FormatError('no frame begins here');
  const checksum = reader.u32();
  const length = reader.u32();
  if (length !== bytes.byteLength || length > FRAME_STORED_MAX) {
    throw new FormatError(`it declares ${length} bytes, ${bytes.byteLength} are there`);
  }
  if (!isSound && crc32(bytes.subarray(CHECKED_AT)) !== checksum)
    throw new FormatError('its checksum is wrong');
  const version = reader.u8();
  if (version !== VERSION) throw new FormatError(`version ${version} is not known`);
  const algorithm = reader.u8();
  const recordCount = reader.count(FRAME_RECORDS_MAX, 'the number of records');
  const plainRawBytes = reader.count(FRAME_RAW_MAX, 'the plain section');
  const plainStoredBytes = reader.count(FRAME_RAW_MAX, 'the stored plain section');
  const records = parseRecords(reader, recordCount);
  const plainAt = reader.position;
  return {
    bytes,
    records: place(records, { plainAt, plainStoredBytes, plainRawBytes, length }),
    algorithm,
    plainRawBytes,
    plainAt,
    plainStoredBytes,
  };
}

function parseRecords(reader: ByteReader, recordCount: number): FrameRecord[] {
  const records: FrameRecord[] = [];
  let rawBytes = -1;
  let unfoldedBytes = 0;
  for (let index = 0; index < recordCount; index++) {
    const kind = reader.u8();
    if ((kind & SAME_LENGTH) === 0) rawBytes = reader.count(FRAME_RAW_MAX, 'a record');
    if (rawBytes < 0) throw new FormatError('the first record has no length');
    unfoldedBytes += rawBytes;
    if (unfoldedBytes > FRAME_UNFOLDED_MAX) throw new FormatError('it unfolds to too much');
    records.push(parseRecord(reader, kind & ~SAME_LENGTH, rawBytes));
  }
  return records;
}

function parseRecord(reader: ByteReader, kind: number, rawBytes: number): FrameRecord {
  const plain = { rawBytes, parents: [], at: 0, storedBytes: rawBytes, skipBytes: 0 };
  if (kind === KIND_PLAIN) return plain;
  if (kind === KIND_RUN) {
    const skipBytes = reader.count(rawBytes, 'a zero margin');
    const storedBytes = reader.count(rawBytes - skipBytes, 'a run');
    return { ...plain, skipBytes, storedBytes };
  }
  if (kind !== KIND_PATCH) throw new FormatError(`record kind ${kind} is not known`);
  const storedBytes = reader.count(FRAME_RAW_MAX, 'a patch');
  const parentCount = reader.u8();
  if (parentCount === 0 || parentCount > PATCH_PARENTS_MAX) {
    throw new FormatError(`a patch has ${parentCount} parents`);
  }
  const parents: ParentReference[] = [];
  for (let at = 0; at < parentCount; at++) parents.push(reader.take(PARENT_REFERENCE_BYTES));
  return { ...plain, storedBytes, parents };
}

type Layout = { plainAt: number; plainStoredBytes: number; plainRawBytes: number; length: number };

/** Gives each record its place, and checks that the sections end where the frame does. */
function place(records: FrameRecord[], layout: Layout): FrameRecord[] {
  let plain = 0;
  let patch = layout.plainAt + layout.plainStoredBytes;
  const placed: FrameRecord[] = [];
  for (const record of records) {
    if (record.parents.length === 0) {
      placed.push({ ...record, at: plain });
      plain += record.storedBytes;
    } else {
      placed.push({ ...record, at: patch });
      patch += record.storedBytes;
    }
  }
  if (plain !== layout.plainRawBytes) throw new FormatError('its plain records do not add up');
  if (patch !== layout.length) throw new FormatError('its sections do not add up');
  return placed;
}

/** The plain section, decompressed; it may be a view of the frame, or of `memory`. */
export function plainSection(frame: Frame, memory?: Uint8Array): Uint8Array {
  const stored = frame.bytes.subarray(frame.plainAt, frame.plainAt + frame.plainStoredBytes);
  return decompress(frame.algorithm, stored, frame.plainRawBytes, memory);
}

/** A plain record's bytes, out of the section; a view of it unless margins have to be filled in. */
export function plainRecord(section: Uint8Array, record: FrameRecord): Uint8Array {
  const stored = section.subarray(record.at, record.at + record.storedBytes);
  if (record.storedBytes === record.rawBytes) return stored;
  const bytes = new Uint8Array(record.rawBytes);
  bytes.set(stored, record.skipBytes);
  return bytes;
}
