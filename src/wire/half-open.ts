/** Connections that have not said who they are: bounded; one too many ends the oldest. */
import type { Stream } from '../core/index.ts';
import { HALF_OPEN_MAX } from './limits.ts';

/**
 * The oldest goes, since an honest peer needs a few round trips only, and one that holds its
 * connections open must not lock it out.
 */
export class HalfOpen {
  readonly #streams = new Set<Stream>();
  readonly #countMax: number;
  /** How many were ended to make room. */
  endedCount = 0;

  constructor(countMax = HALF_OPEN_MAX) {
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#streams.size;
  }

  add(stream: Stream): void {
    for (const oldest of this.#streams) {
      if (this.#streams.size < this.#countMax) break;
      this.#streams.delete(oldest);
      this.endedCount += 1;
      oldest.destroy();
    }
    this.#streams.add(stream);
  }

  remove(stream: Stream): void {
    this.#streams.delete(stream);
  }

  clear(): void {
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
  }
}
