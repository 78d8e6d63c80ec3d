/** Who has seen what: durable positions of the consumers of one volume's changes. */
import type { CannotSayReason } from '../change-source.ts';
import { BROKEN_MAX, CONSUMERS_MAX, EPOCHS_BEHIND_MAX } from './limits.ts';
import type { Broken, Cursor, Sealed } from './state.ts';

export type Lost = { readonly reason: CannotSayReason; readonly why: string };

/**
 * Pure bookkeeping, so that it can be model-checked. Sealed sets are a chain without gaps, from the
 * oldest cursor to the active epoch; a border between two of them stays as long as a cursor or an
 * open cut stands on it.
 */
export class Cursors {
  readonly #cursors = new Map<string, Cursor>();
  readonly #broken = new Map<string, Broken>();
  /** Cuts that were handed out and not yet released, by the epoch that they began. */
  readonly #pins = new Map<number, number>();
  #sealed: Sealed[];

  constructor(cursors: Iterable<Cursor>, sealed: Iterable<Sealed>, broken: Iterable<Broken>) {
    for (const cursor of cursors) this.#cursors.set(cursor.consumer, cursor);
    for (const one of broken) this.#broken.set(one.consumer, one);
    this.#sealed = [...sealed];
  }

  get sealed(): readonly Sealed[] {
    return this.#sealed;
  }

  all(): Cursor[] {
    return [...this.#cursors.values()];
  }

  broken(): Broken[] {
    return [...this.#broken.values()];
  }

  get(consumer: string): Cursor | undefined {
    return this.#cursors.get(consumer);
  }

  whyBroken(consumer: string): Lost | undefined {
    return this.#broken.get(consumer);
  }

  get pinCount(): number {
    let count = 0;
    for (const pins of this.#pins.values()) count += pins;
    return count;
  }

  pin(epoch: number): void {
    this.#pins.set(epoch, (this.#pins.get(epoch) ?? 0) + 1);
  }

  unpin(epoch: number): void {
    const count = this.#pins.get(epoch) ?? 0;
    if (count > 1) this.#pins.set(epoch, count - 1);
    else this.#pins.delete(epoch);
  }

  /** Moves one consumer, and nobody else; the one that is furthest behind may have to go. */
  move(cursor: Cursor): void {
    this.#cursors.delete(cursor.consumer);
    this.#broken.delete(cursor.consumer);
    if (this.#cursors.size >= CONSUMERS_MAX) {
      const last = this.all().reduce((a, b) => (b.epoch < a.epoch ? b : a));
      this.#leave(last.consumer, `more than ${CONSUMERS_MAX} follow the volume's changes`);
    }
    this.#cursors.set(cursor.consumer, cursor);
  }

  forget(consumer: string): void {
    this.#cursors.delete(consumer);
    this.#broken.delete(consumer);
  }

  /** Nothing that anybody knew can be built upon any more. */
  breakAll({ reason, why }: Lost): void {
    for (const { consumer } of this.all()) this.#break({ consumer, reason, why });
    this.#sealed = [];
  }

  /** Those who have waited through too many cuts. */
  leaveBehind(epoch: number): void {
    for (const cursor of this.all()) {
      if (epoch - cursor.epoch <= EPOCHS_BEHIND_MAX) continue;
      this.#leave(cursor.consumer, `it has missed ${epoch - cursor.epoch} cuts`);
    }
  }

  /** Whether somebody may ask for what changed from the beginning of `epoch`. */
  isNeeded(epoch: number): boolean {
    return this.#pins.has(epoch) || this.all().some((cursor) => cursor.epoch === epoch);
  }

  /** The set that a new one, from `epoch` on, is to be merged with: nobody stands between them. */
  joins(epoch: number): Sealed | undefined {
    const last = this.#sealed.at(-1);
    return last !== undefined && !this.isNeeded(epoch) ? last : undefined;
  }

  /** A new set ends the chain; `from` may be that of the set it was merged with. */
  seal({ from, to }: Sealed): void {
    this.#sealed = [...this.#sealed.filter((set) => set.to < from), { from, to }];
  }

  /** The chain from `epoch` up to `until`; undefined if it does not reach so far back. */
  chain(epoch: number, until: number): readonly Sealed[] | undefined {
    const chain = this.#sealed.filter((set) => set.from >= epoch && set.to < until);
    if (epoch === until) return [];
    const ends = chain.at(-1)?.to === until - 1;
    return chain[0]?.from === epoch && ends ? chain : undefined;
  }

  /** Drops the sets that nobody will ask for; answers them. */
  tidy(): Sealed[] {
    const needed = [...this.#pins.keys(), ...this.all().map((cursor) => cursor.epoch)];
    const oldest = Math.min(...needed, Number.POSITIVE_INFINITY);
    const gone = this.#sealed.filter((set) => set.to < oldest);
    this.#sealed = this.#sealed.filter((set) => set.to >= oldest);
    return gone;
  }

  #leave(consumer: string, how: string): void {
    this.#break({ consumer, reason: 'fell-behind', why: `the tracker gave it up: ${how}` });
  }

  #break(broken: Broken): void {
    this.#cursors.delete(broken.consumer);
    this.#broken.delete(broken.consumer);
    this.#broken.set(broken.consumer, broken);
    for (const consumer of this.#broken.keys()) {
      if (this.#broken.size <= BROKEN_MAX) break;
      this.#broken.delete(consumer);
    }
  }
}
