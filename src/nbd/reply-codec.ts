/** Replies on the wire, in the three styles: simple, structured, extended. */
import { getU16, getU32, getU64, putU16, putU32, putU64 } from './big-endian.ts';
import {
  CHUNK_BLOCK_STATUS,
  CHUNK_BLOCK_STATUS_EXTENDED,
  CHUNK_DONE,
  CHUNK_ERROR,
  CHUNK_NONE,
  CHUNK_OFFSET_DATA,
  EXTENDED_REPLY_BYTES,
  EXTENDED_REPLY_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
  STRUCTURED_REPLY_BYTES,
  STRUCTURED_REPLY_MAGIC,
} from './constants.ts';
import type { Request } from './request-codec.ts';

/** What client and server agreed on; a later one includes the earlier. */
export const STYLE_SIMPLE = 0;
export const STYLE_STRUCTURED = 1;
export const STYLE_EXTENDED = 2;

/** One reply, or one chunk of one; the decoder reuses a single one. */
export type Reply = {
  style: number;
  /** Of a simple reply; 0 is success. */
  error: number;
  /** Of a chunk. */
  flags: number;
  type: number;
  cookieHigh: number;
  cookieLow: number;
  /** Extended style only. */
  offsetBytes: number;
  /** What follows a chunk's header; a simple reply does not tell. */
  lengthBytes: number;
};

export function emptyReply(): Reply {
  return {
    style: 0,
    error: 0,
    flags: 0,
    type: 0,
    cookieHigh: 0,
    cookieLow: 0,
    offsetBytes: 0,
    lengthBytes: 0,
  };
}

/** What precedes the data of a successful read. */
export function readHeaderBytes(style: number): number {
  if (style === STYLE_SIMPLE) return SIMPLE_REPLY_BYTES;
  return chunkHeaderBytes(style) + 8;
}

function chunkHeaderBytes(style: number): number {
  return style === STYLE_EXTENDED ? EXTENDED_REPLY_BYTES : STRUCTURED_REPLY_BYTES;
}

/** Writes what precedes the data of a successful read and answers where the data begins. */
export function putReadHeader(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
): number {
  if (style === STYLE_SIMPLE) return putSimple(bytes, at, request, 0);
  const lengthBytes = 8 + request.lengthBytes;
  const payload = putChunk(bytes, at, request, style, CHUNK_DONE, CHUNK_OFFSET_DATA, lengthBytes);
  putU64(bytes, payload, request.offsetBytes);
  return payload + 8;
}

/** The longest answer of `putDone` and `putError`. */
export const SHORT_REPLY_BYTES = 64;

/** Success without data. Simple replies stay permitted beside structured ones, and are shorter. */
export function putDone(bytes: Uint8Array, at: number, request: Request, style: number): number {
  if (style !== STYLE_EXTENDED) return putSimple(bytes, at, request, 0);
  return putChunk(bytes, at, request, style, CHUNK_DONE, CHUNK_NONE, 0);
}

/** A read of nothing: a data chunk may not be empty. */
export function putEmptyRead(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
): number {
  if (style === STYLE_SIMPLE) return putSimple(bytes, at, request, 0);
  return putChunk(bytes, at, request, style, CHUNK_DONE, CHUNK_NONE, 0);
}

/** `error` is one of error-numbers.ts. No text goes with it: it might name a path. */
export function putError(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
  error: number,
): number {
  if (style === STYLE_SIMPLE) return putSimple(bytes, at, request, error);
  const payload = putChunk(bytes, at, request, style, CHUNK_DONE, CHUNK_ERROR, 6);
  putU32(bytes, payload, error);
  putU16(bytes, payload + 4, 0);
  return payload + 6;
}

/** Where the status extents of one context begin; `putStatusExtent` writes each. */
export function putStatusHeader(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
  { contextId, count, isLast }: { contextId: number; count: number; isLast: boolean },
): number {
  const flags = isLast ? CHUNK_DONE : 0;
  const extended = style === STYLE_EXTENDED;
  const type = extended ? CHUNK_BLOCK_STATUS_EXTENDED : CHUNK_BLOCK_STATUS;
  const lengthBytes = (extended ? 8 : 4) + count * statusExtentBytes(style);
  const payload = putChunk(bytes, at, request, style, flags, type, lengthBytes);
  putU32(bytes, payload, contextId);
  if (!extended) return payload + 4;
  putU32(bytes, payload + 4, count);
  return payload + 8;
}

/** What `putStatusHeader` takes at most. */
export const STATUS_HEADER_BYTES = EXTENDED_REPLY_BYTES + 8;

export function statusExtentBytes(style: number): number {
  return style === STYLE_EXTENDED ? 16 : 8;
}

export function putStatusExtent(
  bytes: Uint8Array,
  at: number,
  style: number,
  { lengthBytes, flags }: { lengthBytes: number; flags: number },
): number {
  if (style === STYLE_EXTENDED) {
    putU64(bytes, at, lengthBytes);
    putU64(bytes, at + 8, flags);
  } else {
    putU32(bytes, at, lengthBytes);
    putU32(bytes, at + 4, flags);
  }
  return at + statusExtentBytes(style);
}

export function putSimple(bytes: Uint8Array, at: number, request: Request, error: number): number {
  putU32(bytes, at, SIMPLE_REPLY_MAGIC);
  putU32(bytes, at + 4, error);
  putU32(bytes, at + 8, request.cookieHigh);
  putU32(bytes, at + 12, request.cookieLow);
  return at + SIMPLE_REPLY_BYTES;
}

/** Writes a chunk's header and answers where its payload begins. */
export function putChunk(
  bytes: Uint8Array,
  at: number,
  request: Request,
  style: number,
  flags: number,
  type: number,
  lengthBytes: number,
): number {
  const extended = style === STYLE_EXTENDED;
  putU32(bytes, at, extended ? EXTENDED_REPLY_MAGIC : STRUCTURED_REPLY_MAGIC);
  putU16(bytes, at + 4, flags);
  putU16(bytes, at + 6, type);
  putU32(bytes, at + 8, request.cookieHigh);
  putU32(bytes, at + 12, request.cookieLow);
  if (!extended) {
    putU32(bytes, at + 16, lengthBytes);
    return at + STRUCTURED_REPLY_BYTES;
  }
  putU64(bytes, at + 16, request.offsetBytes);
  putU64(bytes, at + 24, lengthBytes);
  return at + EXTENDED_REPLY_BYTES;
}

/** The header's length by its magic number, or 0 for a number that `style` does not permit. */
export function replyHeaderBytes(magic: number, style: number): number {
  if (style === STYLE_EXTENDED) return magic === EXTENDED_REPLY_MAGIC ? EXTENDED_REPLY_BYTES : 0;
  if (magic === SIMPLE_REPLY_MAGIC) return SIMPLE_REPLY_BYTES;
  const structured = style === STYLE_STRUCTURED && magic === STRUCTURED_REPLY_MAGIC;
  return structured ? STRUCTURED_REPLY_BYTES : 0;
}

/** Reads a header whose magic number `replyHeaderBytes` has accepted. */
export function getReply(bytes: Uint8Array, at: number, reply: Reply): void {
  const magic = getU32(bytes, at);
  reply.cookieHigh = getU32(bytes, at + 8);
  reply.cookieLow = getU32(bytes, at + 12);
  if (magic === SIMPLE_REPLY_MAGIC) {
    reply.style = STYLE_SIMPLE;
    reply.error = getU32(bytes, at + 4);
    reply.lengthBytes = 0;
    return;
  }
  reply.error = 0;
  reply.flags = getU16(bytes, at + 4);
  reply.type = getU16(bytes, at + 6);
  if (magic === EXTENDED_REPLY_MAGIC) {
    reply.style = STYLE_EXTENDED;
    reply.offsetBytes = getU64(bytes, at + 16);
    reply.lengthBytes = getU64(bytes, at + 24);
  } else {
    reply.style = STYLE_STRUCTURED;
    reply.lengthBytes = getU32(bytes, at + 16);
  }
}
