/** Which regions may be written without asking: an activity log, the least recently used goes. */
import { HOT_REGIONS_MAX, REGIONS_CLEANED_AT_ONCE } from './limits.ts';

/** Not marked; being marked durably; marked. */
const COLD = 0;
const WARMING = 1;
const HOT = 2;

export class Regions {
  readonly #states: Uint8Array;
  /** The tick of the last write; only of hot regions. */
  readonly #stamps: Uint32Array;
  readonly #hot = new Set<number>();
  /** With the number of the call that began it: a later one may not be durable yet. */
  readonly #warming = new Map<number, number>();
  #calls = 0;
  /** Moved by whoever has a clock. */
  tick = 0;

  constructor(regionCount: number) {
    this.#states = new Uint8Array(regionCount);
    this.#stamps = new Uint32Array(regionCount);
  }

  /** Whether all regions of [first, last] are hot, which they then stay for this tick. */
  touch(first: number, last: number): boolean {
    for (let region = first; region <= last; region++) {
      if (this.#states[region] !== HOT) return false;
      this.#stamps[region] = this.tick;
    }
    return true;
  }

  /**
   * The cold ones of [first, last], which are to be marked durably, with all that was begun before;
   * then `marked` is called with the same number.
   */
  warm(first: number, last: number): { readonly call: number; readonly cold: number[] } {
    const call = ++this.#calls;
    const cold: number[] = [];
    for (let region = first; region <= last; region++) {
      if (this.#states[region] !== COLD) continue;
      this.#states[region] = WARMING;
      this.#warming.set(region, call);
      cold.push(region);
    }
    return { call, cold };
  }

  /** What has been warming since that call or an earlier one is durable. */
  marked(call: number): void {
    for (const [region, begun] of this.#warming) {
      if (begun > call) break; // In the order in which they were begun.
      this.#states[region] = HOT;
      this.#stamps[region] = this.tick;
      this.#warming.delete(region);
      this.#hot.add(region);
    }
  }

  clean(region: number): void {
    this.#states[region] = COLD;
    this.#hot.delete(region);
  }

  get hotCount(): number {
    return this.#hot.size;
  }

  /** Hot and warming ones: all that a log must name. */
  *marks(): Generator<number> {
    yield* this.#hot;
    yield* this.#warming.keys();
  }

  /** Not written since `tick`. */
  idleSince(tick: number): number[] {
    return [...this.#hot].filter((region) => this.#stamps[region]! <= tick);
  }

  /** So many of the least recently used that there is room again; none that were just used. */
  tooMany(): number[] {
    if (this.#hot.size <= HOT_REGIONS_MAX) return [];
    const count = this.#hot.size - HOT_REGIONS_MAX + REGIONS_CLEANED_AT_ONCE;
    const byUse = [...this.#hot].sort((a, b) => this.#stamps[a]! - this.#stamps[b]!);
    return byUse.slice(0, count);
  }
}
