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
  type SharedRange,
  withoutZeroMargins,
} from '../codec/index.ts';
import type { Random } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { prefixOf } from './chunk-index.ts';
import { FrameCache } from './frame-cache.ts';
import { FramePlan, PLAN_HELD_TARGET } from './frame-plan.ts';
import { FrameRing } from './frame-ring.ts';
import { HELD_FRAMES_BYTES, PACK_RECORDS_TARGET, PACK_TARGET_BYTES } from './limits.ts';
import { RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import { type Parents, type PatchParents, type PlannedChoice, planAll } from './parent-choice.ts';
import type { SealedObjects } from './sealer.ts';
import { Slots } from './slots.ts';
import type { TreeRecord } from './tree-record.ts';

/** A chunk that will probably become a patch fills a frame's target only this much. */
const PATCH_WEIGHT = 1 / 8;

/** A chunk that is to be stored; its bytes are borrowed for the call. */
export type NewChunk = {
  readonly bytes: Uint8Array;
  readonly id: Uint8Array;
  readonly checksum: number;
};

/** Memory of one encode job. */
type FrameMemory = {
  readonly input: SharedArrayBuffer;
  readonly output: SharedArrayBuffer;
};

type Announced = {
  /** Where it lies in the frame's memory. */
  readonly at: number;
  readonly lengthBytes: number;
  readonly rawBytes: number;
  readonly skipBytes: number;
  /** Dictionaries to try. */
  readonly choices: readonly PlannedChoice[];
  /** The bytes are a patch already. */
  readonly patchOf: PatchParents | undefined;
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
  /** How to read the dictionaries; made as chunks come, for a frame ends where it grows large. */
  readonly reading: FramePlan;
  /** The plan grows until it resolves. */
  planning: Promise<void>;
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
  /** Chunks stored a moment ago are wanted as parents. */
  readonly holdFrames: boolean;
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
  readonly #frames: FrameCache;
  readonly #held = new FrameRing(HELD_FRAMES_BYTES);
  /** Every pack that was begun. */
  readonly packIds: string[] = [];

  constructor(options: FrameBuilderOptions) {
    this.#options = options;
    this.#frames = new FrameCache(options.objects, {
      held: (pack, frame, target) => this.#fillHeld(pack, frame, target),
    });
    const memories = Array.from({ length: options.pool.threads + 2 }, () => ({
      input: new SharedArrayBuffer(FRAME_RAW_MAX),
      output: new SharedArrayBuffer(FRAME_STORED_MAX + FRAME_SEAL_BYTES),
    }));
    this.#memories = new Slots(memories);
  }

  /** Adds a new chunk; afterwards the index finds it. */
  async add({ bytes, id, checksum }: NewChunk, choices: readonly Parents[]): Promise<void> {
    this.#check();
    const rawBytes = bytes.byteLength;
    // A patch spells zeroes for nothing, and wants the whole chunk.
    const { from, to } =
      choices.length === 0 ? withoutZeroMargins(bytes) : { from: 0, to: rawBytes };
    const { open, planned } = await this.#planned(to - from, rawBytes, choices);
    this.#announce(id, checksum, rawBytes);
    this.#put(open, bytes.subarray(from, to), { rawBytes, skipBytes: from, choices: planned });
    open.weight += (to - from) * (choices.length === 0 ? 1 : PATCH_WEIGHT);
    const isFull = open.weight >= FRAME_RAW_TARGET || open.reading.heldBytes >= PLAN_HELD_TARGET;
    if (isFull) await this.#dispatch();
  }

  /** Room for a chunk in the open frame, and its dictionaries in the frame's plan. */
  async #planned(
    lengthBytes: number,
    rawBytes: number,
    choices: readonly Parents[],
  ): Promise<{ open: OpenFrame; planned: readonly PlannedChoice[] }> {
    for (;;) {
      const open = await this.#room(lengthBytes, rawBytes);
      const planning = planAll(open.reading, choices);
      open.planning = planning.then(
        () => undefined,
        () => undefined, // Thrown here.
      );
      const planned = await planning;
      // A pack that was closed meanwhile has taken the frame with it.
      if (this.#frame === open) return { open, planned };
    }
  }

  /** Adds a chunk as the patch that was made of it. */
  async addPatch(
    { id, checksum }: Omit<NewChunk, 'bytes'>,
    rawBytes: number,
    patch: Uint8Array,
    patchOf: PatchParents,
  ): Promise<void> {
    this.#check();
    const open = await this.#room(patch.byteLength, rawBytes);
    this.#announce(id, checksum, rawBytes);
    this.#put(open, patch, { rawBytes, skipBytes: 0, choices: [], patchOf });
    open.weight += rawBytes * PATCH_WEIGHT;
    if (open.weight >= FRAME_RAW_TARGET) await this.#dispatch();
  }

  #announce(id: Uint8Array, checksum: number, rawBytes: number): void {
    const { writer, number } = this.#pack!;
    const ordinal = writer.table.add(RECORD_CHUNK, id, checksum, rawBytes);
    this.#options.index.addRecord(number, ordinal, prefixOf(id, 0), checksum);
  }

  #put(
    open: OpenFrame,
    bytes: Uint8Array,
    record: {
      readonly rawBytes: number;
      readonly skipBytes: number;
      readonly choices: readonly PlannedChoice[];
      readonly patchOf?: PatchParents;
    },
  ): void {
    const at = open.usedBytes;
    const lengthBytes = bytes.byteLength;
    new Uint8Array(open.memory.input, at, lengthBytes).set(bytes);
    open.records.push({ patchOf: undefined, ...record, at, lengthBytes });
    open.usedBytes += lengthBytes;
    open.unfoldedBytes += record.rawBytes;
  }

  /** The open frame, with room for so many bytes of a chunk of this length. */
  async #room(lengthBytes: number, rawBytes: number): Promise<OpenFrame> {
    const frame = this.#frame;
    if (frame !== undefined) {
      const fits =
        frame.usedBytes + lengthBytes <= FRAME_RAW_MAX &&
        frame.unfoldedBytes + rawBytes <= FRAME_UNFOLDED_MAX;
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
      reading: new FramePlan(this.#options.index, this.#frames),
      planning: Promise.resolve(),
    };
    return this.#frame;
  }

  #openPack(): OpenPack {
    if (this.#pack === undefined) {
      const writer = new PackWriter(this.#options.objects, this.#options.random);
      writer.table.framedCount = 0;
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
    const end = frame.first + frame.records.length;
    this.#enqueue(async () => {
      try {
        const { storedBytes, storedHash: hash } = await encoded;
        if (this.#failure !== undefined) return;
        const bytes = new Uint8Array(frame.memory.output, 0, storedBytes);
        const { first: firstRecord, number } = frame;
        await pack.writer.appendFrame(bytes, { firstRecord, number, hash });
        pack.writer.table.framedCount = end;
        this.#hold(pack.writer, bytes);
      } finally {
        frame.reading.release();
        this.#memories.give(frame.memory);
      }
    });
    const target = this.#options.packTargetBytes ?? PACK_TARGET_BYTES;
    const { storedBytes, table } = pack.writer;
    const full = storedBytes >= target || table.count >= PACK_RECORDS_TARGET;
    if (full && !this.#closing) await this.#closePack();
  }

  /** Keeps a frame for those that want its chunks as parents before the pack can be read. */
  #hold({ id, table, readsBack }: PackWriter, bytes: Uint8Array): void {
    if (!this.#options.holdFrames || readsBack) return;
    this.#held.set(`${id}/${table.frameFirst.length - 1}`, bytes);
  }

  async #fillHeld(packId: string, frame: number, target: Uint8Array): Promise<boolean> {
    const pack = this.#packs.find(({ id }) => id === packId);
    if (pack?.readsBack) return pack.readBack(frame, target);
    const held = this.#held.get(`${packId}/${frame}`);
    if (held !== undefined) target.set(held);
    return held !== undefined;
  }

  /** Runs `use` with a plan that may read frames of packs that are not sealed yet. */
  async planned<T>(use: (plan: FramePlan) => Promise<T>): Promise<T> {
    const plan = new FramePlan(this.#options.index, this.#frames);
    try {
      return await use(plan);
    } finally {
      plan.release();
    }
  }

  async #encode(frame: OpenFrame, pack: OpenPack): Promise<EncodeResult> {
    await frame.planning;
    const { pool, compression } = this.#options;
    const { table } = pack.writer;
    const records = frame.records.map((record): EncodeRecord => {
      const { at, lengthBytes, rawBytes, skipBytes, patchOf } = record;
      const data: SharedRange = { memory: frame.memory.input, at, lengthBytes };
      const choices = record.choices.map(({ choice }) => choice);
      return { data, rawBytes, skipBytes, choices, patchOf: patchOf?.references };
    });
    const { output } = frame.memory;
    const target = { memory: output, at: 0, lengthBytes: output.byteLength };
    const place = table.seal.place(frame.number);
    const job = {
      kind: 'encode',
      records,
      plan: frame.reading.finish(),
      compression,
      target,
    } as const;
    const result = await pool.run<'encode'>({ ...job, place });
    for (const [at, { patchOf, choices }] of frame.records.entries()) {
      const stands = patchOf ?? choices[result.chosen[at]!]?.patchOf;
      if (stands === undefined) continue;
      table.depths[frame.first + at] = stands.depth;
      table.touched[frame.first + at] = stands.touched;
      if (place !== undefined) table.setParents(frame.first + at, stands.references);
    }
    return result;
  }

  /** Closes the open frame; resolves when all frames so far are written and may be parents. */
  async written(): Promise<void> {
    await this.#dispatch();
    await this.#tail;
    this.#check();
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
      table.framedCount = firstRecord + 1;
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
