/** Requests on the wire: written by the client, taken apart piece by piece by the server. */
import { getU16, getU32, getU64, putU16, putU32, putU64 } from './big-endian.ts';
import {
  COMMAND_WRITE,
  EXTENDED_REQUEST_BYTES,
  EXTENDED_REQUEST_MAGIC,
  FLAG_PAYLOAD_LENGTH,
  REQUEST_BYTES,
  REQUEST_MAGIC,
} from './constants.ts';
import type { Slab, SlabPool } from './slabs.ts';

/** One request; the decoder reuses a single one. */
export type Request = {
  flags: number;
  command: number;
  /** The cookie is opaque: two halves are copied back, never computed with. */
  cookieHigh: number;
  cookieLow: number;
  /** Both may exceed 2^53, inexactly: compare with the size before use. */
  offsetBytes: number;
  lengthBytes: number;
};

export function emptyRequest(): Request {
  return { flags: 0, command: 0, cookieHigh: 0, cookieLow: 0, offsetBytes: 0, lengthBytes: 0 };
}

export function requestBytes(extended: boolean): number {
  return extended ? EXTENDED_REQUEST_BYTES : REQUEST_BYTES;
}

/** Writes the header at `at` and answers where it ends. */
export function putRequest(
  bytes: Uint8Array,
  at: number,
  request: Request,
  extended: boolean,
): number {
  putU32(bytes, at, extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC);
  putU16(bytes, at + 4, request.flags);
  putU16(bytes, at + 6, request.command);
  putU32(bytes, at + 8, request.cookieHigh);
  putU32(bytes, at + 12, request.cookieLow);
  putU64(bytes, at + 16, request.offsetBytes);
  if (extended) putU64(bytes, at + 24, request.lengthBytes);
  else putU32(bytes, at + 24, request.lengthBytes);
  return at + requestBytes(extended);
}

/** False if the magic number is wrong: everything after it is unreadable. */
export function getRequest(
  bytes: Uint8Array,
  at: number,
  request: Request,
  extended: boolean,
): boolean {
  if (getU32(bytes, at) !== (extended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC)) return false;
  request.flags = getU16(bytes, at + 4);
  request.command = getU16(bytes, at + 6);
  request.cookieHigh = getU32(bytes, at + 8);
  request.cookieLow = getU32(bytes, at + 12);
  request.offsetBytes = getU64(bytes, at + 16);
  request.lengthBytes = extended ? getU64(bytes, at + 24) : getU32(bytes, at + 24);
  return true;
}

/** How many bytes follow the header. */
export function payloadBytes(request: Request, extended: boolean): number {
  const follows = extended
    ? (request.flags & FLAG_PAYLOAD_LENGTH) !== 0
    : request.command === COMMAND_WRITE;
  return follows ? request.lengthBytes : 0;
}

/** What a sink says about a request whose header has come. */
export const ADMIT = 0;
/** Not now: the rest of the input stays with the caller until it feeds again. */
export const WAIT = 1;
/** Read past the payload, then deliver the request without it. */
export const SKIP = 2;
/** The peer cannot be understood or trusted any more: nothing further is read. */
export const HANG_UP = 3;

export interface RequestSink {
  admit(request: Request, payloadBytes: number): number;
  /**
   * `payload` lies in `slab`, which is then the sink's to release, or, without a slab, in the
   * borrowed input. It is undefined where none came or it was read past.
   */
  onRequest(request: Request, payload: Uint8Array | undefined, slab: Slab | undefined): void;
  onBadMagic(): void;
}

/** Feeds on chunks of any size; what it delivers does not depend on how the bytes were cut. */
export class RequestDecoder {
  readonly #extended: boolean;
  readonly #headerBytes: number;
  readonly #pool: SlabPool;
  readonly #sink: RequestSink;
  readonly #request = emptyRequest();
  /** A header that was cut. */
  readonly #partial: Uint8Array;
  #partialBytes = 0;
  /** The header is decoded, the sink has not admitted it. */
  #parked = false;
  #slab: Slab | undefined;
  #receivedBytes = 0;
  #skipBytes = 0;
  #dead = false;

  constructor(extended: boolean, pool: SlabPool, sink: RequestSink) {
    this.#extended = extended;
    this.#headerBytes = requestBytes(extended);
    this.#partial = new Uint8Array(this.#headerBytes);
    this.#pool = pool;
    this.#sink = sink;
  }

  /** Inside a request: an end of the input now is an early one. */
  get isMidway(): boolean {
    return this.#partialBytes > 0 || this.#slab !== undefined || this.#skipBytes > 0;
  }

  /** The sink said WAIT: feed again, with an empty chunk if need be. */
  get isParked(): boolean {
    return this.#parked;
  }

  /** Answers how much was used: less than all only if the sink said WAIT. */
  feed(view: Uint8Array): number {
    let at = 0;
    while (!this.#dead) {
      if (this.#slab !== undefined) {
        at = this.#receive(view, at, this.#slab);
        if (this.#slab !== undefined) return at;
      } else if (this.#skipBytes > 0) {
        at = this.#skip(view, at);
        if (this.#skipBytes > 0) return at;
      }
      if (!this.#parked) {
        at = this.#header(view, at);
        if (!this.#parked) return this.#dead ? view.byteLength : at;
      }
      const next = this.#start(view, at);
      if (next < 0) return at;
      at = next;
    }
    return view.byteLength;
  }

  /** Drops what is half received; the decoder takes no more. */
  stop(): void {
    this.#dead = true;
    if (this.#slab !== undefined) this.#pool.release(this.#slab);
    this.#slab = undefined;
  }

  #header(view: Uint8Array, at: number): number {
    const wholeBytes = this.#headerBytes;
    if (this.#partialBytes === 0 && view.byteLength - at >= wholeBytes) {
      return this.#decode(view, at) ? at + wholeBytes : view.byteLength;
    }
    const end = Math.min(view.byteLength, at + wholeBytes - this.#partialBytes);
    let next = at;
    while (next < end) this.#partial[this.#partialBytes++] = view[next++]!;
    if (this.#partialBytes < wholeBytes) return end;
    this.#partialBytes = 0;
    this.#decode(this.#partial, 0);
    return end;
  }

  #decode(bytes: Uint8Array, at: number): boolean {
    if (getRequest(bytes, at, this.#request, this.#extended)) {
      this.#parked = true;
      return true;
    }
    this.#dead = true;
    this.#sink.onBadMagic();
    return false;
  }

  /** Answers where the next request may start, or -1 to leave `feed`. */
  #start(view: Uint8Array, at: number): number {
    const request = this.#request;
    const lengthBytes = payloadBytes(request, this.#extended);
    const verdict = this.#sink.admit(request, lengthBytes);
    if (verdict === WAIT) return -1;
    this.#parked = false;
    if (verdict === HANG_UP) {
      this.#dead = true;
      return at;
    }
    if (verdict === SKIP && lengthBytes > 0) {
      this.#skipBytes = lengthBytes;
      return at;
    }
    if (lengthBytes === 0) {
      this.#sink.onRequest(request, undefined, undefined);
      return at;
    }
    if (view.byteLength - at >= lengthBytes) {
      this.#sink.onRequest(request, view.subarray(at, at + lengthBytes), undefined);
      return at + lengthBytes;
    }
    this.#slab = this.#pool.takeWhole(lengthBytes);
    this.#receivedBytes = 0;
    return at;
  }

  #receive(view: Uint8Array, at: number, slab: Slab): number {
    const lengthBytes = slab.usedBytes;
    const end = Math.min(view.byteLength, at + lengthBytes - this.#receivedBytes);
    slab.bytes.set(view.subarray(at, end), this.#receivedBytes);
    this.#receivedBytes += end - at;
    if (this.#receivedBytes === lengthBytes) {
      this.#slab = undefined;
      this.#sink.onRequest(this.#request, slab.bytes.subarray(0, lengthBytes), slab);
    }
    return end;
  }

  #skip(view: Uint8Array, at: number): number {
    const end = Math.min(view.byteLength, at + this.#skipBytes);
    this.#skipBytes -= end - at;
    if (this.#skipBytes === 0) this.#sink.onRequest(this.#request, undefined, undefined);
    return end;
  }
}
