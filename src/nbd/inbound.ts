/** Bytes of a stream for code that waits for them: the handshake, which need not be fast. */
import assert from 'node:assert/strict';
import type { Stream } from '../core/index.ts';
import { NbdError } from './errors.ts';

/** What may wait unread before the stream is paused. */
const WAITING_BYTES_MAX = 64 * 1024;

type Wanted = { readonly lengthBytes: number; resolve(): void; reject(error: unknown): void };

/** One reader at a time. Everything that waits fails when the stream ends or `fail` is called. */
export class Inbound {
  #stream: Stream;
  #bytes = new Uint8Array(256);
  #start = 0;
  #end = 0;
  #wanted: Wanted | undefined;
  #failure: unknown;
  #isPaused = false;
  #isHeld = false;
  #isDeaf = false;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  get waitingBytes(): number {
    return this.#end - this.#start;
  }

  onBytes(view: Uint8Array): void {
    if (this.#isDeaf) return;
    this.#makeRoom(view.byteLength);
    this.#bytes.set(view, this.#end);
    this.#end += view.byteLength;
    this.#serve();
    const isRead = this.#wanted !== undefined && !this.#isHeld;
    if (this.waitingBytes > WAITING_BYTES_MAX && !isRead && !this.#isPaused) {
      this.#isPaused = true;
      this.#stream.pause();
    }
  }

  /** What has arrived can still be read; whoever waits for more gets `error`. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#serve();
  }

  /** Whoever reads waits, however much is there, until `letGo`; failures are still told. */
  hold(): void {
    this.#isHeld = true;
  }

  letGo(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    if (this.#wanted !== undefined) this.#resume();
    this.#serve();
  }

  /** From here on the bytes come from `stream`; nothing may wait. What has failed stays failed. */
  moveTo(stream: Stream): void {
    assert(this.waitingBytes === 0 && this.#wanted === undefined, 'nothing is left behind');
    this.#stream = stream;
    this.#isPaused = false;
  }

  /** A copy of the next bytes, as soon as they are there. */
  async take(lengthBytes: number): Promise<Uint8Array> {
    await this.#wait(lengthBytes);
    const bytes = this.#bytes.slice(this.#start, this.#start + lengthBytes);
    this.#start += lengthBytes;
    return bytes;
  }

  /** Reads past `lengthBytes`, keeping none of them. */
  async skip(lengthBytes: number): Promise<void> {
    let left = lengthBytes;
    while (left > 0) {
      await this.#wait(1);
      const partBytes = Math.min(left, this.waitingBytes);
      this.#start += partBytes;
      left -= partBytes;
    }
  }

  /** Nobody reads any more: what still comes is dropped. */
  discard(): void {
    this.#isDeaf = true;
    this.rest();
  }

  /** Everything unread, given away: the next phase begins with it. */
  rest(): Uint8Array {
    const bytes = this.#bytes.slice(this.#start, this.#end);
    this.#bytes = new Uint8Array(0);
    this.#start = this.#end = 0;
    this.#resume();
    return bytes;
  }

  #wait(lengthBytes: number): Promise<void> {
    assert(this.#wanted === undefined, 'one reader at a time');
    if (this.waitingBytes >= lengthBytes && !this.#isHeld) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (!this.#isHeld) this.#resume();
    return new Promise((resolve, reject) => {
      this.#wanted = { lengthBytes, resolve, reject };
    });
  }

  #serve(): void {
    const wanted = this.#wanted;
    if (wanted === undefined) return;
    if (this.waitingBytes >= wanted.lengthBytes && !this.#isHeld) {
      this.#wanted = undefined;
      wanted.resolve();
    } else if (this.#failure !== undefined) {
      this.#wanted = undefined;
      wanted.reject(this.#failure);
    }
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#stream.resume();
  }

  #makeRoom(lengthBytes: number): void {
    const waitingBytes = this.waitingBytes;
    if (this.#end + lengthBytes <= this.#bytes.byteLength) return;
    const neededBytes = waitingBytes + lengthBytes;
    const sizeBytes = Math.max(neededBytes, Math.min(neededBytes * 2, WAITING_BYTES_MAX));
    const grown = new Uint8Array(sizeBytes);
    grown.set(this.#bytes.subarray(this.#start, this.#end));
    this.#bytes = grown;
    this.#start = 0;
    this.#end = waitingBytes;
  }
}

export function closedEarly(peer: string): NbdError {
  return new NbdError('NBD_CLOSED', `${peer} closed the connection`, {
    hint: 'Look at the log of the other side; it may demand TLS or not know the export.',
  });
}
