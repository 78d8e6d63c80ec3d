/** Takes up what an earlier run of a tracker left: a superset of what was written since. */
import { type Env, FormatError, hasCode, readStateFile } from '../../core/index.ts';
import type { Lost } from './cursors.ts';
import { DirtyMap, type PageBudget } from './dirty-map.ts';
import { STATE_BYTES_MAX } from './limits.ts';
import {
  decodeEmpties,
  decodeFileHeader,
  decodeHot,
  decodePage,
  decodeRecords,
  FILE_HEADER_BYTES,
  FILE_LOG,
  FRAME_BYTES,
  RECORD_EMPTY,
  RECORD_END,
  RECORD_HOT,
  RECORD_PAGE,
  RECORD_STATE,
  RECORD_STILL,
  type Record,
} from './record.ts';
import type { LogEnd } from './record-log.ts';
import { putMarks } from './set-file.ts';
import type { Shape } from './shape.ts';
import {
  decodeIdentity,
  decodeState,
  difference,
  type Identity,
  type TrackerState,
} from './state.ts';

export type Loaded = {
  readonly state: TrackerState | undefined;
  readonly active: DirtyMap;
  /** Why nothing that was known holds any more. */
  readonly lost: Lost | undefined;
  /** Where the log can be gone on with, as it says what is known and nothing else. */
  readonly end?: LogEnd | undefined;
};

export type LoadOptions = {
  readonly path: string;
  readonly volume: string;
  readonly shape: Shape;
  readonly budget: PageBudget;
  readonly source: Identity | undefined;
};

/** Anything that is wrong makes it `lost`; only a disk that cannot be read is an error. */
export async function load(env: Env, options: LoadOptions): Promise<Loaded> {
  const { path, shape, budget, volume } = options;
  const empty = (lost: Lost, state?: TrackerState): Loaded => ({
    state,
    active: new DirtyMap(shape, budget),
    lost,
  });
  const bytes = await readStateFile(env, path, STATE_BYTES_MAX);
  if (bytes === undefined) {
    return empty({ reason: 'first', why: `the tracker of ${volume} has only now begun` });
  }
  let replayed: Replayed;
  try {
    replayed = replay(bytes, options);
  } catch (error) {
    if (!hasCode(error, 'FORMAT_INVALID')) throw error;
    const why = `what the tracker of ${volume} kept is damaged: ${(error as Error).message}`;
    return empty({ reason: 'lost', why });
  }
  const lost = verdict(replayed, options);
  if (lost !== undefined) return empty(lost, replayed.state);
  const { state, pages, hot } = replayed;
  const end = hot.size === 0 ? replayed.end : undefined;
  for (const region of hot) pages.markRegion(region, true);
  return { state, active: pages, lost: undefined, end };
}

type Replayed = {
  readonly state: TrackerState;
  readonly isOtherSize: boolean;
  readonly pages: DirtyMap;
  readonly hot: ReadonlySet<number>;
  /** What the file looked like, if nothing was marked after that was noted. */
  readonly still: Identity | null | undefined;
  /** Undefined if something torn follows. */
  readonly end: LogEnd | undefined;
};

function replay(bytes: Uint8Array, { shape, budget }: LoadOptions): Replayed {
  const header = decodeFileHeader(bytes);
  if (header.kind !== FILE_LOG) throw new FormatError('it is no log');
  // Of another size: only who follows is of interest, its pages are of another shape.
  const isOther = header.sizeBytes !== shape.sizeBytes || header.regionBytes !== shape.regionBytes;
  const replay = new Replay(shape, budget, isOther);
  let recordCount = 0;
  let sizeBytes = FILE_HEADER_BYTES;
  let wholeBytes = 0;
  for (const record of decodeRecords(bytes, header.nonce)) {
    replay.take(record);
    recordCount++;
    sizeBytes += FRAME_BYTES + record.payload.byteLength;
    if (record.type === RECORD_END) wholeBytes = sizeBytes;
  }
  const isTorn = sizeBytes < bytes.byteLength;
  const { nonce } = header;
  const end = isTorn ? undefined : { nonce, recordCount, sizeBytes, wholeBytes };
  return { ...replay.result(), end };
}

class Replay {
  readonly #shape: Shape;
  readonly #budget: PageBudget;
  readonly #isOther: boolean;
  #state: TrackerState | undefined;
  #pages: DirtyMap;
  #cleared = new Map<number, Uint8Array>();
  readonly #hot = new Set<number>();
  #still: Identity | null | undefined;
  #isWhole = false;

  constructor(shape: Shape, budget: PageBudget, isOther: boolean) {
    this.#shape = shape;
    this.#budget = budget;
    this.#isOther = isOther;
    this.#pages = new DirtyMap(shape, budget);
  }

  take({ type, payload }: Record): void {
    if (type === RECORD_HOT || type === RECORD_PAGE) this.#still = undefined;
    if (type === RECORD_END) this.#isWhole = true;
    else if (type === RECORD_STATE) this.#takeState(decodeState(payload));
    else if (this.#isOther) return;
    else if (type === RECORD_HOT) for (const region of decodeHot(payload)) this.#heat(region);
    else if (type === RECORD_PAGE) {
      const region = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
      this.#cleared.set(region, payload); // The last one of a region tells all of it.
      this.#hot.delete(region);
    } else if (type === RECORD_EMPTY) this.#takeEmpties(payload);
    else if (type === RECORD_STILL) this.#still = decodeIdentity(payload);
    else throw new FormatError(`a record of type ${type}`);
  }

  result(): Omit<Replayed, 'end'> {
    if (this.#state === undefined || !this.#isWhole) throw new FormatError('it is cut short');
    this.#putPages();
    return {
      state: this.#state,
      isOtherSize: this.#isOther,
      pages: this.#pages,
      hot: this.#hot,
      still: this.#still,
    };
  }

  /** A later epoch: what was marked before is in a sealed set. */
  #takeState(state: TrackerState): void {
    if (this.#state !== undefined && state.epoch > this.#state.epoch) {
      this.#pages.release();
      this.#pages = new DirtyMap(this.#shape, this.#budget);
      this.#cleared.clear();
    }
    this.#state = state;
  }

  #heat(region: number): void {
    if (region >= this.#shape.regionCount) throw new FormatError(`region ${region} is too large`);
    this.#hot.add(region);
    this.#pages.forgetEmpties(region); // From now on there may be data.
  }

  #putPages(): void {
    const room = new Uint32Array(this.#shape.wordsPerRegion);
    for (const payload of this.#cleared.values()) {
      const { region, marks } = decodePage(payload, this.#shape, room);
      putMarks(this.#pages, region, marks);
    }
    this.#cleared.clear();
  }

  /** Written with a whole log only, behind all of its pages. */
  #takeEmpties(payload: Uint8Array): void {
    this.#putPages();
    for (const { kind, offsetBytes, lengthBytes } of decodeEmpties(payload)) {
      this.#pages.markEmpty(kind, offsetBytes, lengthBytes);
    }
  }
}

/** Whether the marks still speak of this source. */
function verdict({ state, isOtherSize, still, hot }: Replayed, options: LoadOptions) {
  const { volume, source } = options;
  if (state.volume !== volume) {
    const why = `the tracker's state belongs to the volume ${state.volume}`;
    return { reason: 'replaced', why } satisfies Lost;
  }
  const before = still ?? state.source;
  if (before !== null && source !== undefined) {
    const changed = difference(before, source, still !== undefined && hot.size === 0);
    if (changed !== undefined) return changed;
  }
  if (!isOtherSize) return undefined;
  return { reason: 'resized', why: 'the source has another size than before' } satisfies Lost;
}
