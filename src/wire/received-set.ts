/** Numbers that have been seen: all up to one, and some of those that follow. */
import { UNACKNOWLEDGED_MAX } from './limits.ts';
import { forEachLater, type Received } from './messages/index.ts';

export class ReceivedSet {
  #cumulative: number;
  readonly #later = new Set<number>();

  constructor(from?: Received) {
    this.#cumulative = from?.cumulative ?? 0;
    if (from === undefined) return;
    forEachLater(from, (sequence) => this.add(sequence));
  }

  get cumulative(): number {
    return this.#cumulative;
  }

  has(sequence: number): boolean {
    return sequence <= this.#cumulative || this.#later.has(sequence);
  }

  /** Whether an honest sender, which has `UNACKNOWLEDGED_MAX` under way, may send it now. */
  isInWindow(sequence: number): boolean {
    return sequence <= this.#cumulative + UNACKNOWLEDGED_MAX;
  }

  add(sequence: number): void {
    if (sequence <= this.#cumulative) return;
    if (sequence !== this.#cumulative + 1) {
      this.#later.add(sequence);
      return;
    }
    this.#cumulative = sequence;
    this.#advance();
  }

  /** Those below `sequence` will never come. */
  skipTo(sequence: number): void {
    if (sequence - 1 <= this.#cumulative) return;
    this.#cumulative = sequence - 1;
    for (const later of this.#later) if (later <= this.#cumulative) this.#later.delete(later);
    this.#advance();
  }

  /** As it travels in an ACK. */
  snapshot(): Received {
    let last = 0;
    for (const sequence of this.#later) last = Math.max(last, sequence);
    const bits = Math.max(0, last - this.#cumulative - 1);
    const later = new Uint8Array(Math.ceil(bits / 8));
    for (const sequence of this.#later) {
      const at = sequence - this.#cumulative - 2;
      later[at >> 3]! |= 1 << (at & 7);
    }
    return { cumulative: this.#cumulative, later };
  }

  #advance(): void {
    while (this.#later.delete(this.#cumulative + 1)) this.#cumulative += 1;
  }
}
