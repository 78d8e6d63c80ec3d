/** The regions that are counted one by one: a table of sets, like the cache of a processor. */
import { WAYS } from './limits.ts';
import { mixed, type ProfileShape } from './profile-shape.ts';

/** Fields of an entry, which fill one line of the cache. The first two are those of `Kind`. */
export const READS_AT = 0;
export const WRITES_AT = 1;
/** Accesses that began where one had ended. */
export const SEQUENTIAL_AT = 2;
/** How much of the first two came out of the sketch: so much they may be too high. */
export const READS_DOUBT_AT = 3;
export const WRITES_DOUBT_AT = 4;
/** Seconds of the profile; 0 for never. */
export const LAST_READ_AT = 5;
export const LAST_WRITE_AT = 6;
/** The byte of the volume at which the last access ended. */
export const END_AT = 7;
export const FIELDS = 8;

/** Fields that are sums of weights. */
export const SUMS = 5;

const NOBODY = -1;

export class KnownRegions {
  readonly keys: Int32Array;
  readonly entries: Float64Array;
  readonly #setMask: number;
  readonly #setBits: number;
  count = 0;

  constructor({ setCount }: ProfileShape) {
    this.keys = new Int32Array(setCount * WAYS).fill(NOBODY);
    this.entries = new Float64Array(setCount * WAYS * FIELDS);
    this.#setMask = setCount - 1;
    this.#setBits = Math.log2(setCount);
  }

  /** The slot of a region; -1 if it has none. */
  find(region: number): number {
    const from = this.#setOf(region);
    for (let slot = from; slot < from + WAYS; slot++) {
      if (this.keys[slot] === region) return slot;
    }
    return NOBODY;
  }

  /** A slot that nobody has; -1 if there is none. As sets only fill, whoever gets it is new. */
  free(region: number): number {
    const from = this.#setOf(region);
    for (let slot = from; slot < from + WAYS; slot++) {
      if (this.keys[slot] === NOBODY) return slot;
    }
    return NOBODY;
  }

  /** Of those that share the region's set, the slot with the fewest accesses. */
  weakest(region: number): number {
    const from = this.#setOf(region);
    let found = from;
    for (let slot = from + 1; slot < from + WAYS; slot++) {
      if (this.heat(slot) < this.heat(found)) found = slot;
    }
    return found;
  }

  heat(slot: number): number {
    const at = slot * FIELDS;
    return this.entries[at + READS_AT]! + this.entries[at + WRITES_AT]!;
  }

  /** Gives a slot to a region, with all fields 0. */
  put(slot: number, region: number): void {
    if (this.keys[slot] === NOBODY) this.count++;
    this.keys[slot] = region;
    this.entries.fill(0, slot * FIELDS, (slot + 1) * FIELDS);
  }

  *slots(): Generator<number> {
    for (let slot = 0; slot < this.keys.length; slot++) {
      if (this.keys[slot] !== NOBODY) yield slot;
    }
  }

  scale(factor: number): void {
    for (const slot of this.slots()) {
      const at = slot * FIELDS;
      for (let field = 0; field < SUMS; field++) this.entries[at + field]! *= factor;
    }
  }

  /**
   * Of as many neighbours as there are sets, each has another set: a volume that fits loses
   * nothing. What lies further off is shifted at random, so that strides do not meet in one set.
   */
  #setOf(region: number): number {
    return ((region ^ mixed(region >>> this.#setBits)) & this.#setMask) * WAYS;
  }
}
