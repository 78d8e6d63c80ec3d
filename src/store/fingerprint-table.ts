/**
 * The first tier of the index: open-addressing hash tables of 16-byte entries in flat memory, from
 * 8-byte fingerprints to places. A hit is only a candidate; the full id decides.
 *
 * A small table grows by copying. Beyond MERGED_SLOTS_MAX another table is put beside the ones
 * there are: copying would take twice the memory for a moment, and that moment sets the limit.
 */
import assert from 'node:assert/strict';
import { preferHugePages } from '../core/index.ts';

/** Words per entry: id prefix, CRC-32, pack number + 1 (0 = empty), ordinal. */
const WORDS = 4;

/** Id prefix and CRC-32 of a record, as packs' fingerprints are listed. */
export const FINGERPRINT_BYTES = 8;

/** Beyond this share of full slots, probing gets long: 19 bytes per entry. */
const FULL = 0.85;

const SLOTS_MIN = 1024;

/**
 * Slots that one entry is looked for in. Honest fingerprints hardly ever need as many; who makes
 * millions that are alike would otherwise make each wait for all those before it.
 */
const PROBES_MAX = 1024;

/** 64 MiB: tables of up to so many slots are merged when they grow. */
const MERGED_SLOTS_MAX = 1 << 22;

/** 16 GiB in one table. */
const SLOTS_MAX = 2 ** 30;

/** A table put beside others has room for this share of what there is. */
const GROWTH = 1 / 8;

/** Stretches of a table that entries are sorted into before they are added together. */
const PARTITION_BITS = 10;
const PARTITIONS = 1 << PARTITION_BITS;

/** Tables of this size are touched all over: every page would be a miss. */
const HUGE_PAGES_FROM_BYTES = 32 * 1024 * 1024;

type Visit = (pack: number, ordinal: number) => boolean;

/** Fingerprints of records of one pack that follow each other, FINGERPRINT_BYTES each. */
export type PackPart = {
  readonly pack: number;
  readonly firstOrdinal: number;
  readonly fingerprints: Uint8Array;
};

/** Memory to sort entries in, for so many at a time. */
export function sortingMemory(entries: number): Uint32Array {
  return new Uint32Array(entries * WORDS);
}

class Flat {
  readonly slots: number;
  readonly words: Uint32Array;
  count = 0;
  /** By prefix, what found no slot near enough: checksum, pack number + 1, ordinal. */
  readonly #spilled = new Map<number, number[]>();

  constructor(slots: number) {
    assert(slots <= SLOTS_MAX, 'the index would not fit into memory');
    this.slots = slots;
    this.words = new Uint32Array(slots * WORDS);
    if (this.words.byteLength >= HUGE_PAGES_FROM_BYTES) preferHugePages(this.words);
  }

  get free(): number {
    return Math.floor(this.slots * FULL) - this.count;
  }

  #wordOf(prefix: number): number {
    return Math.floor((spreadOf(prefix) * this.slots) / 2 ** 32) * WORDS;
  }

  insert(prefix: number, checksum: number, packPlusOne: number, ordinal: number): void {
    this.count++;
    const { words } = this;
    const at = this.#spilled.size > 0 && this.#spilled.has(prefix) ? -1 : this.#freeFor(prefix);
    if (at === -1) {
      const spilled = this.#spilled.get(prefix) ?? [];
      if (spilled.length === 0) this.#spilled.set(prefix, spilled);
      spilled.push(checksum, packPlusOne, ordinal);
      return;
    }
    words[at] = prefix;
    words[at + 1] = checksum;
    words[at + 2] = packPlusOne;
    words[at + 3] = ordinal;
  }

  /** -1 if there is none near enough. */
  #freeFor(prefix: number): number {
    const { words } = this;
    let at = this.#wordOf(prefix);
    for (let left = PROBES_MAX; left > 0; left--) {
      if (words[at + 2] === 0) return at;
      at = at + WORDS === words.length ? 0 : at + WORDS;
    }
    return -1;
  }

  insertAll(from: Flat): void {
    const { words } = from;
    for (let at = 0; at < words.length; at += WORDS) {
      if (words[at + 2] === 0) continue;
      this.insert(words[at]!, words[at + 1]!, words[at + 2]!, words[at + 3]!);
    }
    for (const [prefix, entries] of from.#spilled) {
      for (let at = 0; at < entries.length; at += 3) {
        this.insert(prefix, entries[at]!, entries[at + 1]!, entries[at + 2]!);
      }
    }
  }

  /** True when the visitor has enough. */
  visit(prefix: number, checksum: number | undefined, visit: Visit): boolean {
    const { words } = this;
    let at = this.#wordOf(prefix);
    for (let left = PROBES_MAX; left > 0; left--) {
      if (words[at + 2] === 0) return false;
      if (words[at] === prefix && (checksum === undefined || words[at + 1] === checksum)) {
        if (visit(words[at + 2]! - 1, words[at + 3]!)) return true;
      }
      at = at + WORDS === words.length ? 0 : at + WORDS;
    }
    return this.#visitSpilled(prefix, checksum, visit);
  }

  #visitSpilled(prefix: number, checksum: number | undefined, visit: Visit): boolean {
    const entries = this.#spilled.get(prefix) ?? [];
    for (let at = 0; at < entries.length; at += 3) {
      if (checksum !== undefined && entries[at] !== checksum) continue;
      if (visit(entries[at + 1]! - 1, entries[at + 2]!)) return true;
    }
    return false;
  }
}

export class FingerprintTable {
  /** The newest last: entries go there until it is full. */
  readonly #tables: Flat[];
  #last: Flat;

  /** Room for `expected` entries without growing. */
  constructor(expected = 0) {
    this.#last = new Flat(slotsFor(expected));
    this.#tables = [this.#last];
  }

  get count(): number {
    return this.#tables.reduce((sum, table) => sum + table.count, 0);
  }

  /** Memory in use. */
  get sizeBytes(): number {
    return this.#tables.reduce((sum, table) => sum + table.words.byteLength, 0);
  }

  /**
   * Adds many at once, of which `memory` has room for all. They go in by neighbourhood, which
   * spares the processor most of its misses.
   */
  addAll(parts: readonly PackPart[], memory: Uint32Array): void {
    const count = parts.reduce((sum, { fingerprints }) => sum + countOf(fingerprints), 0);
    assert(count * WORDS <= memory.length, 'more than there is room for');
    this.reserve(count);
    sortEntries(parts, memory);
    for (let at = 0; at < count * WORDS; at += WORDS) {
      this.#last.insert(memory[at]!, memory[at + 1]!, memory[at + 2]!, memory[at + 3]!);
    }
  }

  /** Makes room for `more` entries in one step. */
  reserve(more: number): void {
    if (this.#last.free < more) this.#grow(more);
  }

  add(prefix: number, checksum: number, pack: number, ordinal: number): void {
    if (this.#last.free < 1) this.#grow(1);
    this.#last.insert(prefix, checksum, pack + 1, ordinal);
  }

  #grow(more: number): void {
    const { count } = this;
    const [first] = this.#tables;
    const mergedSlots = slotsFor(Math.max(count + more, 2 * count));
    if (count === 0 || (this.#tables.length === 1 && mergedSlots <= MERGED_SLOTS_MAX)) {
      const table = new Flat(count === 0 ? slotsFor(more) : mergedSlots);
      table.insertAll(first!);
      this.#tables.length = 0;
      this.#last = table;
    } else this.#last = new Flat(slotsFor(Math.max(more, count * GROWTH, MERGED_SLOTS_MAX * FULL)));
    this.#tables.push(this.#last);
  }

  /**
   * Calls `visit` for every entry with this prefix, and this checksum where one is given, until it
   * answers true.
   */
  candidates(prefix: number, checksum: number | undefined, visit: Visit): void {
    for (const table of this.#tables) if (table.visit(prefix, checksum, visit)) return;
  }
}

/** One slot always stays empty: probing ends there. */
function slotsFor(entries: number): number {
  return Math.max(SLOTS_MIN, Math.ceil((entries + 1) / FULL));
}

/** SHA-256 spreads well by itself; the multiplication serves tests that shorten fingerprints. */
function spreadOf(prefix: number): number {
  return Math.imul(prefix, 0x9e3779b1) >>> 0;
}

/** Entries of one partition lie side by side in every table. */
function partitionOf(prefix: number): number {
  return spreadOf(prefix) >>> (32 - PARTITION_BITS);
}

function countOf(fingerprints: Uint8Array): number {
  return fingerprints.byteLength / FINGERPRINT_BYTES;
}

/** Writes the entries in the order of their partitions. */
function sortEntries(parts: readonly PackPart[], sorted: Uint32Array): void {
  const next = new Uint32Array(PARTITIONS + 1);
  for (const { fingerprints } of parts) {
    const view = viewOf(fingerprints);
    for (let at = 0; at < fingerprints.byteLength; at += FINGERPRINT_BYTES) {
      next[partitionOf(view.getUint32(at, true)) + 1]!++;
    }
  }
  for (let at = 0; at < PARTITIONS; at++) next[at + 1]! += next[at]!;
  for (const { pack, firstOrdinal, fingerprints } of parts) {
    const view = viewOf(fingerprints);
    for (let number = 0; number < countOf(fingerprints); number++) {
      const prefix = view.getUint32(number * FINGERPRINT_BYTES, true);
      const to = next[partitionOf(prefix)]!++ * WORDS;
      sorted[to] = prefix;
      sorted[to + 1] = view.getUint32(number * FINGERPRINT_BYTES + 4, true);
      sorted[to + 2] = pack + 1;
      sorted[to + 3] = firstOrdinal + number;
    }
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
