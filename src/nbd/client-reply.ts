/** Takes replies apart as they come: data goes straight into the callers' buffers. */
import { getU16, getU32, getU64 } from './big-endian.ts';
import {
  CHUNK_BLOCK_STATUS,
  CHUNK_BLOCK_STATUS_EXTENDED,
  CHUNK_DONE,
  CHUNK_ERROR,
  CHUNK_ERROR_BIT,
  CHUNK_ERROR_OFFSET,
  CHUNK_NONE,
  CHUNK_OFFSET_DATA,
  CHUNK_OFFSET_HOLE,
  COMMAND_BLOCK_STATUS,
  COMMAND_READ,
  EXTENDED_REPLY_BYTES,
} from './constants.ts';
import { EIO } from './error-numbers.ts';
import { protocolError } from './errors.ts';
import { REPLY_PAYLOAD_BYTES_MAX } from './limits.ts';
import type { Operation } from './operation.ts';
import { emptyReply, getReply, replyHeaderBytes, STYLE_SIMPLE } from './reply-codec.ts';

export interface ReplySink {
  /** The operation with this cookie; undefined if there is none. */
  find(cookieHigh: number, cookieLow: number): Operation | undefined;
  /** Everything for `operation` has come; `operation.error` tells how it went. */
  onComplete(operation: Operation): void;
}

/** Throws a protocol error at the first thing that no honest server sends. */
export class ReplyDecoder {
  readonly #style: number;
  readonly #sink: ReplySink;
  readonly #reply = emptyReply();
  readonly #header = new Uint8Array(EXTENDED_REPLY_BYTES);
  #headerBytes = 0;
  #operation: Operation | undefined;
  /** Data on its way into the operation's target. */
  #dataAt = 0;
  #dataBytes = 0;
  /** A short payload that is collected before it is looked at. */
  #payload: Uint8Array | undefined;
  #payloadBytes = 0;

  constructor(style: number, sink: ReplySink) {
    this.#style = style;
    this.#sink = sink;
  }

  feed(view: Uint8Array): void {
    let at = 0;
    while (at < view.byteLength) {
      if (this.#dataBytes > 0) at = this.#takeData(view, at);
      else if (this.#payload !== undefined) at = this.#takePayload(view, at, this.#payload);
      else at = this.#takeHeader(view, at);
    }
  }

  #takeHeader(view: Uint8Array, at: number): number {
    let next = at;
    while (this.#headerBytes < 4) {
      if (next === view.byteLength) return next;
      this.#header[this.#headerBytes++] = view[next++]!;
    }
    const wantedBytes = replyHeaderBytes(getU32(this.#header, 0), this.#style);
    if (wantedBytes === 0) throw protocolError('a reply with a wrong magic number');
    while (this.#headerBytes < wantedBytes) {
      if (next === view.byteLength) return next;
      this.#header[this.#headerBytes++] = view[next++]!;
    }
    this.#headerBytes = 0;
    getReply(this.#header, 0, this.#reply);
    this.#begin();
    return next;
  }

  #begin(): void {
    const reply = this.#reply;
    const operation = this.#sink.find(reply.cookieHigh, reply.cookieLow);
    if (operation === undefined) throw protocolError('a reply to nothing that was asked');
    this.#operation = operation;
    if (reply.style === STYLE_SIMPLE) this.#beginSimple(operation);
    else this.#beginChunk(operation);
  }

  #beginSimple(operation: Operation): void {
    const { command } = operation;
    if (this.#reply.error !== 0) operation.fail(this.#reply.error);
    else if (command === COMMAND_BLOCK_STATUS) throw protocolError('a status without extents');
    else if (command === COMMAND_READ) {
      if (this.#style !== STYLE_SIMPLE) throw protocolError('a simple reply to a read');
      this.#expectData(operation, operation.offsetBytes, operation.lengthBytes);
      if (this.#dataBytes > 0) return;
    }
    this.#sink.onComplete(operation);
  }

  #beginChunk(operation: Operation): void {
    const { type, lengthBytes, flags } = this.#reply;
    if (type === CHUNK_OFFSET_DATA) {
      if (lengthBytes <= 8) throw protocolError('a data chunk without data');
      this.#collect(8);
      return;
    }
    if (type === CHUNK_NONE) {
      if (lengthBytes !== 0 || (flags & CHUNK_DONE) === 0)
        throw protocolError('a false last chunk');
      this.#endChunk(operation);
      return;
    }
    if (lengthBytes > REPLY_PAYLOAD_BYTES_MAX) {
      throw protocolError(`a chunk of type ${type} announces ${lengthBytes} bytes`);
    }
    if (lengthBytes > 0) this.#collect(lengthBytes);
    else if ((type & CHUNK_ERROR_BIT) !== 0) throw protocolError('an error without a number');
    else throw protocolError(`an empty chunk of type ${type}`);
  }

  #collect(lengthBytes: number): void {
    this.#payload = new Uint8Array(lengthBytes);
    this.#payloadBytes = 0;
  }

  #takePayload(view: Uint8Array, at: number, payload: Uint8Array): number {
    const end = Math.min(view.byteLength, at + payload.byteLength - this.#payloadBytes);
    payload.set(view.subarray(at, end), this.#payloadBytes);
    this.#payloadBytes += end - at;
    if (this.#payloadBytes === payload.byteLength) {
      this.#payload = undefined;
      this.#usePayload(this.#operation!, payload);
    }
    return end;
  }

  #usePayload(operation: Operation, payload: Uint8Array): void {
    const { type, lengthBytes } = this.#reply;
    if (type === CHUNK_OFFSET_DATA) {
      this.#expectData(operation, getU64(payload, 0), lengthBytes - 8);
      return;
    }
    if (type === CHUNK_OFFSET_HOLE) this.#useHole(operation, payload);
    else if (type === CHUNK_BLOCK_STATUS || type === CHUNK_BLOCK_STATUS_EXTENDED) {
      useStatus(operation, payload, type === CHUNK_BLOCK_STATUS_EXTENDED);
    } else if ((type & CHUNK_ERROR_BIT) !== 0) useError(operation, payload, type);
    else throw protocolError(`a chunk of unknown type ${type}`);
    this.#endChunk(operation);
  }

  #useHole(operation: Operation, payload: Uint8Array): void {
    if (payload.byteLength !== 12) throw protocolError('a hole chunk of wrong length');
    const lengthBytes = getU32(payload, 8);
    if (lengthBytes === 0) throw protocolError('an empty hole');
    const at = this.#claim(operation, getU64(payload, 0), lengthBytes);
    operation.target!.fill(0, at, at + lengthBytes);
  }

  #expectData(operation: Operation, offsetBytes: number, lengthBytes: number): void {
    this.#dataAt = this.#claim(operation, offsetBytes, lengthBytes);
    this.#dataBytes = lengthBytes;
  }

  /** Where in the target the range lies; it must lie there and be new. */
  #claim(operation: Operation, offsetBytes: number, lengthBytes: number): number {
    const at = offsetBytes - operation.offsetBytes;
    const isRead = operation.command === COMMAND_READ && operation.target !== undefined;
    if (!isRead || at < 0 || at + lengthBytes > operation.lengthBytes) {
      throw protocolError(`${lengthBytes} bytes at ${offsetBytes} that nobody asked for`);
    }
    if (!operation.coverage.add(at, lengthBytes)) {
      throw protocolError(`${lengthBytes} bytes at ${offsetBytes} for the second time`);
    }
    return at;
  }

  #takeData(view: Uint8Array, at: number): number {
    const operation = this.#operation!;
    const end = Math.min(view.byteLength, at + this.#dataBytes);
    operation.target!.set(view.subarray(at, end), this.#dataAt);
    this.#dataAt += end - at;
    this.#dataBytes -= end - at;
    if (this.#dataBytes === 0) this.#endChunk(operation);
    return end;
  }

  #endChunk(operation: Operation): void {
    const reply = this.#reply;
    const isLast = reply.style === STYLE_SIMPLE || (reply.flags & CHUNK_DONE) !== 0;
    if (!isLast) return;
    if (operation.error === 0) {
      if (
        operation.command === COMMAND_READ &&
        !operation.coverage.isWhole(operation.lengthBytes)
      ) {
        throw protocolError('a read was answered with gaps');
      }
      if (operation.command === COMMAND_BLOCK_STATUS && operation.statuses.size === 0) {
        throw protocolError('a status without extents');
      }
    }
    this.#sink.onComplete(operation);
  }
}

function useError(operation: Operation, payload: Uint8Array, type: number): void {
  const textBytes = payload.byteLength < 6 ? 0 : getU16(payload, 4);
  const neededBytes = 6 + textBytes + (type === CHUNK_ERROR_OFFSET ? 8 : 0);
  const isKnown = type === CHUNK_ERROR || type === CHUNK_ERROR_OFFSET;
  if (payload.byteLength < neededBytes || (isKnown && payload.byteLength !== neededBytes)) {
    throw protocolError('an error chunk of wrong length');
  }
  // Number 0 in an error is a contradiction; the bytes cannot be trusted either way.
  operation.fail(getU32(payload, 0) || EIO);
}

function useStatus(operation: Operation, payload: Uint8Array, isExtended: boolean): void {
  const headBytes = isExtended ? 8 : 4;
  const eachBytes = isExtended ? 16 : 8;
  const count = (payload.byteLength - headBytes) / eachBytes;
  if (!Number.isInteger(count) || count < 1 || operation.command !== COMMAND_BLOCK_STATUS) {
    throw protocolError('a status chunk of wrong length or place');
  }
  const id = getU32(payload, 0);
  if (isExtended && getU32(payload, 4) !== count) throw protocolError('a false extent count');
  if (operation.statuses.has(id)) throw protocolError(`context ${id} was described twice`);
  const extents: { lengthBytes: number; flags: number }[] = [];
  for (let at = headBytes; at < payload.byteLength; at += eachBytes) {
    const lengthBytes = isExtended ? getU64(payload, at) : getU32(payload, at);
    if (lengthBytes === 0) throw protocolError('an empty extent');
    extents.push({
      lengthBytes,
      flags: isExtended ? getU64(payload, at + 8) : getU32(payload, at + 4),
    });
  }
  operation.statuses.set(id, extents);
}
