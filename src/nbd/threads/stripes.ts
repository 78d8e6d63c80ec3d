/** Keeps overlapping requests of different threads apart: striped locks in shared memory. */
import assert from 'node:assert/strict';
import { STRIPE_BYTES, STRIPES, THREADS_MAX } from './limits.ts';

/**
 * The word of a stripe: below, one bit per thread that reads; then the number of the thread that
 * writes, plus one; then whether somebody waits. The holder of a stripe is a thread, not a request:
 * what overlaps on one thread is ordered by its own range lock, above this one.
 */
const OWNER_SHIFT = THREADS_MAX;
const OWNER_MASK = 0xff << OWNER_SHIFT;
const HOLDERS = ((1 << THREADS_MAX) - 1) | OWNER_MASK;
const WAITING = 1 << 30;

export function newStripes(): SharedArrayBuffer {
  return new SharedArrayBuffer(STRIPES * Int32Array.BYTES_PER_ELEMENT);
}

/**
 * One thread's hold on the stripes of one device. Many may read a stripe, or one write it. A stripe
 * that somebody waits for lets nobody else in until its holders have left, so that a busy thread
 * cannot keep it for ever. Who needs several takes them in ascending order and keeps them while it
 * waits: whoever holds a stripe waits for higher ones only, so no circle can form.
 */
export class Stripes {
  readonly #words: Int32Array;
  /** Requests of this thread inside each stripe. */
  readonly #inside = new Int32Array(STRIPES);
  readonly #reads: number;
  readonly #writes: number;

  constructor(memory: SharedArrayBuffer, thread: number) {
    assert(thread >= 0 && thread < THREADS_MAX, 'a thread has a bit');
    this.#words = new Int32Array(memory);
    this.#reads = readerBit(thread);
    this.#writes = ownerBits(thread);
  }

  /** True: all of the range is held, until `leave`. False: nothing is. */
  tryEnter(offsetBytes: number, lengthBytes: number, writes: boolean): boolean {
    if (lengthBytes === 0) return true;
    const first = Math.floor(offsetBytes / STRIPE_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / STRIPE_BYTES);
    if (first === last) return this.#take(first % STRIPES, writes);
    const taken: number[] = [];
    for (const stripe of stripesOf(first, last)) {
      if (!this.#take(stripe, writes)) {
        for (const held of taken) this.#drop(held);
        return false;
      }
      taken.push(stripe);
    }
    return true;
  }

  /** Resolves when all of the range is held. */
  async enter(offsetBytes: number, lengthBytes: number, writes: boolean): Promise<void> {
    if (lengthBytes === 0) return;
    const first = Math.floor(offsetBytes / STRIPE_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / STRIPE_BYTES);
    for (const stripe of stripesOf(first, last)) {
      while (!this.#take(stripe, writes)) await this.#change(stripe);
    }
  }

  leave(offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const first = Math.floor(offsetBytes / STRIPE_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / STRIPE_BYTES);
    if (first === last) this.#drop(first % STRIPES);
    else for (const stripe of stripesOf(first, last)) this.#drop(stripe);
  }

  #take(stripe: number, writes: boolean): boolean {
    const words = this.#words;
    const mine = writes ? this.#writes : this.#reads;
    // Almost always nobody is there: one atomic operation.
    let word = 0;
    let wanted = mine;
    while (wanted !== word) {
      const seen = Atomics.compareExchange(words, stripe, word, wanted);
      if (seen === word) break;
      word = seen;
      wanted = word === 0 ? mine : this.#wanted(word, writes);
      if (wanted === 0) return false;
    }
    this.#inside[stripe]! += 1;
    return true;
  }

  /** What the word becomes when this thread comes in; 0: it must wait. */
  #wanted(word: number, writes: boolean): number {
    if ((word & WAITING) !== 0) return 0;
    const owner = word & OWNER_MASK;
    if (owner === this.#writes) return word;
    if (owner !== 0) return 0;
    if (!writes) return word | this.#reads;
    // Only this thread reads it: its own order is kept elsewhere.
    return word === this.#reads ? this.#writes : 0;
  }

  #drop(stripe: number): void {
    const inside = this.#inside[stripe]! - 1;
    assert(inside >= 0, 'a stripe is left that was never entered');
    this.#inside[stripe] = inside;
    if (inside === 0) letGo(this.#words, stripe, this.#reads, this.#writes);
  }

  /** Resolves when the stripe may have become free; at once if it has changed already. */
  async #change(stripe: number): Promise<void> {
    const words = this.#words;
    const word = Atomics.load(words, stripe);
    if ((word & HOLDERS) === 0) return;
    const marked = word | WAITING;
    if (word !== marked && Atomics.compareExchange(words, stripe, word, marked) !== word) return;
    const change = Atomics.waitAsync(words, stripe, marked);
    if (change.async) await change.value;
  }
}

/** Gives back what a thread held that is no more; nothing of its may be running. */
export function releaseStripes(memory: SharedArrayBuffer, thread: number): void {
  const words = new Int32Array(memory);
  for (let stripe = 0; stripe < STRIPES; stripe += 1) {
    letGo(words, stripe, readerBit(thread), ownerBits(thread));
  }
}

/** Whoever takes the last holder away wakes those who wait. */
function letGo(words: Int32Array, stripe: number, reads: number, writes: number): void {
  let word = Atomics.load(words, stripe);
  for (;;) {
    let next = word & ~reads;
    if ((word & OWNER_MASK) === writes) next &= ~OWNER_MASK;
    if (next === word) return;
    if ((next & HOLDERS) === 0) next = 0;
    const seen = Atomics.compareExchange(words, stripe, word, next);
    if (seen === word) {
      if (next === 0 && (word & WAITING) !== 0) Atomics.notify(words, stripe);
      return;
    }
    word = seen;
  }
}

function readerBit(thread: number): number {
  return 1 << thread;
}

function ownerBits(thread: number): number {
  return (thread + 1) << OWNER_SHIFT;
}

/** Of the granules from `first` to `last`: each stripe once, ascending. */
function* stripesOf(first: number, last: number): Generator<number> {
  if (last - first >= STRIPES - 1) {
    for (let stripe = 0; stripe < STRIPES; stripe += 1) yield stripe;
    return;
  }
  const from = first % STRIPES;
  const to = last % STRIPES;
  if (to < from) for (let stripe = 0; stripe <= to; stripe += 1) yield stripe;
  const end = to < from ? STRIPES - 1 : to;
  for (let stripe = from; stripe <= end; stripe += 1) yield stripe;
}
