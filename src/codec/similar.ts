/**
 * Finds stored chunks that resemble a new one though they lie elsewhere: windows at fixed places of
 * the stored ones are remembered, and looked for at every place of the new one.
 */
import assert from 'node:assert/strict';

/** One window in each step of a chunk is remembered: what is shared and as long is found. */
export const SAMPLE_STEP_BYTES = 1024;
const WINDOW_BYTES = 32;
/** Headers of pages and blocks change most: the window lies behind them. */
const SAMPLE_AT = 256;

/** The rolling hash is a polynomial in this over the window's bytes, modulo 2^32. */
const MULTIPLIER = 0x01000193;
const DROP_FACTOR = power(MULTIPLIER, WINDOW_BYTES);

/** Fibonacci hashing: the top bits of the product depend on all of the hash. */
const MIX = 0x9e3779b1;

/** Half of the slots are used at most: with 2^20, 512 MiB of content before samples are thinned. */
const SLOTS_LOG2_MIN = 10;
const SLOTS_LOG2_MAX = 20;
/** Little may have changed of much: a growing table is made anew four times as large when full. */
const SLOTS_LOG2_FIRST = 14;
const SLOTS_LOG2_STEP = 2;
const PROBES_MAX = 16;

/** Eight bits for each slot say whether a hash may be there at all: one in sixteen passes them. */
const FILTER_LOG2_MORE = 3;

/** How many samples it has, and how they are thinned. */
const STATE_WORDS = 2;

function tableBytes(slotsLog2: number): number {
  return 2 ** slotsLog2 * 8 + 2 ** (slotsLog2 + FILTER_LOG2_MORE) / 8 + STATE_WORDS * 4;
}

/** What a table takes in shared memory at most. */
export const SIMILAR_TABLE_BYTES = tableBytes(SLOTS_LOG2_MAX);

/** More than one chunk has the window: it tells nothing. */
const COMMON = 0xffffffff;
const SIMILAR_NUMBERS_MAX = COMMON - 1;

/** Places of one chunk that were found; more only repeat themselves. */
const HITS_MAX = 4096;
const CANDIDATES_MAX = 256;

/** A chunk is compared in so many parts: a candidate counts by the parts that only it has. */
const REGIONS = 64;

/**
 * A candidate must have this share of the parts that can be told apart to itself: for less, reading
 * its frame costs more than it gains, and a dictionary of two that fit well makes smaller patches.
 */
const GAIN_SHARE_MIN = 1 / 16;

export function samplesPerChunk(chunkBytes: number): number {
  return Math.ceil(chunkBytes / SAMPLE_STEP_BYTES);
}

/** The hash of each step's window; 0 where there is none, or none that tells anything. */
export function takeSamples(chunk: Uint8Array, target: Uint32Array): void {
  target.fill(0);
  let at = 0;
  for (let from = SAMPLE_AT; from + WINDOW_BYTES <= chunk.byteLength; from += SAMPLE_STEP_BYTES) {
    target[at++] = isTelling(chunk, from) ? windowHash(chunk, from) >>> 0 : 0;
  }
}

/** Not mostly zero, nor one byte over and over: half of a disk has such windows. */
function isTelling(bytes: Uint8Array, from: number): boolean {
  let zeroes = 0;
  let repeated = 0;
  const first = bytes[from];
  for (let at = from; at < from + WINDOW_BYTES; at++) {
    if (bytes[at] === 0) zeroes++;
    if (bytes[at] === first) repeated++;
  }
  return zeroes <= WINDOW_BYTES / 2 && repeated < WINDOW_BYTES;
}

function windowHash(bytes: Uint8Array, from: number): number {
  let hash = 0;
  for (let at = from; at < from + WINDOW_BYTES; at++) {
    hash = (Math.imul(hash, MULTIPLIER) + bytes[at]!) | 0;
  }
  return hash;
}

function power(base: number, exponent: number): number {
  let result = 1;
  for (let at = 0; at < exponent; at++) result = Math.imul(result, base);
  return result;
}

/**
 * Samples and the numbers of the chunks that have them, in shared memory: one thread adds, others
 * look up meanwhile. They may meet an entry that is being written: a wrong candidate costs a try.
 */
export class SimilarTable {
  readonly #slotsLog2Max: number;
  #parts: TableParts;

  /** Over memory of a table; it grows up to so many slots. */
  constructor(memory: SharedArrayBuffer, slotsLog2Max = 0) {
    this.#parts = partsOf(memory);
    this.#slotsLog2Max = slotsLog2Max;
  }

  /** An empty table for so much content; of more than half a GiB it keeps a part of the samples. */
  static for(contentBytes: number, slotsLog2Max = SLOTS_LOG2_MAX): SimilarTable {
    const slotsLog2 = slotsLog2For(contentBytes, slotsLog2Max);
    return new SimilarTable(new SharedArrayBuffer(tableBytes(slotsLog2)));
  }

  /** As `for`, but it begins small, and is made anew when it is full: see `memory`. */
  static growing(contentBytes: number): SimilarTable {
    const slotsLog2Max = slotsLog2For(contentBytes, SLOTS_LOG2_MAX);
    const first = Math.min(SLOTS_LOG2_FIRST, slotsLog2Max);
    return new SimilarTable(new SharedArrayBuffer(tableBytes(first)), slotsLog2Max);
  }

  /** As it is now: another one once it has grown, and then this one stays as it was. */
  get memory(): SharedArrayBuffer {
    return this.#parts.memory;
  }

  /** For `findSimilar` alone. */
  get parts(): TableParts {
    return this.#parts;
  }

  get slotsLog2(): number {
    return this.#parts.slotsLog2;
  }

  /** Of so many samples one is kept. */
  get thinning(): number {
    return this.#thinMask + 1;
  }

  /** Only samples whose hash has none of these bits are kept. */
  get #thinMask(): number {
    return this.#parts.state[1]!;
  }

  get count(): number {
    return this.#parts.state[0]!;
  }

  /** Whether a sample would be kept; 0 never is. */
  wants(hash: number): boolean {
    return hash !== 0 && (mixed(hash) & this.#thinMask) === 0;
  }

  add(hash: number, number: number): void {
    assert(number <= SIMILAR_NUMBERS_MAX);
    if (!this.wants(hash)) return;
    this.#makeRoom();
    this.#put(hash, number, COMMON);
  }

  /** As `add`, but what others have too is found in this one from now on. */
  set(hash: number, number: number): void {
    assert(number <= SIMILAR_NUMBERS_MAX);
    if (!this.wants(hash)) return;
    this.#makeRoom();
    this.#put(hash, number, number);
  }

  /** The next one that is added makes it smaller. */
  get isFull(): boolean {
    return this.#isHalf && !this.#mayGrow;
  }

  get #isHalf(): boolean {
    return this.count >= this.#parts.keys.length / 2;
  }

  get #mayGrow(): boolean {
    return this.slotsLog2 < this.#slotsLog2Max;
  }

  /** What it would find, from a slot on, in at most so many slots. */
  *entries(from: number, slots: number): Generator<[hash: number, number: number]> {
    const { keys, numbers } = this.#parts;
    const end = Math.min(keys.length, from + slots);
    for (let slot = from; slot < end; slot++) {
      const hash = keys[slot]!;
      const number = numbers[slot]!;
      if (hash !== 0 && number !== COMMON) yield [hash, number];
    }
  }

  /** `known` takes the place of another number that is there. */
  #put(hash: number, number: number, known: number): void {
    const { keys, numbers, filter, state, slotsLog2 } = this.#parts;
    let slot = mixed(hash) >>> (32 - slotsLog2);
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const key = keys[slot];
      if (key === hash) {
        if (numbers[slot] !== number) numbers[slot] = known;
        return;
      }
      if (key === 0) {
        numbers[slot] = number;
        keys[slot] = hash;
        state[0]! += 1;
        const bit = mixed(hash) >>> (32 - slotsLog2 - FILTER_LOG2_MORE);
        filter[bit >>> 5] = filter[bit >>> 5]! | (1 << (bit & 31));
        return;
      }
      slot = (slot + 1) & (keys.length - 1);
    }
  }

  #makeRoom(): void {
    if (!this.#isHalf) return;
    const { keys, numbers, memory } = this.#parts;
    const thinMask = this.#thinMask;
    if (this.#mayGrow) {
      const larger = Math.min(this.slotsLog2 + SLOTS_LOG2_STEP, this.#slotsLog2Max);
      this.#parts = partsOf(new SharedArrayBuffer(tableBytes(larger)));
      this.#parts.state[1] = thinMask;
      this.#refill(keys, numbers);
      return;
    }
    // Every second sample goes, wherever it is from.
    const before = [keys.slice(), numbers.slice()] as const;
    new Uint32Array(memory).fill(0);
    this.#parts.state[1] = thinMask * 2 + 1;
    this.#refill(...before);
  }

  #refill(keys: Uint32Array, numbers: Uint32Array): void {
    // By number: an iterator makes an array for each of a million slots.
    for (let slot = 0; slot < keys.length; slot++) {
      const key = keys[slot]!;
      if (this.wants(key)) this.#put(key, numbers[slot]!, COMMON);
    }
  }

  find(hash: number): number | undefined {
    const { keys, numbers, slotsLog2 } = this.#parts;
    let slot = mixed(hash) >>> (32 - slotsLog2);
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const key = keys[slot];
      if (key === hash) {
        const number = numbers[slot]!;
        return number === COMMON ? undefined : number;
      }
      if (key === 0) return undefined;
      slot = (slot + 1) & (keys.length - 1);
    }
    return undefined;
  }
}

type TableParts = {
  readonly memory: SharedArrayBuffer;
  readonly slotsLog2: number;
  readonly keys: Uint32Array;
  readonly numbers: Uint32Array;
  readonly filter: Uint32Array;
  readonly state: Uint32Array;
};

function partsOf(memory: SharedArrayBuffer): TableParts {
  const slotsLog2 = Math.floor(Math.log2(memory.byteLength / 8)); // The rest is far below a half.
  assert(tableBytes(slotsLog2) === memory.byteLength, 'not the memory of a table');
  const slots = 2 ** slotsLog2;
  return {
    memory,
    slotsLog2,
    keys: new Uint32Array(memory, 0, slots),
    numbers: new Uint32Array(memory, slots * 4, slots),
    filter: new Uint32Array(memory, slots * 8, (slots * 2 ** FILTER_LOG2_MORE) / 32),
    state: new Uint32Array(memory, memory.byteLength - STATE_WORDS * 4),
  };
}

function slotsLog2For(contentBytes: number, slotsLog2Max: number): number {
  const wanted = Math.ceil(Math.log2((2 * contentBytes) / SAMPLE_STEP_BYTES + 1));
  return Math.min(slotsLog2Max, Math.max(SLOTS_LOG2_MIN, wanted));
}

function mixed(hash: number): number {
  return Math.imul(hash, MIX) >>> 0;
}

type Hits = { count: number; readonly at: Uint32Array; readonly number: Uint32Array };
const hits: Hits = { count: 0, at: new Uint32Array(HITS_MAX), number: new Uint32Array(HITS_MAX) };

/**
 * Numbers of up to `limit` chunks that resemble this one, the one that has most of it first; each
 * has parts of it that those before have not. A probe of two places decides whether to look at all,
 * unless samples are known to be thinned out: then it would miss most.
 */
export function findSimilar(
  chunk: Uint8Array,
  tables: readonly SimilarTable[],
  limit: number,
  thinning = 1,
): number[] {
  const length = chunk.byteLength;
  hits.count = 0;
  if (length >= 8 * SAMPLE_STEP_BYTES && thinning === 1) {
    for (const from of [length >>> 3, (length >>> 1) + (length >>> 3)]) {
      const to = from + SAMPLE_STEP_BYTES + WINDOW_BYTES;
      for (const table of tables) lookAt(chunk, table, from, to);
    }
    if (hits.count === 0) return [];
    hits.count = 0;
  }
  for (const table of tables) lookAt(chunk, table, 0, length);
  return mostShared(length, limit, thinning);
}

/** Notes every window in the range that the table knows. One loop over local names: it is hot. */
function lookAt(chunk: Uint8Array, table: SimilarTable, from: number, to: number): void {
  const { filter, slotsLog2 } = table.parts;
  const shift = 32 - slotsLog2 - FILTER_LOG2_MORE;
  const last = Math.min(to, chunk.byteLength) - WINDOW_BYTES;
  let hash = from <= last ? windowHash(chunk, from) : 0;
  for (let at = from; at <= last; at++) {
    const bit = Math.imul(hash, MIX) >>> shift;
    if (((filter[bit >>> 5]! >>> (bit & 31)) & 1) !== 0) {
      noteHit(table.find(hash >>> 0), at);
      if (hits.count === HITS_MAX) return;
    }
    if (at === last) return; // A read past the end would make the whole loop slow.
    const next = chunk[at + WINDOW_BYTES]! - Math.imul(chunk[at]!, DROP_FACTOR);
    hash = (Math.imul(hash, MULTIPLIER) + next) | 0;
  }
}

function noteHit(number: number | undefined, at: number): void {
  if (number === undefined) return;
  hits.at[hits.count] = at;
  hits.number[hits.count] = number;
  hits.count++;
}

/** The parts of the chunk that a candidate has, a bit each. */
type Shared = { low: number; high: number };

function mostShared(length: number, limit: number, thinning: number): number[] {
  const shared = new Map<number, Shared>();
  for (let hit = 0; hit < hits.count; hit++) {
    const number = hits.number[hit]!;
    let parts = shared.get(number);
    if (parts === undefined) {
      if (shared.size === CANDIDATES_MAX) continue;
      parts = { low: 0, high: 0 };
      shared.set(number, parts);
    }
    const region = Math.floor((hits.at[hit]! * REGIONS) / length);
    if (region < 32) parts.low |= 1 << region;
    else parts.high |= 1 << (region - 32);
  }
  const found: number[] = [];
  const left: Shared = { low: -1, high: -1 };
  const parts = Math.min(REGIONS, length / SAMPLE_STEP_BYTES);
  const gainMin = Math.max(1, Math.floor((parts * GAIN_SHARE_MIN) / thinning));
  while (found.length < limit) {
    let best: number | undefined;
    let most = gainMin - 1;
    for (const [number, { low, high }] of shared) {
      const gain = bitCount(low & left.low) + bitCount(high & left.high);
      if (gain <= most) continue;
      most = gain;
      best = number;
    }
    if (best === undefined) break;
    found.push(best);
    const { low, high } = shared.get(best)!;
    left.low &= ~low;
    left.high &= ~high;
  }
  return found;
}

function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
