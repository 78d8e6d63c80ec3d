/** The digest table: which blocks were seen before, at 20 bytes a slot and no object per block. */
import assert from 'node:assert/strict';

/** Full tables are slow: with linear probing a load of 0.7 needs about two looks. */
const LOAD_MAX = 0.7;
const SLOTS_MIN = 1024;
/** 16 bytes of SHA-256: two different blocks share them less often than disks lie. */
const WORDS_PER_DIGEST = 4;

/** Whether a block is new to all, only to this image, or neither; or new and one too many. */
export type Seen = 'new' | 'new-in-image' | 'again' | 'full';

/** Linear probing over typed arrays; `image` 0 marks a free slot, so images count from 1. */
export class DigestTable {
  readonly #countMax: number;
  #words = new Uint32Array(SLOTS_MIN * WORDS_PER_DIGEST);
  /** The last image in which the block was seen. */
  #images = new Uint32Array(SLOTS_MIN);
  #count = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Notes the block with the words of its digest, from `at` on, as seen in `image`. */
  see(words: Uint32Array, at: number, image: number): Seen {
    assert(image > 0);
    const slot = this.#slotOf(words, at);
    const last = this.#images[slot]!;
    if (last === 0 && this.#count >= this.#countMax) return 'full';
    this.#images[slot] = image;
    if (last !== 0) return last === image ? 'again' : 'new-in-image';
    for (let word = 0; word < WORDS_PER_DIGEST; word++) {
      this.#words[slot * WORDS_PER_DIGEST + word] = words[at + word]!;
    }
    this.#count += 1;
    if (this.#count > this.#images.length * LOAD_MAX) this.#grow();
    return 'new';
  }

  /** The digest's slot, or the free one where it belongs. */
  #slotOf(words: Uint32Array, at: number): number {
    const mask = this.#images.length - 1;
    for (let slot = words[at]! & mask; ; slot = (slot + 1) & mask) {
      const own = slot * WORDS_PER_DIGEST;
      if (this.#images[slot] === 0) return slot;
      if (
        this.#words[own] === words[at] &&
        this.#words[own + 1] === words[at + 1] &&
        this.#words[own + 2] === words[at + 2] &&
        this.#words[own + 3] === words[at + 3]
      ) {
        return slot;
      }
    }
  }

  #grow(): void {
    const words = this.#words;
    const images = this.#images;
    this.#words = new Uint32Array(words.length * 2);
    this.#images = new Uint32Array(images.length * 2);
    for (let slot = 0; slot < images.length; slot++) {
      if (images[slot] === 0) continue;
      const at = slot * WORDS_PER_DIGEST;
      const next = this.#slotOf(words, at);
      this.#words.set(words.subarray(at, at + WORDS_PER_DIGEST), next * WORDS_PER_DIGEST);
      this.#images[next] = images[slot]!;
    }
  }
}
