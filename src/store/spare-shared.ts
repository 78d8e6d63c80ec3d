/**
 * Shared memory that is used again, in few sizes: what is let go of instead would stay until the
 * next collection of garbage, which no amount of it brings on.
 */
import assert from 'node:assert/strict';

export class SpareShared {
  readonly #sizes: readonly number[];
  readonly #free: readonly SharedArrayBuffer[][];

  /** `sizes` ascending: the last one is the longest there is. */
  constructor(sizes: readonly number[]) {
    this.#sizes = sizes;
    this.#free = sizes.map(() => []);
  }

  /** At least so many bytes, whatever they are; to be given back. */
  take(lengthBytes: number): SharedArrayBuffer {
    const at = this.#sizes.findIndex((size) => size >= lengthBytes);
    assert(at !== -1, `${lengthBytes} bytes in one piece`);
    return this.#free[at]!.pop() ?? new SharedArrayBuffer(this.#sizes[at]!);
  }

  /** What `take` answered, and nobody looks at any more. */
  give(memory: SharedArrayBuffer): void {
    this.#free[this.#sizes.indexOf(memory.byteLength)]!.push(memory);
  }
}
