/** Keeps the index in memory at what the log names: loads what is new, drops what is gone. */
import { type FerryError, hasCode } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { missingObject, StoreError } from './errors.ts';
import type { SegmentInfo } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { packKey, readPackTable } from './pack-file.ts';
import type { SealedObjects } from './sealer.ts';
import { addSegment, readSegment, SegmentMemory, segmentKey, segmentRoom } from './segment.ts';

/** 24 MiB: what segments may claim before anybody looks how large they are. */
const CLAIMED_RECORDS_MAX = 1 << 20;

export class IndexSync {
  readonly #objects: SealedObjects;
  readonly index: ChunkIndex;
  /** The packs of each segment that was loaded. */
  readonly #segments = new Map<string, readonly string[]>();
  #generation = 0;
  /** Loads one after the other: nothing is added twice. */
  #last: Promise<void> = Promise.resolve();

  constructor(objects: SealedObjects, index: ChunkIndex) {
    this.#objects = objects;
    this.index = index;
  }

  /**
   * What cannot be read is left out and noted in `unreadable`: whatever does not need it can still
   * be restored. Asking again tries again.
   */
  to(state: LogState): Promise<void> {
    const loading = this.#last.then(() => this.#to(state));
    this.#last = loading.catch(() => undefined); // Told to whoever asked.
    return loading;
  }

  async #to(state: LogState): Promise<void> {
    const { index } = this;
    const { unreadable } = index;
    const fresh = [...state.segments.values()].filter(({ id }) => !this.#segments.has(id));
    index.reserve(await this.#expected(fresh));
    const memory = new SegmentMemory();
    for (const { id: segment } of fresh) {
      await tryIndex(unreadable, segmentKey(segment), async () => {
        const packs = await readSegment(this.#objects, segment, memory);
        addSegment(index, packs, memory);
        this.#segments.set(
          segment,
          packs.map(({ packId }) => packId),
        );
      });
    }
    const missing = [...state.loosePacks].filter((pack) => !index.hasPack(pack));
    const load = (pack: string) =>
      tryIndex(unreadable, packKey(pack), async () => {
        const table = await readPackTable(this.#objects, pack);
        if (!index.hasPack(pack)) index.addTable(pack, table);
      });
    await Promise.all(missing.map(load));
    if (this.#generation !== state.generation) this.#dropGone(state);
    index.setCondemned(state.condemned.keys());
  }

  /** Records of these segments. A large claim takes memory only if the object is as large. */
  async #expected(segments: readonly SegmentInfo[]): Promise<number> {
    let sum = 0;
    for (const { id, records } of segments) {
      const isLarge = sum + records > CLAIMED_RECORDS_MAX;
      sum += isLarge ? Math.min(records, await this.#roomOf(id)) : records;
    }
    return sum;
  }

  /** What is wrong with the segment shows when it is read. */
  async #roomOf(segment: string): Promise<number> {
    try {
      return await segmentRoom(this.#objects, segment);
    } catch (error) {
      if (error instanceof StoreError || error instanceof ObjectError) return 0;
      throw error;
    }
  }

  /** All packs that the log names, as far as its segments can be read. */
  named(state: LogState): Set<string> {
    const named = new Set(state.loosePacks);
    for (const segment of state.segments.keys()) {
      for (const pack of this.#segments.get(segment) ?? []) named.add(pack);
    }
    return named;
  }

  /** Whether every segment of the log could be read: otherwise `named` lacks some packs. */
  isWhole(state: LogState): boolean {
    return [...state.segments.keys()].every((segment) => this.#segments.has(segment));
  }

  /** The segments that cover one of the packs. */
  covering(state: LogState, packs: ReadonlySet<string>): string[] {
    return [...state.segments.keys()].filter((segment) =>
      this.#segments.get(segment)?.some((pack) => packs.has(pack)),
    );
  }

  /** Only a step of garbage collection takes packs out of the log. */
  #dropGone(state: LogState): void {
    const { index } = this;
    if (!this.isWhole(state)) return;
    const named = this.named(state);
    const kept = (pack: string) => named.has(pack) || index.uncommitted.has(pack);
    for (const pack of index.packIds()) if (!kept(pack)) index.dropPack(pack);
    const keys = new Set([...named].map(packKey));
    for (const key of index.unreadable.keys()) {
      const segment = key.startsWith('index/') && !state.segments.has(key.slice('index/'.length));
      if (segment || (key.startsWith('packs/') && !keys.has(key))) index.unreadable.delete(key);
    }
    for (const segment of this.#segments.keys()) {
      if (!state.segments.has(segment)) this.#segments.delete(segment);
    }
    this.#generation = state.generation;
  }

  /**
   * Packs that a segment covers are not opened one by one: a listing tells which are gone. It may
   * be stale, so each is asked for by name before it is given up.
   */
  async noticeLostPacks(): Promise<void> {
    const { index } = this;
    const there = new Set<string>();
    for await (const { key } of this.#objects.list('packs/')) there.add(key);
    for (const pack of index.packIds()) {
      const key = packKey(pack);
      if (there.has(key) || index.uncommitted.has(pack)) continue;
      try {
        await this.#objects.size(key);
      } catch (error) {
        if (!hasCode(error, 'OBJECT_NOT_FOUND')) throw error;
        index.losePack(pack, missingObject(key, error));
      }
    }
  }
}

async function tryIndex(
  unreadable: Map<string, FerryError>,
  key: string,
  load: () => Promise<void>,
): Promise<void> {
  try {
    await load();
    unreadable.delete(key);
  } catch (error) {
    if (!(error instanceof StoreError || error instanceof ObjectError)) throw error;
    unreadable.set(key, error);
  }
}
