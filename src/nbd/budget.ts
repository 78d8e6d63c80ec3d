/** The memory that all connections of a server may hold together. */
import { SERVER_HELD_BYTES_MAX } from './limits.ts';

export class Budget {
  readonly #maxBytes: number;
  readonly #waiting = new Set<() => void>();
  #isWaking = false;
  #isMoreFree = false;
  heldBytes = 0;

  constructor(maxBytes = SERVER_HELD_BYTES_MAX) {
    this.#maxBytes = maxBytes;
  }

  get isContended(): boolean {
    return this.#waiting.size > 0;
  }

  hasRoomFor(lengthBytes: number): boolean {
    // What is longer than the whole budget gets its turn when nobody holds anything.
    return this.heldBytes === 0 || this.heldBytes + lengthBytes <= this.#maxBytes;
  }

  hold(lengthBytes: number): void {
    this.heldBytes += lengthBytes;
  }

  release(lengthBytes: number): void {
    this.heldBytes -= lengthBytes;
    this.#isMoreFree = true;
    if (this.#waiting.size > 0 && !this.#isWaking) this.#wake();
  }

  /** Who goes on may release in turn: a loop, as thousands may wait. */
  #wake(): void {
    this.#isWaking = true;
    try {
      while (this.#isMoreFree && this.#waiting.size > 0) {
        this.#isMoreFree = false;
        const waiting = [...this.#waiting];
        this.#waiting.clear();
        for (const goOn of waiting) goOn();
      }
    } finally {
      this.#isWaking = false;
    }
  }

  /** Calls `goOn` once when something was released. */
  wait(goOn: () => void): void {
    this.#waiting.add(goOn);
  }

  forget(goOn: () => void): void {
    this.#waiting.delete(goOn);
  }
}
