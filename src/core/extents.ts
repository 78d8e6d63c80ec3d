/** Byte ranges, and sets of them that stay sorted and merged. */
import { fail } from 'node:assert/strict';

export type Extent = { readonly offsetBytes: number; readonly lengthBytes: number };

/**
 * A set of bytes, kept as the fewest possible extents in ascending order: neighbours that touch are
 * one. Finding is logarithmic; adding at the end, as a scan does, costs nothing more. The number of
 * extents is the caller's to bound (`count`).
 */
export class ExtentSet implements Iterable<Extent> {
  // Extent i is [#starts[i], #ends[i]); both ascend strictly, and #ends[i] < #starts[i + 1].
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  #totalBytes = 0;

  constructor(extents: Iterable<Extent> = []) {
    this.addAll(extents);
  }

  /** How many separate extents there are. */
  get count(): number {
    return this.#starts.length;
  }

  get totalBytes(): number {
    return this.#totalBytes;
  }

  add(offsetBytes: number, lengthBytes: number): void {
    const end = checkedEnd(offsetBytes, lengthBytes);
    if (lengthBytes === 0) return;
    // All extents in [first, last) overlap the new one or touch it.
    const first = lowerBound(this.#ends, offsetBytes);
    const last = lowerBound(this.#starts, end + 1);
    if (first === last) {
      this.#splice(first, 0, [offsetBytes], [end]);
      return;
    }
    const start = Math.min(offsetBytes, this.#starts[first]!);
    this.#splice(first, last - first, [start], [Math.max(end, this.#ends[last - 1]!)]);
  }

  addAll(extents: Iterable<Extent>): void {
    for (const { offsetBytes, lengthBytes } of extents) this.add(offsetBytes, lengthBytes);
  }

  remove(offsetBytes: number, lengthBytes: number): void {
    const end = checkedEnd(offsetBytes, lengthBytes);
    if (lengthBytes === 0) return;
    const first = lowerBound(this.#ends, offsetBytes + 1);
    const last = lowerBound(this.#starts, end);
    if (first >= last) return;
    const starts: number[] = [];
    const ends: number[] = [];
    if (this.#starts[first]! < offsetBytes) {
      starts.push(this.#starts[first]!);
      ends.push(offsetBytes);
    }
    if (this.#ends[last - 1]! > end) {
      starts.push(end);
      ends.push(this.#ends[last - 1]!);
    }
    this.#splice(first, last - first, starts, ends);
  }

  clear(): void {
    this.#splice(0, this.count, [], []);
  }

  /** Whether at least one byte of the range is in the set. */
  intersects(offsetBytes: number, lengthBytes: number): boolean {
    const end = checkedEnd(offsetBytes, lengthBytes);
    const first = lowerBound(this.#ends, offsetBytes + 1);
    return lengthBytes > 0 && first < this.count && this.#starts[first]! < end;
  }

  /** Whether every byte of the range is in the set; an empty range always is. */
  contains(offsetBytes: number, lengthBytes: number): boolean {
    const end = checkedEnd(offsetBytes, lengthBytes);
    if (lengthBytes === 0) return true;
    const first = lowerBound(this.#ends, offsetBytes + 1);
    return first < this.count && this.#starts[first]! <= offsetBytes && this.#ends[first]! >= end;
  }

  /** What the set has of a range, clipped to it. The set must not change meanwhile. */
  *within(offsetBytes: number, lengthBytes: number): Generator<Extent> {
    const end = checkedEnd(offsetBytes, lengthBytes);
    for (let i = lowerBound(this.#ends, offsetBytes + 1); i < this.count; i++) {
      const from = Math.max(offsetBytes, this.#starts[i]!);
      const to = Math.min(end, this.#ends[i]!);
      if (from >= to) return;
      yield { offsetBytes: from, lengthBytes: to - from };
    }
  }

  /** Ascending. The set must not change meanwhile. */
  *[Symbol.iterator](): Generator<Extent> {
    for (let i = 0; i < this.count; i++) {
      const offsetBytes = this.#starts[i]!;
      yield { offsetBytes, lengthBytes: this.#ends[i]! - offsetBytes };
    }
  }

  /** Replaces `count` extents from `index` on, and keeps the total. */
  #splice(index: number, count: number, starts: readonly number[], ends: readonly number[]): void {
    for (let i = index; i < index + count; i++) {
      this.#totalBytes -= this.#ends[i]! - this.#starts[i]!;
    }
    for (let i = 0; i < starts.length; i++) this.#totalBytes += ends[i]! - starts[i]!;
    this.#starts.splice(index, count, ...starts);
    this.#ends.splice(index, count, ...ends);
  }
}

function checkedEnd(offsetBytes: number, lengthBytes: number): number {
  const end = offsetBytes + lengthBytes;
  // The messages are made only in case of need: this runs for every call.
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) fail(`bad offset: ${offsetBytes}`);
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0) fail(`bad length: ${lengthBytes}`);
  if (!Number.isSafeInteger(end)) fail(`the extent ends beyond 2^53: ${offsetBytes}`);
  return end;
}

/** The first index whose value is at least `wanted`; values ascend. */
function lowerBound(values: readonly number[], wanted: number): number {
  let low = 0;
  let high = values.length;
  if (high > 0 && values[high - 1]! < wanted) return high; // Appending: the common case.
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (values[middle]! < wanted) low = middle + 1;
    else high = middle;
  }
  return low;
}
