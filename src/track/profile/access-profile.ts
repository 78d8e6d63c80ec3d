/**
 * Where a volume is read and written: counts that halve with time, for the hottest regions one by
 * one, for all others in a sketch (Roy, Khan and Alonso, "Augmented Sketch", 2016).
 */
import type { Clock, Timer } from '../../core/index.ts';
import {
  END_AT,
  FIELDS,
  KnownRegions,
  LAST_READ_AT,
  LAST_WRITE_AT,
  READS_AT,
  READS_DOUBT_AT,
  SEQUENTIAL_AT,
  WRITES_AT,
  WRITES_DOUBT_AT,
} from './known-regions.ts';
import { HALF_LIFE_SECONDS, HALF_LIVES_PER_SCALE, PROFILE_TICK_MS } from './limits.ts';
import { type ProfileShape, profileShapeOf } from './profile-shape.ts';
import { type Kind, READS, Sketch, WRITES } from './sketch.ts';
import { Totals } from './totals.ts';
import { WorkingSet } from './working-set.ts';

/** What is known of one region; counts have decayed until now. */
export type RegionAccess = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Never too low; too high by at most the doubt. */
  readonly reads: number;
  readonly readsDoubt: number;
  readonly writes: number;
  readonly writesDoubt: number;
  /** Of the accesses that were counted one by one, those that began where one had ended. */
  readonly sequentialShare: number;
  /** Undefined: never, or before it was counted one by one. */
  readonly sinceReadSeconds: number | undefined;
  readonly sinceWriteSeconds: number | undefined;
};

export type Heat = 'reads' | 'writes' | 'accesses';

/** Of one profile, as it goes to a file and comes from there. */
export type ProfileParts = {
  readonly shape: ProfileShape;
  readonly known: KnownRegions;
  readonly sketch: Sketch | undefined;
  readonly workingSet: WorkingSet;
  readonly totals: Totals;
  /** The profile's own time, from 1. */
  readonly second: number;
  /** When an access weighed 1. It weighs more later, which is as if earlier ones had decayed. */
  readonly landmarkSecond: number;
};

/** All counts of a volume that nobody has accessed yet. */
export function emptyParts(sizeBytes: number): ProfileParts {
  const shape = profileShapeOf(sizeBytes);
  const known = new KnownRegions(shape);
  // A sketch is for what finds no place in the table.
  const sketch = shape.regionCount > known.keys.length ? new Sketch() : undefined;
  const [workingSet, totals] = [new WorkingSet(shape), new Totals()];
  return { shape, known, sketch, workingSet, totals, second: 1, landmarkSecond: 1 };
}

/** Weights grow by 2^(t / half-life): forward decay (Cormode and others, 2009). */
export class AccessProfile implements Disposable {
  readonly #clock: Clock;
  readonly #shape: ProfileShape;
  readonly #known: KnownRegions;
  readonly #sketch: Sketch | undefined;
  readonly #workingSet: WorkingSet;
  readonly #totals: Totals;
  readonly #regionBytes: number;
  /** The clock when the profile had the second `#beganSecond`. */
  readonly #beganMs: number;
  readonly #beganSecond: number;
  #second: number;
  #landmarkSecond: number;
  #weight = 1;
  /** The clock has not been looked at for a tick: nobody waits for that where nothing happens. */
  #isStale = true;
  #timer: Timer | undefined;

  constructor(clock: Clock, parts: ProfileParts) {
    this.#clock = clock;
    this.#shape = parts.shape;
    this.#known = parts.known;
    this.#sketch = parts.sketch;
    this.#workingSet = parts.workingSet;
    this.#totals = parts.totals;
    this.#regionBytes = parts.shape.regionBytes;
    this.#beganMs = clock.monotonicMs();
    this.#beganSecond = parts.second;
    this.#second = parts.second;
    this.#landmarkSecond = parts.landmarkSecond;
    this.#look();
  }

  /** A read of at least one byte. */
  read(offsetBytes: number, lengthBytes: number): void {
    this.#count(READS, offsetBytes, lengthBytes);
  }

  /** A write of at least one byte. Zeroes and discards are no accesses: nothing is moved. */
  written(offsetBytes: number, lengthBytes: number): void {
    this.#count(WRITES, offsetBytes, lengthBytes);
  }

  /** Requests since the profile began, without decay: whether anything is new. */
  get requestCount(): number {
    return this.#totals.requestCount;
  }

  get regionBytes(): number {
    return this.#regionBytes;
  }

  get regionCount(): number {
    return this.#shape.regionCount;
  }

  /** Known regions, hottest first. Whatever is hotter than the last is among them but by chance. */
  hottest(count: number, by: Heat): RegionAccess[] {
    this.#look();
    const { entries } = this.#known;
    const heat = (slot: number) => {
      if (by === 'accesses') return this.#known.heat(slot);
      return entries[slot * FIELDS + (by === 'reads' ? READS_AT : WRITES_AT)]!;
    };
    return [...this.#known.slots()]
      .filter((slot) => heat(slot) > 0)
      .sort((a, b) => heat(b) - heat(a) || this.#known.keys[a]! - this.#known.keys[b]!)
      .slice(0, count)
      .map((slot) => this.#access(this.#known.keys[slot]!, slot));
  }

  /** What is known of one region, or thought. */
  region(region: number): RegionAccess {
    this.#look();
    return this.#access(region, this.#known.find(region));
  }

  /**
   * With what probability a region is written within so long, if writes come as they have of late,
   * each for itself (a Poisson process). An upper bound for regions that only the sketch knows.
   */
  writtenWithin(region: number, seconds: number): number {
    this.#look();
    const slot = this.#known.find(region);
    const sum = slot < 0 ? this.#unknown(region, WRITES) : this.#sum(slot, WRITES_AT);
    // So much of the weight of an endless past there has been.
    const watched = 1 - 2 ** (-this.watchedSeconds / HALF_LIFE_SECONDS);
    const perSecond = (sum * Math.LN2) / (HALF_LIFE_SECONDS * watched);
    return -Math.expm1(-perSecond * seconds);
  }

  /** How long there has been a profile; at least a second. */
  get watchedSeconds(): number {
    return Math.max(1, this.#second - 1);
  }

  /** Of all regions together; decayed. */
  totals(): ReturnType<Totals['decayed']> {
    this.#look();
    return this.#totals.decayed(this.#weight);
  }

  /** Bytes in regions that were accessed, or written, within so long. */
  workingSet(seconds: number): { readonly accessedBytes: number; readonly writtenBytes: number } {
    this.#look();
    return this.#workingSet.since(this.#second - seconds);
  }

  /** Borrowed, to be written in the same step. */
  parts(): ProfileParts {
    this.#look();
    return {
      shape: this.#shape,
      known: this.#known,
      sketch: this.#sketch,
      workingSet: this.#workingSet,
      totals: this.#totals,
      second: this.#second,
      landmarkSecond: this.#landmarkSecond,
    };
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
  }

  #count(kind: Kind, offsetBytes: number, lengthBytes: number): void {
    if (this.#isStale) this.#look();
    const known = this.#known;
    const first = Math.floor(offsetBytes / this.#regionBytes);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / this.#regionBytes);
    let slot = known.find(first);
    const isSequential = this.#follows(offsetBytes, first, slot);
    for (let region = first; ; ) {
      if (slot < 0) slot = this.#admit(region, kind);
      else known.entries[slot * FIELDS + kind]! += this.#weight;
      if (slot >= 0) {
        const at = slot * FIELDS;
        known.entries[at + LAST_READ_AT + kind] = this.#second;
        if (isSequential) known.entries[at + SEQUENTIAL_AT]! += this.#weight;
      }
      this.#workingSet.touch(region, kind, this.#second);
      if (region === last) break;
      slot = known.find(++region);
    }
    if (slot >= 0) known.entries[slot * FIELDS + END_AT] = offsetBytes + lengthBytes;
    this.#totals.add(kind, lengthBytes, isSequential, this.#weight);
  }

  /** Whether an access ended where this one begins: in the same region, or in the one before. */
  #follows(offsetBytes: number, region: number, slot: number): boolean {
    if (offsetBytes === 0) return false;
    const isInside = offsetBytes % this.#regionBytes !== 0;
    const found = isInside ? slot : this.#known.find(region - 1);
    return found >= 0 && this.#known.entries[found * FIELDS + END_AT] === offsetBytes;
  }

  /**
   * Counts an access of a region that is not known: its slot, if it is now. It takes the place of
   * one that has fewer accesses, whose counts go to the sketch; what the sketch says of itself
   * comes along, as doubt.
   */
  #admit(region: number, kind: Kind): number {
    const known = this.#known;
    const free = known.free(region);
    if (free >= 0) {
      known.put(free, region);
      known.entries[free * FIELDS + kind] = this.#weight;
      return free;
    }
    const sketch = this.#sketch!;
    sketch.add(region, kind, this.#weight);
    const reads = sketch.estimate(region, READS);
    const writes = sketch.estimate(region, WRITES);
    const slot = known.weakest(region);
    if (reads + writes <= known.heat(slot)) return -1;
    const { keys, entries } = known;
    const at = slot * FIELDS;
    const old = keys[slot]!;
    const oldReads = entries[at + READS_AT]! - entries[at + READS_DOUBT_AT]!;
    const oldWrites = entries[at + WRITES_AT]! - entries[at + WRITES_DOUBT_AT]!;
    if (oldReads > 0) sketch.add(old, READS, oldReads);
    if (oldWrites > 0) sketch.add(old, WRITES, oldWrites);
    known.put(slot, region);
    entries[at + READS_AT] = entries[at + READS_DOUBT_AT] = reads;
    entries[at + WRITES_AT] = entries[at + WRITES_DOUBT_AT] = writes;
    return slot;
  }

  #access(region: number, slot: number): RegionAccess {
    const offsetBytes = region * this.#regionBytes;
    const lengthBytes = Math.min(this.#regionBytes, this.#shape.sizeBytes - offsetBytes);
    if (slot < 0) {
      const [reads, writes] = [this.#unknown(region, READS), this.#unknown(region, WRITES)];
      const doubt = { readsDoubt: reads, writesDoubt: writes, sequentialShare: 0 };
      const since = { sinceReadSeconds: undefined, sinceWriteSeconds: undefined };
      return { offsetBytes, lengthBytes, reads, writes, ...doubt, ...since };
    }
    const reads = this.#sum(slot, READS_AT);
    const writes = this.#sum(slot, WRITES_AT);
    const readsDoubt = this.#sum(slot, READS_DOUBT_AT);
    const writesDoubt = this.#sum(slot, WRITES_DOUBT_AT);
    const counted = reads + writes - readsDoubt - writesDoubt;
    const sequential = this.#sum(slot, SEQUENTIAL_AT);
    return {
      ...{ offsetBytes, lengthBytes, reads, readsDoubt, writes, writesDoubt },
      sequentialShare: counted > 0 ? Math.min(1, sequential / counted) : 0,
      sinceReadSeconds: this.#since(slot, LAST_READ_AT),
      sinceWriteSeconds: this.#since(slot, LAST_WRITE_AT),
    };
  }

  #sum(slot: number, field: number): number {
    return this.#known.entries[slot * FIELDS + field]! / this.#weight;
  }

  #since(slot: number, field: number): number | undefined {
    const second = this.#known.entries[slot * FIELDS + field]!;
    return second === 0 ? undefined : this.#second - second;
  }

  #unknown(region: number, kind: Kind): number {
    return (this.#sketch?.estimate(region, kind) ?? 0) / this.#weight;
  }

  /** Looks at the clock; again a tick later, if there is an access then. */
  #look(): void {
    const passedMs = this.#clock.monotonicMs() - this.#beganMs;
    this.#second = this.#beganSecond + Math.floor(passedMs / 1000);
    const halfLives = (this.#second - this.#landmarkSecond) / HALF_LIFE_SECONDS;
    if (halfLives >= HALF_LIVES_PER_SCALE) this.#scale(2 ** -halfLives);
    else this.#weight = 2 ** halfLives;
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#timer = this.#clock.after(PROFILE_TICK_MS, () => {
      this.#isStale = true;
    });
  }

  #scale(factor: number): void {
    this.#known.scale(factor);
    this.#sketch?.scale(factor);
    this.#totals.scale(factor);
    this.#landmarkSecond = this.#second;
    this.#weight = 1;
  }
}
