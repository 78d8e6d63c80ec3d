/** Which blocks were written: two levels, so that little is kept where little changed. */
import { type Extent, ExtentSet } from '../../core/index.ts';
import type { ChangedRange } from '../change-source.ts';
import { BLOCK_BYTES, EMPTIES_MAX } from './limits.ts';
import type { Shape } from './shape.ts';
import { nextInWords } from './words.ts';

/** Slots of a region: none of its blocks, all of them, or an index of a page of bits. */
const CLEAN = -1;
const WHOLE = -2;

/** Pages are taken in slabs of this many bytes: an array object for each would cost as much. */
const SLAB_BYTES = 64 * 1024;

/** What all maps of one tracker may take together. */
export class PageBudget {
  readonly bytesMax: number;
  usedBytes = 0;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  /** False: the region counts as written as a whole; too much is fine, too little never. */
  take(bytes: number): boolean {
    if (this.usedBytes + bytes > this.bytesMax) return false;
    this.usedBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.usedBytes -= bytes;
  }
}

export type EmptyKind = 'zero' | 'discarded';

export class DirtyMap {
  readonly shape: Shape;
  readonly #budget: PageBudget;
  readonly #slots: Int32Array;
  readonly #slabs: Uint32Array[] = [];
  readonly #slotsPerSlab: number;
  #slotCount = 0;
  #takenBytes = 0;
  /** Marked as a whole because nobody knows better: after a crash. */
  readonly #unsure = new Set<number>();
  readonly #zero = new ExtentSet();
  readonly #discarded = new ExtentSet();

  constructor(shape: Shape, budget: PageBudget) {
    this.shape = shape;
    this.#budget = budget;
    this.#slots = new Int32Array(shape.regionCount).fill(CLEAN);
    this.#slotsPerSlab = Math.max(1, SLAB_BYTES / (shape.wordsPerRegion * 4));
  }

  /** Marks blocks [first, last] as written. */
  mark(first: number, last: number): void {
    const { blocksPerRegion } = this.shape;
    const region = Math.floor(first / blocksPerRegion);
    const from = first - region * blocksPerRegion;
    const to = last - region * blocksPerRegion;
    if (to < blocksPerRegion) {
      this.#markInside(region, from, to);
    } else this.#markAcross(region, first, last);
    this.#notEmpty(first * BLOCK_BYTES, (last - first + 1) * BLOCK_BYTES);
  }

  /** Marks the blocks of a range that reads as zero, or may read as anything, now. */
  markEmpty(kind: EmptyKind, offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const endBytes = offsetBytes + lengthBytes;
    this.mark(Math.floor(offsetBytes / BLOCK_BYTES), Math.ceil(endBytes / BLOCK_BYTES) - 1);
    const from = Math.ceil(offsetBytes / BLOCK_BYTES) * BLOCK_BYTES;
    const isEnd = endBytes === this.shape.sizeBytes;
    const to = isEnd ? endBytes : Math.floor(endBytes / BLOCK_BYTES) * BLOCK_BYTES;
    const set = kind === 'zero' ? this.#zero : this.#discarded;
    if (to > from) addEmpty(set, { offsetBytes: from, lengthBytes: to - from });
  }

  /** Marks a region as a whole; `unsure` if some of it may be as it was. */
  markRegion(region: number, unsure: boolean): void {
    const slot = this.#slots[region]!;
    this.#slots[region] = WHOLE;
    if (unsure && slot !== WHOLE) this.#unsure.add(region);
    this.forgetEmpties(region);
  }

  /** What was zeroed or discarded in a region may have been written since. */
  forgetEmpties(region: number): void {
    const { regionBytes } = this.shape;
    this.#notEmpty(region * regionBytes, regionBytes);
  }

  /** Takes over all marks of another map of the same shape, as written later. */
  union(later: DirtyMap): void {
    for (let region = 0; region < this.shape.regionCount; region++) {
      const slot = later.#slots[region]!;
      if (slot === CLEAN) continue;
      if (slot === WHOLE) {
        this.markRegion(region, later.#unsure.has(region));
        if (!later.#unsure.has(region)) this.#unsure.delete(region);
      } else this.addWords(region, later.#words(slot));
    }
    if (!this.#hasEmpties && !later.#hasEmpties) return;
    for (const range of later.ranges()) {
      const { offsetBytes, lengthBytes, kind } = range;
      this.#notEmpty(offsetBytes, lengthBytes);
      if (kind === 'zero') addEmpty(this.#zero, range);
      else if (kind === 'discarded') addEmpty(this.#discarded, range);
    }
  }

  /** Marks blocks of a region by words of 32, as `wordsOf` gives them. */
  addWords(region: number, words: Uint32Array): void {
    const target = this.#pageOf(region);
    if (target === undefined) return;
    for (let i = 0; i < target.length; i++) target[i]! |= words[i]!;
  }

  isDirty(region: number): boolean {
    return this.#slots[region] !== CLEAN;
  }

  isWhole(region: number): boolean {
    return this.#slots[region] === WHOLE;
  }

  isUnsure(region: number): boolean {
    return this.#unsure.has(region);
  }

  /** Regions that are marked as a whole because nobody knows better. */
  get unsureCount(): number {
    return this.#unsure.size;
  }

  /** The bits of a region that has some, borrowed; undefined if it is clean or whole. */
  wordsOf(region: number): Uint32Array | undefined {
    const slot = this.#slots[region]!;
    return slot < 0 ? undefined : this.#words(slot);
  }

  test(block: number): boolean {
    const { blocksPerRegion } = this.shape;
    const region = Math.floor(block / blocksPerRegion);
    const slot = this.#slots[region]!;
    if (slot < 0) return slot === WHOLE;
    const inside = block - region * blocksPerRegion;
    // Asked for each block of a moment: no view is made.
    const slab = this.#slabs[Math.floor(slot / this.#slotsPerSlab)]!;
    const base = (slot % this.#slotsPerSlab) * this.shape.wordsPerRegion;
    return (slab[base + (inside >>> 5)]! & (1 << (inside & 31))) !== 0;
  }

  /** The first block at or after `block`, before `end`, whose mark is `wanted`; else `end`. */
  next(block: number, end: number, wanted: boolean): number {
    const { blocksPerRegion } = this.shape;
    for (let at = block; at < end; ) {
      const region = Math.floor(at / blocksPerRegion);
      const regionStart = region * blocksPerRegion;
      const stop = Math.min(end, regionStart + blocksPerRegion);
      const slot = this.#slots[region]!;
      if (slot >= 0) {
        // Within the slab: a view for each range is a lot of garbage.
        const slab = this.#slabs[Math.floor(slot / this.#slotsPerSlab)]!;
        const bit = (slot % this.#slotsPerSlab) * this.shape.wordsPerRegion * 32 - regionStart;
        const found = nextInWords(slab, bit + at, bit + stop, wanted) - bit;
        if (found < stop) return found;
      } else if ((slot === WHOLE) === wanted) return at;
      at = stop;
    }
    return end;
  }

  /** Ascending; neighbours of different kinds are apart. The map must not change meanwhile. */
  *ranges(fromBytes = 0): Generator<ChangedRange> {
    const { blockCount, sizeBytes } = this.shape;
    for (let at = Math.floor(fromBytes / BLOCK_BYTES); at < blockCount; ) {
      const first = this.next(at, blockCount, true);
      if (first === blockCount) return;
      const end = this.next(first, blockCount, false);
      const offsetBytes = first * BLOCK_BYTES;
      const lengthBytes = Math.min(end * BLOCK_BYTES, sizeBytes) - offsetBytes;
      // Most maps have nothing else, and a generator for each range is a lot of garbage.
      if (!this.#hasEmpties) yield { offsetBytes, lengthBytes, kind: 'data' };
      else yield* this.#kinds({ offsetBytes, lengthBytes });
      at = end;
    }
  }

  get isEmpty(): boolean {
    return this.#slots.every((slot) => slot === CLEAN);
  }

  get markedBytes(): number {
    const { blockCount, sizeBytes } = this.shape;
    let bytes = 0;
    for (let at = 0; at < blockCount; ) {
      const first = this.next(at, blockCount, true);
      at = this.next(first, blockCount, false);
      bytes += Math.min(at * BLOCK_BYTES, sizeBytes) - Math.min(first * BLOCK_BYTES, sizeBytes);
    }
    return bytes;
  }

  get #hasEmpties(): boolean {
    return this.#zero.count > 0 || this.#discarded.count > 0;
  }

  /** Stretches that were zeroed or discarded, and not written since. */
  *empties(): Generator<Extent & { readonly kind: EmptyKind }> {
    for (const extent of this.#zero) yield { ...extent, kind: 'zero' };
    for (const extent of this.#discarded) yield { ...extent, kind: 'discarded' };
  }

  /** Gives the pages back; the map must not be used any more. */
  release(): void {
    this.#budget.give(this.#takenBytes);
    this.#takenBytes = 0;
    this.#slots.fill(WHOLE); // Whoever uses it all the same learns too much, not too little.
    this.#slabs.length = 0;
  }

  #markInside(region: number, from: number, to: number): void {
    let slot = this.#slots[region]!;
    if (slot === WHOLE) return;
    if (slot === CLEAN) {
      slot = this.#takeSlot(region);
      if (slot === WHOLE) return;
    }
    const slab = this.#slabs[Math.floor(slot / this.#slotsPerSlab)]!;
    const base = (slot % this.#slotsPerSlab) * this.shape.wordsPerRegion;
    const firstWord = from >>> 5;
    const lastWord = to >>> 5;
    const head = -1 << (from & 31);
    const tail = -1 >>> (31 - (to & 31));
    if (firstWord === lastWord) {
      slab[base + firstWord]! |= head & tail;
      return;
    }
    slab[base + firstWord]! |= head;
    slab.fill(0xffffffff, base + firstWord + 1, base + lastWord);
    slab[base + lastWord]! |= tail;
  }

  #markAcross(region: number, first: number, last: number): void {
    const { blocksPerRegion } = this.shape;
    for (let at = region; at * blocksPerRegion <= last; at++) {
      const start = at * blocksPerRegion;
      const from = Math.max(0, first - start);
      const to = Math.min(blocksPerRegion - 1, last - start);
      if (to - from + 1 === blocksPerRegion) {
        this.#slots[at] = WHOLE;
        this.#unsure.delete(at);
      } else this.#markInside(at, from, to);
    }
  }

  #takeSlot(region: number): number {
    const bytes = this.shape.wordsPerRegion * 4;
    if (!this.#budget.take(bytes)) {
      this.#slots[region] = WHOLE;
      this.#unsure.add(region);
      return WHOLE;
    }
    this.#takenBytes += bytes;
    if (this.#slotCount % this.#slotsPerSlab === 0) {
      this.#slabs.push(new Uint32Array(this.#slotsPerSlab * this.shape.wordsPerRegion));
    }
    const slot = this.#slotCount++;
    this.#slots[region] = slot;
    return slot;
  }

  #pageOf(region: number): Uint32Array | undefined {
    let slot = this.#slots[region]!;
    if (slot === CLEAN) slot = this.#takeSlot(region);
    return slot === WHOLE ? undefined : this.#words(slot);
  }

  #words(slot: number): Uint32Array {
    const slab = this.#slabs[Math.floor(slot / this.#slotsPerSlab)]!;
    const from = (slot % this.#slotsPerSlab) * this.shape.wordsPerRegion;
    return slab.subarray(from, from + this.shape.wordsPerRegion);
  }

  #notEmpty(offsetBytes: number, lengthBytes: number): void {
    if (this.#zero.count > 0) cutOut(this.#zero, offsetBytes, lengthBytes);
    if (this.#discarded.count > 0) cutOut(this.#discarded, offsetBytes, lengthBytes);
  }

  *#kinds({ offsetBytes, lengthBytes }: Extent): Generator<ChangedRange> {
    const empty: ChangedRange[] = [];
    for (const extent of this.#zero.within(offsetBytes, lengthBytes)) {
      empty.push({ ...extent, kind: 'zero' });
    }
    for (const extent of this.#discarded.within(offsetBytes, lengthBytes)) {
      empty.push({ ...extent, kind: 'discarded' });
    }
    if (empty.length === 0) return yield { offsetBytes, lengthBytes, kind: 'data' };
    empty.sort((a, b) => a.offsetBytes - b.offsetBytes);
    let at = offsetBytes;
    for (const range of empty) {
      const gap = range.offsetBytes - at;
      if (gap > 0) yield { offsetBytes: at, lengthBytes: gap, kind: 'data' };
      yield range;
      at = range.offsetBytes + range.lengthBytes;
    }
    const rest = offsetBytes + lengthBytes - at;
    if (rest > 0) yield { offsetBytes: at, lengthBytes: rest, kind: 'data' };
  }
}

/** A stretch in two makes one more: at the limit all go, rather than growing. */
function cutOut(set: ExtentSet, offsetBytes: number, lengthBytes: number): void {
  set.remove(offsetBytes, lengthBytes);
  if (set.count > EMPTIES_MAX) set.clear();
}

function addEmpty(set: ExtentSet, { offsetBytes, lengthBytes }: Extent): void {
  if (set.count < EMPTIES_MAX) set.add(offsetBytes, lengthBytes);
}
