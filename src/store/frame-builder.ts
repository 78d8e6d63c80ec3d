/**
 * Turns new chunks into frames and frames into packs: chunks are copied into the open frame, frames
 * are encoded by the pool in parallel and appended in order, full packs are sealed.
 */
import assert from 'node:assert/strict';
import {
  type CodecPool,
  type Compression,
  type EncodeRecord,
  type EncodeResult,
  FRAME_RAW_MAX,
  FRAME_RAW_TARGET,
  FRAME_RECORDS_MAX,
  FRAME_SEAL_BYTES,
  FRAME_STORED_MAX,
  FRAME_UNFOLDED_MAX,
  FRAMES_TOUCHED_MAX,
  PARENT_REFERENCE_BYTES,
  PATCH_DEPTH_MAX,
  type ParentChoice,
  withoutZeroMargins,
} from '../codec/index.ts';
import { FerryError, type Random } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { prefixOf } from './chunk-index.ts';
import { Arena, FramePlan, frameHeldBytes } from './frame-plan.ts';
import { PACK_RECORDS_TARGET, PACK_TARGET_BYTES } from './limits.ts';
import { RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import type { SealedObjects } from './sealer.ts';
import { Slots } from './slots.ts';
import type { TreeRecord } from './tree-record.ts';

/** A chunk that will probably become a patch fills a frame's target only this much. */
const PATCH_WEIGHT = 1 / 8;

/** Parents' frames of one encode job; what a frame of patches needs, kept for the next. */
const ARENA_KEEP_BYTES = 4 * 1024 * 1024;

/**
 * A frame is closed when the frames of its chunks' parents need this much memory. What the parents
 * themselves stand on is known only when they are read: beyond twice as much, the rest is plain.
 */
const PARENTS_HELD_TARGET = 8 * 1024 * 1024;
const PARENTS_HELD_MAX = 2 * PARENTS_HELD_TARGET;

/** Memory of one encode job. */
type FrameMemory = {
  readonly input: SharedArrayBuffer;
  readonly output: SharedArrayBuffer;
  readonly arena: Arena;
};

type Announced = {
  /** Where it lies in the frame's memory. */
  readonly at: number;
  readonly lengthBytes: number;
  readonly rawBytes: number;
  readonly skipBytes: number;
  /** The version of the chunk that most likely resembles it. */
  readonly parent: Location | undefined;
};

type OpenFrame = {
  readonly memory: FrameMemory;
  readonly first: number;
  readonly number: number;
  readonly records: Announced[];
  usedBytes: number;
  /** With zero margins. */
  unfoldedBytes: number;
  weight: number;
  /** Frames of the parents, and the memory that they need. */
  readonly parentFrames: Set<string>;
  parentsHeldBytes: number;
};

type OpenPack = {
  readonly writer: PackWriter;
  readonly number: number;
  closed: boolean;
};

export type SealedPack = { readonly id: string; readonly sizeBytes: number };

export type FrameBuilderOptions = {
  readonly objects: SealedObjects;
  readonly index: ChunkIndex;
  readonly pool: CodecPool;
  readonly random: Random;
  readonly compression: Compression;
  readonly packTargetBytes?: number;
  /** Called before a pack is closed: the last chance to put tree records into it. */
  beforeSeal(): Promise<void>;
  /** Called before the pack becomes visible. */
  announce(packId: string): Promise<void>;
  afterSeal(pack: SealedPack): Promise<void>;
};

export class FrameBuilder implements AsyncDisposable {
  readonly #options: FrameBuilderOptions;
  readonly #memories: Slots<FrameMemory>;
  #frame: OpenFrame | undefined;
  #pack: OpenPack | undefined;
  /** Frames and seals in order; the first failure is kept and thrown to the next caller. */
  #tail: Promise<void> = Promise.resolve();
  #failure: unknown;
  #closing = false;
  readonly #packs: PackWriter[] = [];
  /** Every pack that was begun. */
  readonly packIds: string[] = [];

  constructor(options: FrameBuilderOptions) {
    this.#options = options;
    const memories = Array.from({ length: options.pool.threads + 2 }, () => ({
      input: new SharedArrayBuffer(FRAME_RAW_MAX),
      output: new SharedArrayBuffer(FRAME_STORED_MAX + FRAME_SEAL_BYTES),
      arena: new Arena(),
    }));
    this.#memories = new Slots(memories);
  }

  /** Adds a new chunk; afterwards the index finds it. */
  async add(
    bytes: Uint8Array,
    id: Uint8Array,
    checksum: number,
    parent: Location | undefined,
  ): Promise<void> {
    this.#check();
    const usable = parent !== undefined && mayBeParent(parent) ? parent : undefined;
    const rawBytes = bytes.byteLength;
    // A patch spells zeroes for nothing, and wants the whole chunk.
    const { from, to } =
      usable === undefined ? withoutZeroMargins(bytes) : { from: 0, to: rawBytes };
    const lengthBytes = to - from;
    const open = await this.#room(lengthBytes, rawBytes, usable);
    const pack = this.#pack!;
    const ordinal = pack.writer.table.add(RECORD_CHUNK, id, checksum, rawBytes);
    this.#options.index.addRecord(pack.number, ordinal, prefixOf(id, 0), checksum);
    const at = open.usedBytes;
    new Uint8Array(open.memory.input, at, lengthBytes).set(bytes.subarray(from, to));
    open.records.push({ at, lengthBytes, rawBytes, skipBytes: from, parent: usable });
    open.usedBytes += lengthBytes;
    open.unfoldedBytes += rawBytes;
    open.weight += lengthBytes * (usable === undefined ? 1 : PATCH_WEIGHT);
    if (usable !== undefined) holdParent(open, usable);
    if (open.weight >= FRAME_RAW_TARGET) await this.#dispatch();
  }

  /** The open frame, with room for so many bytes of a chunk of this length, and its parent's. */
  async #room(
    lengthBytes: number,
    rawBytes: number,
    parent: Location | undefined,
  ): Promise<OpenFrame> {
    const frame = this.#frame;
    if (frame !== undefined) {
      const fits =
        frame.usedBytes + lengthBytes <= FRAME_RAW_MAX &&
        frame.unfoldedBytes + rawBytes <= FRAME_UNFOLDED_MAX &&
        hasRoomForParent(frame, parent);
      if (fits && frame.records.length < FRAME_RECORDS_MAX) return frame;
      await this.#dispatch();
    }
    const memory = await this.#memories.take();
    this.#check();
    const pack = this.#openPack();
    const first = pack.writer.table.count;
    this.#frame = {
      memory,
      first,
      number: pack.writer.numberFrame(),
      records: [],
      usedBytes: 0,
      unfoldedBytes: 0,
      weight: 0,
      parentFrames: new Set(),
      parentsHeldBytes: 0,
    };
    return this.#frame;
  }

  #openPack(): OpenPack {
    if (this.#pack === undefined) {
      const writer = new PackWriter(this.#options.objects, this.#options.random);
      const number = this.#options.index.addPack(writer.id, writer.table);
      this.#pack = { writer, number, closed: false };
      this.#packs.push(writer);
      this.packIds.push(writer.id);
    }
    return this.#pack;
  }

  /** Sends the open frame to the pool; it is appended when its turn comes. */
  async #dispatch(): Promise<void> {
    const frame = this.#frame;
    const pack = this.#pack;
    if (frame === undefined || pack === undefined) return;
    this.#frame = undefined;
    const encoded = this.#encode(frame, pack);
    encoded.catch(() => undefined); // Seen again in order, below.
    this.#enqueue(async () => {
      try {
        const { storedBytes, storedHash: hash } = await encoded;
        if (this.#failure !== undefined) return;
        const bytes = new Uint8Array(frame.memory.output, 0, storedBytes);
        const { first: firstRecord, number } = frame;
        await pack.writer.appendFrame(bytes, { firstRecord, number, hash });
      } finally {
        frame.memory.arena.reset(ARENA_KEEP_BYTES);
        this.#memories.give(frame.memory);
      }
    });
    const target = this.#options.packTargetBytes ?? PACK_TARGET_BYTES;
    const { storedBytes, table } = pack.writer;
    const full = storedBytes >= target || table.count >= PACK_RECORDS_TARGET;
    if (full && !this.#closing) await this.#closePack();
  }

  async #encode(frame: OpenFrame, pack: OpenPack): Promise<EncodeResult> {
    const { objects, index, pool, compression } = this.#options;
    const { table } = pack.writer;
    const plan = new FramePlan(objects, index, frame.memory.arena);
    const records: EncodeRecord[] = [];
    const choices: (readonly Location[])[] = [];
    for (const { at, lengthBytes, rawBytes, skipBytes, parent } of frame.records) {
      const { locations, steps } = await planParents(plan, parent);
      choices.push(locations);
      const data = { memory: frame.memory.input, at, lengthBytes };
      records.push({ data, rawBytes, skipBytes, parents: steps });
    }
    const { output } = frame.memory;
    const target = { memory: output, at: 0, lengthBytes: output.byteLength };
    const place = table.seal.place(frame.number);
    const job = { kind: 'encode', records, plan: plan.finish(), compression, target } as const;
    const result = await pool.run<'encode'>({ ...job, place });
    for (const [at, chosen] of result.chosen.entries()) {
      const parent = choices[at]![chosen];
      if (parent === undefined) continue;
      table.depths[frame.first + at] = parent.table.depths[parent.ordinal]! + 1;
      table.touched[frame.first + at] = parent.table.touched[parent.ordinal]! + 1;
      if (place !== undefined) table.setParents(frame.first + at, [parentReference(parent)]);
    }
    return result;
  }

  /** Stores a tree record as a frame of its own. */
  async addTree(record: TreeRecord, id: Uint8Array, checksum: number): Promise<void> {
    this.#check();
    await this.#dispatch();
    const { index, compression } = this.#options;
    const pack = this.#openPack();
    const ordinalOf = (value: Uint8Array) => {
      const found = index.find(value, undefined, 'any');
      if (found instanceof Promise) found.catch(() => undefined); // Spelling the id out serves too.
      if (found === undefined || found instanceof Promise) return undefined;
      return found.pack === pack.number ? found.ordinal : undefined;
    };
    const { table } = pack.writer;
    const number = pack.writer.numberFrame();
    const { bytes, rawBytes, hash } = table.seal.encodeTree(record, ordinalOf, compression, number);
    const firstRecord = table.add(RECORD_TREE, id, checksum, rawBytes);
    index.addRecord(pack.number, firstRecord, prefixOf(id, 0), checksum);
    this.#enqueue(async () => {
      if (this.#failure !== undefined) return;
      await pack.writer.appendFrame(bytes, { firstRecord, number, hash });
    });
  }

  /** Tasks look at #failure themselves: after one, memory is given back but nothing is written. */
  #enqueue(task: () => Promise<void>): void {
    this.#tail = this.#tail.then(task).catch((error) => {
      this.#failure ??= error;
    });
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #closePack(): Promise<void> {
    const pack = this.#pack;
    if (pack === undefined) return;
    assert(!pack.closed);
    this.#closing = true;
    await this.#dispatch();
    await this.#options.beforeSeal();
    this.#closing = false;
    pack.closed = true;
    this.#pack = undefined;
    this.#enqueue(async () => {
      if (this.#failure !== undefined) return;
      await this.#options.announce(pack.writer.id);
      const sizeBytes = await pack.writer.seal();
      this.#options.index.packSealed(pack.number);
      this.#packs.splice(this.#packs.indexOf(pack.writer), 1);
      await this.#options.afterSeal({ id: pack.writer.id, sizeBytes });
    });
  }

  /** Everything added is durable when this resolves. */
  async finish(): Promise<void> {
    await this.#closePack();
    await this.#tail;
    this.#check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failure ??= new Error('the builder was disposed');
    await this.#tail;
    for (const pack of this.#packs) await pack[Symbol.asyncDispose]();
  }
}

function frameName({ pack, table, ordinal }: Location): string {
  return `${pack}/${table.frameOf(ordinal)}`;
}

function hasRoomForParent(frame: OpenFrame, parent: Location | undefined): boolean {
  if (parent === undefined || frame.parentFrames.has(frameName(parent))) return true;
  const { table, ordinal } = parent;
  const held = frame.parentsHeldBytes + frameHeldBytes(table, table.frameOf(ordinal));
  return frame.parentFrames.size === 0 || held <= PARENTS_HELD_TARGET;
}

function holdParent(frame: OpenFrame, parent: Location): void {
  const name = frameName(parent);
  if (frame.parentFrames.has(name)) return;
  frame.parentFrames.add(name);
  const { table, ordinal } = parent;
  frame.parentsHeldBytes += frameHeldBytes(table, table.frameOf(ordinal));
}

function mayBeParent({ table, ordinal }: Location): boolean {
  return (
    table.kinds[ordinal] === RECORD_CHUNK &&
    table.depths[ordinal]! < PATCH_DEPTH_MAX &&
    table.touched[ordinal]! < FRAMES_TOUCHED_MAX
  );
}

/**
 * The newest version and, where that is a patch itself, the base of its chain become choices. A
 * parent that cannot be read costs the gain, not the backup.
 */
async function planParents(
  plan: FramePlan,
  newest: Location | undefined,
): Promise<{ locations: Location[]; steps: ParentChoice[] }> {
  const locations: Location[] = [];
  const steps: ParentChoice[] = [];
  if (newest === undefined || plan.heldBytes > PARENTS_HELD_MAX) return { locations, steps };
  try {
    const step = await plan.add(newest);
    locations.push(newest);
    steps.push({ step, reference: parentReference(newest) });
    const base = plan.chainBase(step);
    if (base.step !== step) {
      locations.push(base.location);
      steps.push({ step: base.step, reference: parentReference(base.location) });
    }
  } catch (error) {
    // Damage is named by whoever reads that chunk for its own sake, and by check.
    if (!(error instanceof FerryError)) throw error;
  }
  return { locations, steps };
}

/** CRC-32 and the first 8 bytes of the id. */
function parentReference({ table, ordinal }: Location): Uint8Array {
  const reference = new Uint8Array(PARENT_REFERENCE_BYTES);
  new DataView(reference.buffer).setUint32(0, table.checksums[ordinal]!, true);
  reference.set(table.id(ordinal).subarray(0, PARENT_REFERENCE_BYTES - 4), 4);
  return reference;
}
