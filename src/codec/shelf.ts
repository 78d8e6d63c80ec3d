/** Copies for a short while, in memory that is used again. */

/** A slab holds a chunk of any size. */
const SLAB_BYTES = 1024 * 1024;

/** Kept from one use to the next; what a job with more needed goes back to the system. */
const SLABS_KEPT_MAX = 2;

export class Shelf {
  readonly #slabs: Uint8Array[] = [];
  #slab = 0;
  #usedBytes = 0;

  /** A copy of at most a MiB that is valid until `clear`. */
  put(bytes: Uint8Array): Uint8Array {
    if (this.#usedBytes + bytes.byteLength > SLAB_BYTES) {
      this.#slab++;
      this.#usedBytes = 0;
    }
    this.#slabs[this.#slab] ??= new Uint8Array(SLAB_BYTES);
    const from = this.#usedBytes;
    this.#usedBytes += bytes.byteLength;
    const copy = this.#slabs[this.#slab]!.subarray(from, this.#usedBytes);
    copy.set(bytes);
    return copy;
  }

  clear(): void {
    if (this.#slabs.length > SLABS_KEPT_MAX) this.#slabs.length = SLABS_KEPT_MAX;
    this.#slab = 0;
    this.#usedBytes = 0;
  }
}
