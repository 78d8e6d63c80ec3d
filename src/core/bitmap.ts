/** A flat bitmap: one bit per block, also for more than 2^32 blocks. */
import assert from 'node:assert/strict';

const WORD_BITS = 32;
const ALL = 0xffffffff;

/**
 * Bits [0, size), all clear at first. Indexes are numbers, not 32-bit integers: a word's index
 * comes from a division, only the five bits inside a word from bit operations.
 */
export class Bitmap {
  readonly size: number;
  /** Bit i is bit i % 32 of word floor(i / 32); the bits after `size` are always clear. */
  readonly words: Uint32Array;

  constructor(size: number) {
    assert(Number.isSafeInteger(size) && size >= 0, `bad size of a bitmap: ${size}`);
    this.size = size;
    this.words = new Uint32Array(Math.ceil(size / WORD_BITS));
  }

  test(index: number): boolean {
    this.#check(index, 1);
    return (this.words[Math.floor(index / WORD_BITS)]! & (1 << (index & 31))) !== 0;
  }

  set(index: number): void {
    this.#check(index, 1);
    this.words[Math.floor(index / WORD_BITS)]! |= 1 << (index & 31);
  }

  clear(index: number): void {
    this.#check(index, 1);
    this.words[Math.floor(index / WORD_BITS)]! &= ~(1 << (index & 31));
  }

  setRange(index: number, count: number): void {
    this.#fill(index, count, true);
  }

  clearRange(index: number, count: number): void {
    this.#fill(index, count, false);
  }

  /** Whether all of the range is set. */
  testRange(index: number, count: number): boolean {
    this.#check(index, count);
    return this.nextClear(index, index + count) === index + count;
  }

  /** The first set bit in [from, end), or `end`. */
  nextSet(from: number, end = this.size): number {
    return this.#next(from, end, 0);
  }

  /** The first clear bit in [from, end), or `end`. */
  nextClear(from: number, end = this.size): number {
    return this.#next(from, end, ALL);
  }

  /** How many bits of the range are set. */
  count(index = 0, count = this.size - index): number {
    this.#check(index, count);
    if (count === 0) return 0;
    const end = index + count;
    const first = Math.floor(index / WORD_BITS);
    const last = Math.floor((end - 1) / WORD_BITS);
    let total = 0;
    for (let i = first; i <= last; i++) total += bitsSet(this.words[i]! & mask(i, index, end));
    return total;
  }

  #fill(index: number, count: number, value: boolean): void {
    this.#check(index, count);
    if (count === 0) return;
    const end = index + count;
    const first = Math.floor(index / WORD_BITS);
    const last = Math.floor((end - 1) / WORD_BITS);
    if (value) this.words[first]! |= mask(first, index, end);
    else this.words[first]! &= ~mask(first, index, end);
    if (first === last) return;
    this.words.fill(value ? ALL : 0, first + 1, last);
    if (value) this.words[last]! |= mask(last, index, end);
    else this.words[last]! &= ~mask(last, index, end);
  }

  /** The first bit that differs from those of `skipped`, which is a word of equal bits. */
  #next(from: number, end: number, skipped: number): number {
    this.#check(from, end - from);
    if (from === end) return end;
    const last = Math.floor((end - 1) / WORD_BITS);
    for (let i = Math.floor(from / WORD_BITS); i <= last; i++) {
      if (this.words[i] === skipped) continue;
      const found = (this.words[i]! ^ skipped) & mask(i, from, end);
      if (found !== 0) return i * WORD_BITS + 31 - Math.clz32(found & -found);
    }
    return end;
  }

  #check(index: number, count: number): void {
    // The messages are made only in case of need: this runs for every call.
    if (!Number.isSafeInteger(index) || index < 0 || !(count >= 0)) {
      assert.fail(`bad range of bits: ${count} at ${index}`);
    }
    if (index + count > this.size) assert.fail(`bit ${index + count} of a bitmap of ${this.size}`);
  }
}

/** The bits of word `wordIndex` that lie in [from, end); the word must touch that range. */
function mask(wordIndex: number, from: number, end: number): number {
  const low = from - wordIndex * WORD_BITS;
  const high = end - wordIndex * WORD_BITS;
  const above = low > 0 ? ALL << low : ALL;
  return high < WORD_BITS ? above & ~(ALL << high) : above;
}

/** Adds neighbours in parallel: bits to pairs, pairs to nibbles, nibbles to bytes, bytes to one. */
function bitsSet(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
