/**
 * Plans how to decode chunks: which frames to read, and in which order patches meet their parents.
 */
import {
  CHUNK_BYTES_MIN,
  type DecodePlan,
  type DecodeStep,
  type FramePlace,
  openShared,
  type ParentReference,
  type PatchLimits,
  type Signing,
} from '../codec/index.ts';
import { SHA256_BYTES, toHex } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { damagedObject, StoreError } from './errors.ts';
import { type FrameCache, frameHeldBytes, type KeptFrame } from './frame-cache.ts';
import { packKey } from './pack-file.ts';

/** A job takes in no further chunk once what its parents stand on needs this much memory. */
export const PLAN_HELD_TARGET = 4 * 1024 * 1024;

/** What all that one chunk stands on may come to; writers stay below a quarter of it. */
export const STANDS_ON_BYTES_MAX = 128 * 1024 * 1024;

/** Far more than a plan's memory has room for. */
const PLAN_FRAMES_MAX = 4096;

/** What may still be read for one chunk's sake. */
export type ReadRoom = { bytes: number };

export function readRoom(): ReadRoom {
  return { bytes: STANDS_ON_BYTES_MAX };
}

/** For a chunk or a frame; STORE_DAMAGED if that is more than any writer lets a patch stand on. */
export function takeRoom(room: ReadRoom, rawBytes: number, packId: string): void {
  // However short it says it is, it is work.
  room.bytes -= Math.max(rawBytes, CHUNK_BYTES_MIN);
  if (room.bytes >= 0) return;
  const what = `a patch stands on more than ${STANDS_ON_BYTES_MAX} bytes of other chunks`;
  throw damagedObject(packKey(packId), what);
}

/** Builds one DecodePlan; frames and chunks asked for twice are read and decoded once. */
export class FramePlan {
  readonly #index: ChunkIndex;
  readonly #cache: FrameCache;
  readonly #frames: KeptFrame[] = [];
  /** Per frame: what it was sealed as. */
  readonly #places: (FramePlace | undefined)[] = [];
  #signing: Signing | undefined;
  readonly #frameNumbers = new Map<string, Promise<number>>();
  readonly #steps: DecodeStep[] = [];
  readonly #stepNumbers = new Map<string, number>();
  readonly #locations: Location[] = [];
  readonly #ids: Uint8Array[] = [];
  readonly #checksums: number[] = [];
  /** Per step: its result and those that it stands on; what is shared counts each time. */
  readonly #standsOnBytes: number[] = [];
  /** Per step: whether others stand on it, or are to. */
  readonly #isParent: boolean[] = [];
  /** What decoding the plan needs beside what is put out: frames, and results that are parents. */
  heldBytes = 0;

  constructor(index: ChunkIndex, cache: FrameCache) {
    this.#index = index;
    this.#cache = cache;
  }

  get patchLimits(): PatchLimits {
    return this.#index.patchLimits;
  }

  get frameCount(): number {
    return this.#frames.length;
  }

  /** Whether the record's own frame is in the plan already. */
  hasFrame({ pack, table, ordinal }: Location): boolean {
    return this.#frameNumbers.has(`${pack}/${table.frameOf(ordinal)}`);
  }

  /** As `add`, for a dictionary: the result is kept while the plan is decoded. */
  addParent(location: Location): Promise<number> {
    return this.#addParent(location, readRoom());
  }

  async #addParent(location: Location, room: ReadRoom): Promise<number> {
    const step = await this.#add(location, room);
    if (this.#isParent[step] !== true) {
      this.#isParent[step] = true;
      this.heldBytes += location.table.rawBytes[location.ordinal]!;
    }
    return step;
  }

  /**
   * Adds what it takes to decode the record at `location`; returns the number of its step.
   * STORE_DAMAGED if that is more than any writer lets a patch stand on.
   */
  add(location: Location): Promise<number> {
    return this.#add(location, readRoom());
  }

  async #add(location: Location, room: ReadRoom): Promise<number> {
    const name = `${location.pack}:${location.ordinal}`;
    const known = this.#stepNumbers.get(name);
    if (known !== undefined) return known;
    const { table, ordinal } = location;
    takeRoom(room, table.rawBytes[ordinal]!, location.packId);
    const frameNumber = table.frameOf(ordinal);
    const frame = await this.#frame(location, frameNumber, room);
    const record = ordinal - table.frameFirst[frameNumber]!;
    const parents: number[] = [];
    if (table.depths[ordinal] !== 0) {
      for (const parent of await this.#parents(location, frame, record)) {
        parents.push(await this.#addParent(parent, room));
      }
    }
    const again = this.#stepNumbers.get(name); // Another call may have been faster.
    if (again !== undefined) return again;
    const step = this.#steps.length;
    this.#stepNumbers.set(name, step);
    this.#steps.push({ frame, record, parents });
    const below = parents.reduce((sum, at) => sum + this.#standsOnBytes[at]!, 0);
    this.#standsOnBytes.push(table.rawBytes[ordinal]! + below);
    this.#locations.push(location);
    this.#ids.push(table.id(ordinal));
    this.#checksums.push(table.checksums[ordinal]!);
    return step;
  }

  /** The step and what it stands on by its first parents, down to a plain copy. */
  chain(step: number): { step: number; location: Location }[] {
    const chain: { step: number; location: Location }[] = [];
    for (let at: number | undefined = step; at !== undefined; ) {
      chain.push({ step: at, location: this.#locations[at]! });
      at = this.#steps[at]?.parents[0];
    }
    return chain;
  }

  /** How many frames it takes to decode all of these steps. */
  framesTouched(steps: readonly number[]): number {
    const met = new Set(steps);
    for (const step of met) for (const parent of this.#steps[step]!.parents) met.add(parent);
    return new Set([...met].map((step) => this.#steps[step]!.frame)).size;
  }

  /** What a patch against these steps stands on, at most. */
  standsOnBytes(steps: readonly number[]): number {
    return steps.reduce((sum, step) => sum + this.#standsOnBytes[step]!, 0);
  }

  /** The copies that serve as parents, in the order in which the patch names them. */
  async #parents(location: Location, frame: number, record: number): Promise<Location[]> {
    const { table, ordinal } = location;
    const depth = table.depths[ordinal]!;
    const references = table.parentsOf(ordinal) ?? this.#parentsInFrame(frame, record);
    const found: Location[] = [];
    for (const reference of references) {
      found.push(await findParent(this.#index, location, reference, depth));
    }
    return found;
  }

  #parentsInFrame(frame: number, record: number): readonly ParentReference[] {
    const kept = this.#frames[frame]!;
    kept.records ??= openShared(kept.frame, this.#places[frame]).records;
    return kept.records[record]?.parents ?? [];
  }

  async #frame(location: Location, frameNumber: number, room: ReadRoom): Promise<number> {
    const { pack, packId, table } = location;
    const name = `${pack}/${frameNumber}`;
    let number = this.#frameNumbers.get(name);
    if (number === undefined) {
      takeRoom(room, frameHeldBytes(table, frameNumber), packId);
      if (this.#frameNumbers.size >= PLAN_FRAMES_MAX) {
        throw damagedObject(packKey(packId), `it takes more than ${PLAN_FRAMES_MAX} frames`);
      }
      number = this.#read(location, frameNumber);
      this.#frameNumbers.set(name, number);
    }
    return number;
  }

  async #read(location: Location, frameNumber: number): Promise<number> {
    const { table } = location;
    this.heldBytes += frameHeldBytes(table, frameNumber);
    const kept = this.#cache.take(location, frameNumber);
    const number = this.#frames.push(kept) - 1;
    this.#places.push(table.seal.place(frameNumber));
    this.#signing = table.seal.signing;
    await kept.ready;
    return number;
  }

  finish(): DecodePlan {
    const ids = new Uint8Array(this.#ids.length * SHA256_BYTES);
    for (const [at, id] of this.#ids.entries()) ids.set(id, at * SHA256_BYTES);
    return {
      frames: this.#frames.map(({ frame }) => frame),
      steps: this.#steps,
      ids,
      checksums: Uint32Array.from(this.#checksums),
      places: this.#places,
      signing: this.#signing,
    };
  }

  /** Nobody reads the plan's frames any more; it is of no use then. */
  release(): void {
    for (const kept of this.#frames.splice(0)) this.#cache.give(kept);
  }
}

/** A parent resolves only to a copy of strictly smaller depth: no cycle can come about. */
export async function findParent(
  index: ChunkIndex,
  child: Location,
  reference: ParentReference,
  depth: number,
): Promise<Location> {
  const copies = await index.findReference(reference, depth);
  const copy = copies[0];
  if (copy !== undefined) return copy;
  throw new StoreError(
    'STORE_DAMAGED',
    `${packKey(child.packId)}: the parent ${toHex(reference.subarray(4))} of a patch is not there`,
    { hint: 'Run `ferry check --read-data` to see what is affected.' },
  );
}
