/** Epochs of one volume: what is being marked, what was cut, and for whom it is kept. */
import type { Env } from '../../core/index.ts';
import { TrackError } from '../errors.ts';
import type { Cursors } from './cursors.ts';
import { DirtyMap, type PageBudget } from './dirty-map.ts';
import { PINS_MAX } from './limits.ts';
import { readSet, setName, writeSet } from './set-file.ts';
import type { Shape } from './shape.ts';
import type { Sealed } from './state.ts';

/** The end of an epoch, and the beginning of the next. Disposed when nobody will acknowledge it. */
export interface Cut extends AsyncDisposable {
  /** The epoch that began with it: what is asked for, or acknowledged, counts from here. */
  readonly epoch: number;
  /** Settles when what was changed before is in a durable set; rejects if it could not be kept. */
  readonly sealed: Promise<void>;
}

/** Blocks of a write on its way to the device. */
export type Flight = {
  readonly first: number;
  readonly last: number;
  readonly landed: Promise<unknown>;
};

/** One of the flights that concern blocks [first, last], if there is any. */
export function overlapping(
  flights: Iterable<Flight>,
  first: number,
  last: number,
): Flight | undefined {
  for (const flight of flights) if (flight.first <= last && first <= flight.last) return flight;
  return undefined;
}

export type EpochsOptions = {
  readonly env: Env;
  readonly directory: string;
  readonly shape: Shape;
  readonly budget: PageBudget;
  readonly active: DirtyMap;
  readonly epoch: number;
  readonly cursors: Cursors;
  /** Makes cursors, sealed sets and the durable epoch durable as they are now. */
  readonly save: () => Promise<void>;
};

type Unsealed = { from: number; readonly to: number; map: DirtyMap };

export class Epochs {
  readonly #options: EpochsOptions;
  readonly #cursors: Cursors;
  /** Of the epochs [#activeFrom, #epoch]. */
  #active: DirtyMap;
  #activeFrom: number;
  #epoch: number;
  /** Cut, and not yet in a durable set; oldest first. */
  readonly #unsealed: Unsealed[] = [];
  /** One at a time touches the files of sets. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: EpochsOptions) {
    this.#options = options;
    this.#cursors = options.cursors;
    this.#active = options.active;
    this.#epoch = options.epoch;
    this.#activeFrom = options.epoch;
  }

  /** What writes are marked in. */
  get active(): DirtyMap {
    return this.#active;
  }

  get current(): number {
    return this.#epoch;
  }

  /** The first epoch that is in no durable set. */
  get durable(): number {
    return this.#unsealed[0]?.from ?? this.#activeFrom;
  }

  /** A page that is written now would be lost with the epoch that is being sealed. */
  get isSealing(): boolean {
    return this.#unsealed.length > 0;
  }

  /** Settles when every cut until now is sealed, or could not be. */
  async settled(): Promise<void> {
    await this.#queue;
  }

  /** All marks that are in no durable set; a map of its own while a cut is being sealed. */
  unsealed(budget: PageBudget): DirtyMap {
    if (!this.isSealing) return this.#active;
    const all = new DirtyMap(this.#options.shape, budget);
    for (const { map } of this.#unsealed) all.union(map);
    all.union(this.#active);
    return all;
  }

  /** At once: what is marked later belongs to the next epoch, what is in flight to both. */
  cut(flights: Iterable<Flight>): Cut {
    if (this.#cursors.pinCount >= PINS_MAX) {
      const hint = 'Wait until some of the backups that run have ended.';
      throw new TrackError('TRACK_BUSY', `${PINS_MAX} cuts of it are in use`, { hint });
    }
    const { shape, budget } = this.#options;
    const unsealed = { from: this.#activeFrom, to: this.#epoch, map: this.#active };
    this.#unsealed.push(unsealed);
    this.#epoch++;
    this.#activeFrom = this.#epoch;
    this.#active = new DirtyMap(shape, budget);
    for (const { first, last } of flights) this.#active.mark(first, last);
    const epoch = this.#epoch;
    this.#cursors.pin(epoch);
    const sealed = this.#inTurn(() => this.#seal(unsealed));
    sealed.catch(() => undefined); // Told to those who wait for this cut.
    let release: Promise<void> | undefined;
    return {
      epoch,
      sealed,
      [Symbol.asyncDispose]: () => {
        release ??= this.#release(epoch);
        return release;
      },
    };
  }

  /**
   * What changed from the beginning of `epoch` to a sealed cut, or without `until` up to now;
   * undefined if it is not known so far back. The caller releases the map.
   */
  changes(epoch: number, until?: number): Promise<DirtyMap | undefined> {
    return this.#inTurn(async () => {
      const { shape, budget } = this.#options;
      const chain = this.#cursors.chain(epoch, until ?? this.durable);
      if (chain === undefined) return undefined;
      const all = new DirtyMap(shape, budget);
      for (const sealed of chain) {
        const map = await this.#read(sealed);
        all.union(map);
        map.release();
      }
      if (until === undefined) {
        for (const { map } of this.#unsealed) all.union(map);
        all.union(this.#active);
      }
      return all;
    });
  }

  /** Removes what nobody will ask for, once that is durable. */
  tidy(): Promise<void> {
    return this.#inTurn(async () => {
      const gone = this.#cursors.tidy();
      if (gone.length === 0) return;
      await this.#options.save();
      for (const sealed of gone) await this.#remove(sealed);
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#queue.then(work);
    this.#queue = mine.catch(() => undefined); // Told to whoever asked for it.
    return mine;
  }

  #read(sealed: Sealed): Promise<DirtyMap> {
    const { env, directory, shape, budget } = this.#options;
    return readSet(env, directory, sealed, shape, budget);
  }

  async #release(epoch: number): Promise<void> {
    await this.settled(); // A set that is being written ends at this border.
    this.#cursors.unpin(epoch);
    await this.tidy();
  }

  async #seal(unsealed: Unsealed): Promise<void> {
    const { env, directory } = this.#options;
    try {
      const { sealed, map, old } = await this.#merged(unsealed);
      await writeSet(env, directory, sealed, map);
      if (map !== unsealed.map) map.release();
      this.#cursors.seal(sealed);
      this.#unsealed.shift();
      await this.#options.save();
      unsealed.map.release();
      if (old !== undefined) await this.#remove(old);
    } catch (error) {
      this.#takeBack(unsealed);
      throw error;
    }
  }

  /** With the set before, if nobody stands between the two. */
  async #merged({ from, to, map }: Unsealed) {
    const old = this.#cursors.joins(from);
    if (old === undefined) return { sealed: { from, to }, map, old };
    const all = await this.#read(old);
    all.union(map);
    return { sealed: { from: old.from, to }, map: all, old };
  }

  /** The epoch was not sealed: it goes on, in one with the next. */
  #takeBack(unsealed: Unsealed): void {
    if (this.#unsealed[0] !== unsealed) return; // In a durable set, and only its state is not.
    this.#unsealed.shift();
    const next = this.#unsealed[0];
    if (next === undefined) {
      unsealed.map.union(this.#active);
      this.#active.release();
      this.#active = unsealed.map;
      this.#activeFrom = unsealed.from;
    } else {
      unsealed.map.union(next.map);
      next.map.release();
      next.map = unsealed.map;
      next.from = unsealed.from;
    }
  }

  async #remove(sealed: Sealed): Promise<void> {
    await this.#options.env.files.remove(`${this.#options.directory}/${setName(sealed)}`);
  }
}
