/**
 * The first tier of the index: an open-addressing hash table of 16-byte entries in flat memory,
 * from 8-byte fingerprints to places. A hit is only a candidate; the full id decides.
 */
import assert from 'node:assert/strict';

/** Words per entry: id prefix, CRC-32, pack number + 1 (0 = empty), ordinal. */
const WORDS = 4;

/** Beyond this share of full slots, probing gets long. */
const FULL = 0.75;

export class FingerprintTable {
  #slots: number;
  #words: Uint32Array;
  #count = 0;

  /** Room for `expected` entries without growing. */
  constructor(expected = 0) {
    this.#slots = slotsFor(expected);
    this.#words = new Uint32Array(this.#slots * WORDS);
  }

  get count(): number {
    return this.#count;
  }

  /** Makes room for `more` entries in one step. */
  reserve(more: number): void {
    const wanted = slotsFor(this.#count + more);
    if (wanted > this.#slots) this.#resize(wanted);
  }

  add(prefix: number, checksum: number, pack: number, ordinal: number): void {
    if (this.#count >= this.#slots * FULL) this.#resize(this.#slots * 2);
    this.#insert(prefix, checksum, pack + 1, ordinal);
    this.#count++;
  }

  #insert(prefix: number, checksum: number, packPlusOne: number, ordinal: number): void {
    const words = this.#words;
    let at = this.#slotOf(prefix) * WORDS;
    while (words[at + 2] !== 0) at = at + WORDS === words.length ? 0 : at + WORDS;
    words[at] = prefix;
    words[at + 1] = checksum;
    words[at + 2] = packPlusOne;
    words[at + 3] = ordinal;
  }

  /** SHA-256 spreads well by itself; the multiplication serves tests that shorten fingerprints. */
  #slotOf(prefix: number): number {
    return (Math.imul(prefix, 0x9e3779b1) >>> 0) & (this.#slots - 1);
  }

  #resize(slots: number): void {
    const old = this.#words;
    this.#slots = slots;
    this.#words = new Uint32Array(slots * WORDS);
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at + 2] !== 0) this.#insert(old[at]!, old[at + 1]!, old[at + 2]!, old[at + 3]!);
    }
  }

  /**
   * Calls `visit` for every entry with this prefix, and this checksum where one is given, until it
   * answers true.
   */
  candidates(
    prefix: number,
    checksum: number | undefined,
    visit: (pack: number, ordinal: number) => boolean,
  ): void {
    const words = this.#words;
    let at = this.#slotOf(prefix) * WORDS;
    while (words[at + 2] !== 0) {
      if (words[at] === prefix && (checksum === undefined || words[at + 1] === checksum)) {
        if (visit(words[at + 2]! - 1, words[at + 3]!)) return;
      }
      at = at + WORDS === words.length ? 0 : at + WORDS;
    }
  }
}

function slotsFor(entries: number): number {
  let slots = 1024;
  while (entries > slots * FULL) slots *= 2;
  assert(slots * WORDS * 4 < 2 ** 36, 'the index would not fit into memory');
  return slots;
}
