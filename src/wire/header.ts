/** The header before each message's body: type, length, checksum, priority, number. */
import { checksumOfParts, type Parts } from '../codec/index.ts';
import { crc32 } from '../core/index.ts';

export const HEADER_BYTES = 20;

/** A receiver that does not know the type must refuse, instead of skipping the message. */
export const FLAG_MANDATORY = 1;
/** The body is a varint, its length, and then that many bytes compressed by zstd. */
export const FLAG_COMPRESSED = 2;
export const FLAGS_KNOWN = FLAG_MANDATORY | FLAG_COMPRESSED;

/** From the most to the least urgent; a lane sends nothing while something before it waits. */
export const PRIORITY_DEMAND = 0;
export const PRIORITY_CONTROL = 1;
export const PRIORITY_DIRTY = 2;
export const PRIORITY_BACKGROUND = 3;
export const PRIORITY_SPECULATION = 4;
export const PRIORITIES = 5;

/** One header; decoders reuse theirs. */
export type Header = {
  checksum: number;
  /** Once the checksum was compared: that of the body alone. */
  bodyChecksum: number;
  bodyBytes: number;
  type: number;
  flags: number;
  priority: number;
  /** Counts the numbered messages of one side of a session from 1; 0 for those without number. */
  sequence: number;
};

export function emptyHeader(): Header {
  return {
    checksum: 0,
    bodyChecksum: 0,
    bodyBytes: 0,
    type: 0,
    flags: 0,
    priority: 0,
    sequence: 0,
  };
}

/** Writes the header at `at`, with the checksum of itself and of the body. */
export function putHeader(
  bytes: Uint8Array,
  at: number,
  header: Omit<Header, 'checksum' | 'bodyChecksum'>,
  body: Parts,
): void {
  putU32(bytes, at + 4, header.bodyBytes);
  bytes[at + 8] = header.type;
  bytes[at + 9] = header.flags;
  bytes[at + 10] = header.priority;
  bytes[at + 11] = 0;
  putU32(bytes, at + 12, header.sequence % 0x100000000);
  putU32(bytes, at + 16, Math.floor(header.sequence / 0x100000000));
  putU32(bytes, at, checksumOfParts(checksumOfHeader(bytes, at), body));
}

/** The sequence is inexact from 2^53 on, and so above all that are ever expected. */
export function getHeader(bytes: Uint8Array, at: number, header: Header): void {
  header.checksum = getU32(bytes, at);
  header.bodyBytes = getU32(bytes, at + 4);
  header.type = bytes[at + 8]!;
  header.flags = bytes[at + 9]!;
  header.priority = bytes[at + 10]!;
  header.sequence = getU32(bytes, at + 16) * 0x100000000 + getU32(bytes, at + 12);
}

/** The checksum begun over the header's own bytes; the body's follow. */
export function checksumOfHeader(bytes: Uint8Array, at: number): number {
  return crc32(bytes.subarray(at + 4, at + HEADER_BYTES));
}

export function getU24(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
}

export function putU24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
}

export function getU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}
