/** Memory that is used again: fresh memory costs page faults, dead memory has to be collected. */

export class SpareMemory {
  readonly #keptBytesMax: number;
  readonly #free: Uint8Array[] = [];
  #freeBytes = 0;

  constructor(keptBytesMax: number) {
    this.#keptBytesMax = keptBytesMax;
  }

  /** At least so many bytes, whatever they are; to be given back, or let go. */
  take(lengthBytes: number): Uint8Array {
    const at = this.#free.findLastIndex((memory) => memory.byteLength >= lengthBytes);
    if (at === -1) return new Uint8Array(lengthBytes);
    const [memory] = this.#free.splice(at, 1);
    this.#freeBytes -= memory!.byteLength;
    return memory!;
  }

  /** What `take` answered, and nobody looks at any more. */
  give(memory: Uint8Array): void {
    if (this.#freeBytes + memory.byteLength > this.#keptBytesMax) return;
    this.#free.push(memory);
    this.#freeBytes += memory.byteLength;
  }
}
