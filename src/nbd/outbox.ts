/** Collects one connection's replies in slabs and sends what is ready in one go. */
import type { Stream } from '../core/index.ts';
import { SLAB_BYTES } from './limits.ts';
import type { Slab, SlabPool } from './slabs.ts';

/** Ready bytes from which on sending starts before the input is used up: the peer can begin. */
const SEND_BYTES = 256 * 1024;

/** A run of finished replies inside one slab; it owns one reference to it. */
type Piece = { slab: Slab; start: number; end: number; claimedBytes: number };

export class Outbox {
  readonly #stream: Stream;
  readonly #pool: SlabPool;
  readonly #onSent: (claimedBytes: number) => void;
  #current: Slab | undefined;
  #ready: Piece[] = [];
  #readyBytes = 0;
  /** Used again by every flush; empty in between. */
  readonly #buffers: Uint8Array[] = [];
  /** Given to the stream and not yet taken by the kernel. */
  readonly #sending = new Set<Piece[]>();
  #closed = false;
  /** The peer does not read: wait for `drained`. */
  isFull = false;

  /** `onSent` tells how many of the claimed bytes are free again. */
  constructor(stream: Stream, pool: SlabPool, onSent: (claimedBytes: number) => void) {
    this.#stream = stream;
    this.#pool = pool;
    this.#onSent = onSent;
  }

  /** Claims room for one reply, up to the answered slab's `usedBytes`. `send` gives it back. */
  claim(lengthBytes: number): Slab {
    let slab = this.#current;
    if (slab === undefined || slab.freeBytes < lengthBytes) {
      if (slab !== undefined && slab.references === 0) this.#pool.giveBack(slab);
      slab = this.#pool.take(Math.max(lengthBytes, SLAB_BYTES));
      this.#current = slab;
    }
    slab.usedBytes += lengthBytes;
    slab.references += 1;
    return slab;
  }

  /** The reply in [start, end) of `slab` is complete; `claimedBytes` is what was claimed for it. */
  send(slab: Slab, start: number, end: number, claimedBytes: number): void {
    if (this.#closed) {
      this.#release(slab);
      this.#onSent(claimedBytes);
      return;
    }
    // Room that a shorter reply left over is used again, if nothing was claimed after it.
    if (slab.usedBytes === start + claimedBytes) slab.usedBytes = end;
    const last = this.#ready[this.#ready.length - 1];
    if (last !== undefined && last.slab === slab && last.end === start) {
      last.end = end;
      last.claimedBytes += claimedBytes;
      slab.references -= 1;
    } else {
      this.#ready.push({ slab, start, end, claimedBytes });
    }
    this.#readyBytes += end - start;
    if (this.#readyBytes >= SEND_BYTES) this.flush();
  }

  get isEmpty(): boolean {
    return this.#ready.length === 0 && this.#sending.size === 0;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  flush(): void {
    if (this.#ready.length === 0 || this.#closed) return;
    // Most replies go at once, with nothing to be remembered until later.
    if (this.#sending.size === 0 && this.#stream.writeNow !== undefined) this.#flushNow();
    if (this.#ready.length > 0) this.#flushLater();
  }

  /** Leaves in `#ready` what the kernel did not take. */
  #flushNow(): void {
    const pieces = this.#ready;
    const buffers = this.#buffers;
    for (const { slab, start, end } of pieces) buffers.push(slab.bytes.subarray(start, end));
    let leftBytes = this.#stream.writeNow!(buffers);
    buffers.length = 0;
    this.#readyBytes -= leftBytes;
    let claimedBytes = 0;
    let count = 0;
    for (const piece of pieces) {
      const lengthBytes = piece.end - piece.start;
      if (leftBytes < lengthBytes) {
        piece.start += leftBytes;
        break;
      }
      leftBytes -= lengthBytes;
      claimedBytes += piece.claimedBytes;
      this.#release(piece.slab);
      count += 1;
    }
    if (count === pieces.length) pieces.length = 0;
    else pieces.splice(0, count);
    if (claimedBytes > 0) this.#onSent(claimedBytes);
  }

  #flushLater(): void {
    const pieces = this.#ready;
    const buffers = pieces.map(({ slab, start, end }) => slab.bytes.subarray(start, end));
    this.#ready = [];
    this.#readyBytes = 0;
    this.#sending.add(pieces);
    const goOn = this.#stream.write(buffers, () => {
      if (this.#sending.delete(pieces)) this.#sent(pieces);
    });
    if (!goOn) this.isFull = true;
  }

  drained(): void {
    this.isFull = false;
  }

  /** The stream is gone: nothing is sent any more, everything is given back. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const left = [...this.#sending, this.#ready];
    this.#sending.clear();
    this.#ready = [];
    for (const pieces of left) this.#sent(pieces);
    const current = this.#current;
    this.#current = undefined;
    if (current !== undefined && current.references === 0) this.#pool.giveBack(current);
  }

  #sent(pieces: readonly Piece[]): void {
    let claimedBytes = 0;
    for (const piece of pieces) {
      claimedBytes += piece.claimedBytes;
      this.#release(piece.slab);
    }
    this.#onSent(claimedBytes);
  }

  #release(slab: Slab): void {
    if (slab === this.#current && slab.references === 1) this.#current = undefined;
    this.#pool.release(slab);
  }
}
