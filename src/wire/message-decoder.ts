/** Takes a stream of messages apart as it comes; what it delivers does not depend on the cuts. */
import { restChecksum } from '../codec/index.ts';
import { crc32 } from '../core/index.ts';
import type { BufferPool } from './buffers.ts';
import { formatError } from './errors.ts';
import { checksumOfHeader, emptyHeader, getHeader, HEADER_BYTES, type Header } from './header.ts';

export interface MessageSink {
  /**
   * A header has come. Throws if no body of that kind and length may follow now. True: the body
   * will be delivered in memory that is the sink's to keep; false: as a borrowed view.
   */
  admit(header: Header): boolean;
  /**
   * A whole message, its checksum compared. `header` is reused for the next one. `buffer`, if there
   * is one, holds the body and goes back to the pool when the sink is done with it.
   */
  onMessage(header: Header, body: Uint8Array, buffer: Uint8Array | undefined): void;
}

/** Throws a WireError at the first thing that no honest peer sends; it takes no more then. */
export class MessageDecoder {
  readonly #pool: BufferPool;
  readonly #sink: MessageSink;
  readonly #header = emptyHeader();
  readonly #headerBytes = new Uint8Array(HEADER_BYTES);
  #haveHeaderBytes = 0;
  /** The body that is being collected. */
  #body: Uint8Array | undefined;
  #bodyHave = 0;
  #owned = false;
  #isStopped = false;

  constructor(pool: BufferPool, sink: MessageSink) {
    this.#pool = pool;
    this.#sink = sink;
  }

  /** An end of the stream now would cut a message. */
  get isMidway(): boolean {
    return this.#haveHeaderBytes > 0;
  }

  feed(view: Uint8Array): void {
    let at = 0;
    while (at < view.byteLength && !this.#isStopped) {
      at = this.#body === undefined ? this.#takeHeader(view, at) : this.#takeBody(view, at);
    }
  }

  /** Takes no more, and gives back what a message that will never be whole has claimed. */
  stop(): void {
    this.#isStopped = true;
    if (this.#body !== undefined) this.#pool.giveBack(this.#body);
    this.#body = undefined;
  }

  #takeHeader(view: Uint8Array, at: number): number {
    const end = Math.min(view.byteLength, at + HEADER_BYTES - this.#haveHeaderBytes);
    let next = at;
    while (next < end) this.#headerBytes[this.#haveHeaderBytes++] = view[next++]!;
    if (this.#haveHeaderBytes < HEADER_BYTES) return end;
    const header = this.#header;
    getHeader(this.#headerBytes, 0, header);
    if (this.#headerBytes[11] !== 0) throw formatError('the reserved byte of a header is not 0');
    this.#owned = this.#sink.admit(header);
    const { bodyBytes } = header;
    // Most small messages lie whole in the view: they are looked at there.
    if (!this.#owned && view.byteLength - end >= bodyBytes) {
      this.#deliver(view.subarray(end, end + bodyBytes), undefined);
      return end + bodyBytes;
    }
    this.#body = this.#pool.take(bodyBytes);
    this.#bodyHave = 0;
    return bodyBytes === 0 ? this.#takeBody(view, end) : end;
  }

  #takeBody(view: Uint8Array, at: number): number {
    const { bodyBytes } = this.#header;
    const end = Math.min(view.byteLength, at + bodyBytes - this.#bodyHave);
    const body = this.#body!;
    body.set(view.subarray(at, end), this.#bodyHave);
    this.#bodyHave += end - at;
    if (this.#bodyHave < bodyBytes) return end;
    this.#body = undefined;
    if (this.#owned) this.#deliver(body.subarray(0, bodyBytes), body);
    else {
      this.#deliver(body.subarray(0, bodyBytes), undefined);
      this.#pool.giveBack(body);
    }
    return end;
  }

  #deliver(body: Uint8Array, buffer: Uint8Array | undefined): void {
    const header = this.#header;
    this.#haveHeaderBytes = 0;
    checkBody(this.#headerBytes, header, body);
    this.#sink.onMessage(header, body, buffer);
  }
}

/** Throws unless the checksum of `header`, which was read from `headerBytes`, is right. */
export function checkBody(headerBytes: Uint8Array, header: Header, body: Uint8Array): void {
  const before = checksumOfHeader(headerBytes, 0);
  if (crc32(body, before) !== header.checksum) {
    throw formatError(`the checksum of a message of type ${header.type} is wrong`);
  }
  header.bodyChecksum = restChecksum(before, header.checksum, body.byteLength);
}
