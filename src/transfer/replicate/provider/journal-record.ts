/** The bytes of a journal: a header that names its volume, and records that prove themselves. */
import assert from 'node:assert/strict';
import { checksumOfParts, type Parts } from '../../../codec/index.ts';
import { ByteReader, ByteWriter, crc32, FormatError } from '../../../core/index.ts';
import { JOURNAL_HEADER_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX } from '../limits.ts';

/** `FRYJ`, little-endian. */
const MAGIC = 0x4a595246;
const VERSION = 1;
export const NONCE_BYTES = 16;
/** Magic, version, length of the text, nonce. */
const FIXED_BYTES = 4 + 4 + 4 + NONCE_BYTES;
const CRC_BYTES = 4;

/** Of records: the body of the message by that name, but for patches, which come decoded. */
export const RECORD_DATA = 1;
export const RECORD_REFERENCES = 2;
/** An epoch begins; what an earlier one without commit left is dead from here on. */
export const RECORD_CUT = 3;
/** The epoch is the state of the volume once this is durable. */
export const RECORD_COMMIT = 4;
/** As RECORD_COMMIT, if its group decides so: a commit follows, or the decision is asked. */
export const RECORD_READY = 5;

/** CRC-32, payload length, mark, type, number, durable bytes. */
export const RECORD_HEADER_BYTES = 36;
export const MARK_BYTES = 8;
const MARK_AT = 8;

export type JournalFacts = {
  readonly volume: string;
  readonly sizeBytes: number;
  readonly nonce: Uint8Array;
};

export type RecordHeader = {
  readonly payloadBytes: number;
  readonly type: number;
  /** Counts the records of a file from 0. */
  readonly number: number;
  /** So much of the file was known to be durable when this was written. */
  readonly durableBytes: number;
};

export function encodeHeader({ volume, sizeBytes, nonce }: JournalFacts): Uint8Array {
  const text = new TextEncoder().encode(JSON.stringify({ volume, sizeBytes }));
  const writer = new ByteWriter(FIXED_BYTES + text.byteLength + CRC_BYTES);
  writer.u32(MAGIC);
  writer.u32(VERSION);
  writer.u32(text.byteLength);
  writer.put(nonce);
  writer.put(text);
  writer.u32(crc32(writer.view()));
  return writer.view();
}

/** The facts, and where the first record begins. */
export function decodeHeader(bytes: Uint8Array): JournalFacts & { readonly endBytes: number } {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC) throw new FormatError('no journal begins here');
  const version = reader.u32();
  if (version !== VERSION) throw new FormatError(`version ${version} of journals is not known`);
  const textBytes = reader.u32();
  if (textBytes > JOURNAL_HEADER_BYTES_MAX) throw new FormatError('its header is too long');
  const nonce = reader.take(NONCE_BYTES).slice();
  const text = new TextDecoder().decode(reader.take(textBytes));
  const checksum = crc32(bytes.subarray(0, reader.position));
  if (reader.u32() !== checksum) throw new FormatError('the checksum of its header is wrong');
  const { volume, sizeBytes } = JSON.parse(text) as Record<string, unknown>;
  if (typeof volume !== 'string' || typeof sizeBytes !== 'number') {
    throw new FormatError('its header says nothing of its volume');
  }
  return { volume, sizeBytes, nonce, endBytes: reader.position };
}

/** Where a record's payload lies in its file. */
export type RecordPlace = { readonly atBytes: number; readonly payloadBytes: number };

/** Awaited before the next record is read. */
export type OnRecord = (
  type: number,
  payload: Uint8Array,
  place: RecordPlace,
) => void | Promise<void>;

/** The record's header, whose checksum begins with the file's nonce. */
export function encodeRecordHeader(
  { type, number, durableBytes, payloadBytes }: RecordHeader,
  nonce: Uint8Array,
  payload: Parts,
): Uint8Array {
  assert(payloadBytes <= JOURNAL_RECORD_BYTES_MAX, `a record of ${payloadBytes} bytes`);
  const writer = new ByteWriter(RECORD_HEADER_BYTES);
  writer.u32(0);
  writer.u32(payloadBytes);
  writer.put(markOf(nonce));
  writer.u32(type);
  writer.u53(number);
  writer.u53(durableBytes);
  const bytes = writer.view();
  const checksum = checksumOfParts(crc32(bytes.subarray(4), crc32(nonce)), payload);
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, checksum, true);
  return bytes;
}

/** Undefined if no record of this file can begin so; the checksum is not looked at. */
export function decodeRecordHeader(
  bytes: Uint8Array,
  nonce: Uint8Array,
): (RecordHeader & { readonly checksum: number }) | undefined {
  if (bytes.byteLength < RECORD_HEADER_BYTES) return undefined;
  const mark = bytes.subarray(MARK_AT, MARK_AT + MARK_BYTES);
  if (Buffer.compare(mark, markOf(nonce)) !== 0) return undefined;
  const reader = new ByteReader(bytes);
  const checksum = reader.u32();
  const payloadBytes = reader.u32();
  if (payloadBytes > JOURNAL_RECORD_BYTES_MAX) return undefined;
  reader.take(MARK_BYTES);
  const type = reader.u32();
  try {
    return { checksum, payloadBytes, type, number: reader.u53(), durableBytes: reader.u53() };
  } catch {
    return undefined;
  }
}

/** Of the record's bytes without their first four. */
export function isRecordWhole(bytes: Uint8Array, checksum: number, nonce: Uint8Array): boolean {
  return crc32(bytes.subarray(4), crc32(nonce)) === checksum;
}

/** By it the records of a file are told from whatever else stands in it. */
export function markOf(nonce: Uint8Array): Uint8Array {
  return nonce.subarray(0, MARK_BYTES);
}

export const markAt = MARK_AT;
