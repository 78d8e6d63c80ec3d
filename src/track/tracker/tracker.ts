/** The tracker of one volume: marks before writes, durably; cuts; and who has seen what. */
import assert from 'node:assert/strict';
import { type Env, type FileLock, hasCode, toHex } from '../../core/index.ts';
import { TrackError } from '../errors.ts';
import { Cursors, type Lost } from './cursors.ts';
import { type DirtyMap, type EmptyKind, PageBudget } from './dirty-map.ts';
import { type Cut, Epochs, type Flight } from './epochs.ts';
import {
  CONSUMER_NAME_BYTES_MAX,
  PAGE_BYTES_MIN,
  PAGE_BYTES_PER_VOLUME_BYTE,
  REGION_IDLE_MS,
  TICK_MS,
} from './limits.ts';
import { type Loaded, load } from './load.ts';
import {
  encodeHot,
  encodeJson,
  encodePage,
  FILE_LOG,
  RECORD_HOT,
  RECORD_PAGE,
  RECORD_STATE,
  RECORD_STILL,
  type Record,
} from './record.ts';
import { RecordLog } from './record-log.ts';
import { Regions } from './regions.ts';
import { mapRecords, marksOf, setName } from './set-file.ts';
import { type Shape, shapeOf } from './shape.ts';
import type { Cursor, Identity, TrackerState } from './state.ts';

export type TrackerOptions = {
  /** Exists; belongs to this volume alone. */
  readonly directory: string;
  readonly volume: string;
  readonly sizeBytes: number;
  /** What the source looks like now; undefined where nothing can be told. */
  readonly identify: () => Promise<Identity | undefined>;
};

/** What a consumer holds once it has taken everything up to a cut. */
export type Holding = { readonly snapshot: string | null; readonly digest: string | null };

/** Of the files in which moments keep what is overwritten. */
export const MOMENT_PREFIX = 'moment-';

const LOG_NAME = 'log';
const LOCK_NAME = 'lock';
const ID_BYTES = 16;
const IDLE_TICKS = REGION_IDLE_MS / TICK_MS;

type Opened = {
  readonly lock: FileLock;
  readonly shape: Shape;
  readonly source: Identity | undefined;
  readonly budget: PageBudget;
  readonly loaded: Loaded;
};

export class Tracker implements AsyncDisposable {
  readonly volume: string;
  readonly shape: Shape;
  /** New whenever what came before could not be vouched for. */
  readonly id: string;
  /** Why somebody without a cursor can be told nothing. */
  readonly began: Lost;
  /** After a crash: so many regions count as changed as a whole. */
  readonly unsureRegions: number;
  readonly #env: Env;
  readonly #options: TrackerOptions;
  readonly #source: Identity | undefined;
  readonly #regions: Regions;
  readonly #log: RecordLog;
  readonly #lock: FileLock;
  readonly #cursors: Cursors;
  readonly #epochs: Epochs;
  readonly #flights = new Set<Flight>();
  /** What the source looked like, as long as nothing has been marked since. */
  #still: Identity | null | undefined;
  #isTicking = false;
  #abandoned: TrackError | undefined;
  #closing: Promise<void> | undefined;

  /** TRACK_BUSY if another process has it. What was there and cannot be used is told by `began`. */
  static async open(env: Env, options: TrackerOptions): Promise<Tracker> {
    return (await Tracker.#open(env, options, false)) as Tracker;
  }

  /** Only what an earlier run has left and what still holds; else why, and nothing is touched. */
  static takeUp(env: Env, options: TrackerOptions): Promise<Tracker | Lost> {
    return Tracker.#open(env, options, true);
  }

  static async #open(env: Env, options: TrackerOptions, ifKept: boolean): Promise<Tracker | Lost> {
    const { directory, volume, sizeBytes } = options;
    const lock = await env.files.lock(`${directory}/${LOCK_NAME}`);
    if (lock === undefined) {
      const message = `the tracker of ${volume} is in use by another process`;
      const hint = 'A volume is exported once; ask the running export.';
      throw new TrackError('TRACK_BUSY', message, { hint });
    }
    try {
      const shape = shapeOf(sizeBytes);
      const bytesMax = Math.max(PAGE_BYTES_MIN, sizeBytes * PAGE_BYTES_PER_VOLUME_BYTE);
      const budget = new PageBudget(bytesMax);
      const source = await options.identify();
      const path = `${directory}/${LOG_NAME}`;
      const loaded = await load(env, { path, volume, shape, budget, source });
      if (ifKept && loaded.lost !== undefined) {
        await lock.release();
        return loaded.lost;
      }
      const tracker = new Tracker(env, options, { lock, shape, source, budget, loaded });
      await tracker.#begin(loaded.end !== undefined);
      await tracker.#removeStrangers();
      return tracker;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  private constructor(env: Env, options: TrackerOptions, opened: Opened) {
    const { directory, volume } = options;
    const { lock, shape, source, budget, loaded } = opened;
    const { state, active, lost } = loaded;
    this.volume = volume;
    this.shape = shape;
    this.#env = env;
    this.#options = options;
    this.#source = source;
    this.#lock = lock;
    this.#regions = new Regions(shape.regionCount);
    this.unsureRegions = active.unsureCount;
    // What was hot before a crash is marked as a whole: nothing is hot now.
    this.#still = source ?? null;
    const { cursors = [], sealed = [], broken = [], epoch = 0 } = state ?? {};
    this.#cursors = new Cursors(cursors, sealed, broken);
    const isNew = state === undefined || lost !== undefined;
    if (lost !== undefined) this.#cursors.breakAll(lost);
    this.began = lost ?? state!.began;
    this.id = isNew ? randomId(env) : state.tracker;
    this.#epochs = new Epochs({
      ...{ env, directory, shape, budget, active, cursors: this.#cursors },
      // Numbers are never used again: an NBD client may still know one.
      epoch: isNew ? epoch + 1 : epoch,
      save: () => this.#save(),
    });
    const where = { path: `${directory}/${LOG_NAME}`, kind: FILE_LOG, shape };
    this.#log = new RecordLog(env, where, () => this.#everything(), loaded.end);
  }

  /** The log says durably what is known now: in a new file, or behind what the old one says. */
  async #begin(goesOn: boolean): Promise<void> {
    if (goesOn) {
      this.#log.append({ type: RECORD_STATE, payload: encodeJson(this.#state()) });
      this.#log.append({ type: RECORD_STILL, payload: encodeJson(this.#still) });
    }
    await this.#log.commit();
  }

  /** The epoch that writes belong to now. */
  get epoch(): number {
    return this.#epochs.current;
  }

  /** The durable moments that can be asked about, oldest first. */
  epochsKept(): number[] {
    return [...this.#cursors.sealed.map((set) => set.from), this.#epochs.durable];
  }

  /** Marks could not be kept, and nothing is tracked since. */
  get abandoned(): TrackError | undefined {
    return this.#abandoned;
  }

  /**
   * First thing of every change of blocks [first, last]: marks them, if their regions are marked
   * durably. False: `heat` them first, then call again.
   */
  touch(first: number, last: number): boolean {
    const { blocksPerRegion } = this.shape;
    const region = Math.floor(first / blocksPerRegion);
    const end = Math.floor(last / blocksPerRegion);
    if (!this.#regions.touch(region, end)) return this.#abandoned !== undefined;
    this.#epochs.active.mark(first, last);
    return true;
  }

  /** Remembers that a range that was touched reads as zero, or was given up. */
  markEmpty(kind: EmptyKind, offsetBytes: number, lengthBytes: number): void {
    if (this.#abandoned !== undefined) return;
    this.#epochs.active.markEmpty(kind, offsetBytes, lengthBytes);
  }

  /** Marks the regions of blocks [first, last] durably; TRACK_STATE if that cannot be had. */
  async heat(first: number, last: number): Promise<void> {
    const { blocksPerRegion } = this.shape;
    const region = Math.floor(first / blocksPerRegion);
    const end = Math.floor(last / blocksPerRegion);
    const { call, cold } = this.#regions.warm(region, end);
    if (cold.length > 0) {
      this.#still = undefined;
      this.#cleanAll(this.#regions.tooMany());
      this.#log.append({ type: RECORD_HOT, payload: encodeHot(cold) });
    }
    await this.#log.commit();
    this.#regions.marked(call);
    this.#keepTicking();
  }

  /** A change was given to the device, and has not settled yet. */
  get flights(): Set<Flight> {
    return this.#flights;
  }

  /** Something was marked since the last cut, or that one is not sealed yet. */
  get hasMarks(): boolean {
    return this.#epochs.isSealing || !this.#epochs.active.isEmpty;
  }

  /** Bytes of all blocks that were marked since the last cut. */
  get markedBytes(): number {
    return this.#epochs.active.markedBytes;
  }

  /** Ends the epoch, at once. TRACK_STATE, TRACK_BUSY. */
  cut(): Cut {
    if (this.#abandoned !== undefined) throw this.#abandoned;
    return this.#epochs.cut(this.#flights);
  }

  /** See Epochs; TRACK_STATE if what was kept cannot be read. */
  async changes(epoch: number, until?: number): Promise<DirtyMap | undefined> {
    return this.#abandoned === undefined ? this.#epochs.changes(epoch, until) : undefined;
  }

  cursor(consumer: string): Cursor | undefined {
    return this.#cursors.get(consumer);
  }

  cursors(): Cursor[] {
    return this.#cursors.all();
  }

  /** Why a consumer's cursor is gone. */
  whyBroken(consumer: string): Lost | undefined {
    return this.#cursors.whyBroken(consumer);
  }

  /** Durable when it settles: `consumer` has everything up to this cut. Moves nobody else. */
  async acknowledge(consumer: string, cut: Cut, { snapshot, digest }: Holding): Promise<void> {
    assert(new TextEncoder().encode(consumer).byteLength <= CONSUMER_NAME_BYTES_MAX);
    await cut.sealed;
    if (this.#abandoned !== undefined) throw this.#abandoned;
    const { volume, id: tracker } = this;
    this.#cursors.move({ consumer, volume, tracker, epoch: cut.epoch, snapshot, digest });
    this.#cursors.leaveBehind(this.#epochs.current);
    await this.#save();
    await this.#epochs.tidy();
  }

  /** The consumer will not ask any more. */
  async forget(consumer: string): Promise<void> {
    this.#cursors.forget(consumer);
    await this.#save();
    await this.#epochs.tidy();
  }

  /**
   * Gives up, durably: whoever opens this tracker again knows nothing, and says so. What cannot
   * even be removed is an error, and nothing may be written then.
   */
  async abandon(why: TrackError): Promise<void> {
    if (this.#abandoned !== undefined) return;
    const { directory } = this.#options;
    await this.#env.files.remove(`${directory}/${LOG_NAME}`).catch((error: unknown) => {
      if (!hasCode(error, 'ENV_NOT_FOUND')) throw error;
    });
    await this.#env.files.syncDirectory(directory);
    this.#abandoned = why;
  }

  /** All changes must have settled, and be durable: the exact marks are kept. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#epochs.settled();
      if (this.#abandoned !== undefined) return;
      // A device that hangs: as after a crash, what is hot stays so in the log.
      if (this.#flights.size > 0) return;
      this.#cleanAll([...this.#regions.idleSince(this.#regions.tick)]);
      // Where nothing went through the tracker, whatever changed was somebody else's.
      if (this.#still === undefined) this.#still = (await this.#options.identify()) ?? null;
      this.#log.rewrite();
      await this.#log.commit();
    } finally {
      await this.#log.close();
      await this.#lock.release();
    }
  }

  #save(): Promise<void> {
    this.#log.append({ type: RECORD_STATE, payload: encodeJson(this.#state()) });
    return this.#log.commit();
  }

  #state(): TrackerState {
    return {
      volume: this.volume,
      tracker: this.id,
      epoch: this.#epochs.durable,
      cursors: this.#cursors.all(),
      sealed: this.#cursors.sealed,
      broken: this.#cursors.broken(),
      began: this.began,
      source: this.#source ?? null,
    };
  }

  /** What a new log holds. */
  *#everything(): Generator<Record> {
    yield { type: RECORD_STATE, payload: encodeJson(this.#state()) };
    const unbounded = new PageBudget(Number.POSITIVE_INFINITY);
    yield* mapRecords(this.#epochs.unsealed(unbounded));
    const hot = [...this.#regions.marks()];
    if (hot.length > 0) yield { type: RECORD_HOT, payload: encodeHot(hot) };
    else if (this.#still !== undefined) {
      yield { type: RECORD_STILL, payload: encodeJson(this.#still) };
    }
  }

  /** Keeps the exact marks of regions, which then are cold; those that are in use stay hot. */
  #cleanAll(regions: readonly number[]): void {
    // A page of now would go with the epoch that is being sealed.
    if (regions.length === 0 || this.#epochs.isSealing) return;
    const { blocksPerRegion } = this.shape;
    const busy = new Set<number>();
    for (const { first, last } of this.#flights) {
      const end = Math.floor(last / blocksPerRegion);
      for (let at = Math.floor(first / blocksPerRegion); at <= end; at++) busy.add(at);
    }
    for (const region of regions) {
      if (busy.has(region)) continue;
      const payload = encodePage(region, marksOf(this.#epochs.active, region));
      this.#log.append({ type: RECORD_PAGE, payload });
      this.#regions.clean(region);
    }
  }

  /** Only while something is hot: a tracker at rest does nothing. */
  #keepTicking(): void {
    if (this.#isTicking || this.#regions.hotCount === 0) return;
    this.#isTicking = true;
    this.#env.clock.after(TICK_MS, () => {
      this.#isTicking = false;
      if (this.#closing !== undefined || this.#abandoned !== undefined) return;
      this.#regions.tick++;
      this.#cleanAll(this.#regions.idleSince(this.#regions.tick - IDLE_TICKS));
      // A failure is told to the next write, which needs a mark; nothing rests on this one.
      if (this.#log.hasPending) this.#log.commit().catch(() => undefined);
      this.#keepTicking();
    });
  }

  /** Sets that no state names, and what moments had kept: a crash came between. */
  async #removeStrangers(): Promise<void> {
    const { directory } = this.#options;
    const known = new Set(this.#cursors.sealed.map(setName));
    for (const name of await this.#env.files.list(directory)) {
      const isOurs = name.startsWith('set-') || name.startsWith(MOMENT_PREFIX);
      if (!isOurs || known.has(name)) continue;
      await this.#env.files.remove(`${directory}/${name}`);
    }
  }
}

function randomId({ random }: Env): string {
  const bytes = new Uint8Array(ID_BYTES);
  random.fill(bytes);
  return toHex(bytes);
}
