/**
 * Copies what is still needed of sparse packs into new ones: frames that are needed whole as they
 * are, of the others the needed records in new frames. Depths stay, or become 0, so every patch
 * keeps resolving.
 */
import assert from 'node:assert/strict';
import {
  type Compression,
  encodeFrame,
  FRAME_RAW_MAX,
  FRAME_RAW_TARGET,
  FRAME_RECORDS_MAX,
  FRAME_SEAL_AT,
  FRAME_SEAL_BYTES,
  FRAME_STORED_MAX,
  FRAME_UNFOLDED_MAX,
  type Frame,
  type FrameInput,
  type FrameRecord,
  plainRecord,
  plainSection,
  sealFrame,
  withoutZeroMargins,
} from '../codec/index.ts';
import { type Bitmap, type Random, sha256, toHex } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { ChunkReader, named } from './chunk-reader.ts';
import { PACK_RECORDS_TARGET } from './limits.ts';
import { readFrame } from './pack-file.ts';
import { type PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { type FrameFacts, PackWriter } from './pack-writer.ts';
import type { SealedObjects } from './sealer.ts';
import { fetchTree } from './tree-loader.ts';

export type RepackOptions = {
  readonly objects: SealedObjects;
  readonly index: ChunkIndex;
  readonly random: Random;
  readonly compression: Compression;
  readonly packTargetBytes: number;
  /** Called before a pack becomes visible. */
  announce(packId: string): Promise<void>;
  readonly onProgress?: (copiedBytes: number) => void;
  readonly signal?: AbortSignal | undefined;
};

/** A pack that is copied from, and which of its records are needed. */
export type SparsePack = {
  readonly number: number;
  readonly packId: string;
  readonly table: PackTable;
  readonly live: Bitmap;
  /** Patches that become plain chunks. */
  readonly whole: Bitmap | undefined;
  /** By ordinal: plain chunks that become patches of plain chunks. */
  readonly patches?: ReadonlyMap<number, NewPatch>;
};

export type NewPatch = Pick<FrameInput & { kind: 'patch' }, 'patch' | 'parents'>;

/** A record on its way into a new frame. */
type Copied = {
  readonly input: FrameInput;
  readonly from: PackTable;
  readonly ordinal: number;
  readonly depth: number;
  readonly touched: number;
};

export class Repacker implements AsyncDisposable {
  readonly #options: RepackOptions;
  readonly #target = new Uint8Array(FRAME_STORED_MAX + FRAME_SEAL_BYTES);
  #writer: PackWriter | undefined;
  /** Places in the open pack, by the id in hexadecimal: tree records name neighbours by them. */
  #places = new Map<string, number>();
  #pending: Copied[] = [];
  #pendingBytes = 0;
  #unfoldedBytes = 0;
  readonly #chunks: ChunkReader;
  /** Packs that are there and that the log does not name yet. */
  readonly packs: string[] = [];
  storedBytes = 0;

  constructor(options: RepackOptions) {
    this.#options = options;
    this.#chunks = new ChunkReader(options.objects, options.index);
  }

  /** Chunks first, so that the tree records behind them name them by their places. */
  async copy(sparse: SparsePack): Promise<void> {
    const { table, live } = sparse;
    const trees: number[] = [];
    for (let frame = 0; frame < table.frameFirst.length; frame++) {
      this.#options.signal?.throwIfAborted();
      const first = table.frameFirst[frame]!;
      const end = table.frameFirst[frame + 1] ?? table.count;
      const needed = live.count(first, end - first);
      if (needed === 0) continue;
      if (table.kinds[first] === RECORD_TREE) {
        for (let at = first; at < end; at++) if (live.test(at)) trees.push(at);
      } else {
        const asItIs = needed === end - first && !hasChanged(sparse, first, end);
        await this.#copyFrame(sparse, frame, asItIs);
      }
    }
    for (const ordinal of trees) await this.#copyTree(sparse, ordinal);
  }

  async #copyFrame(sparse: SparsePack, number: number, asItIs: boolean): Promise<void> {
    const { objects } = this.#options;
    const { packId, table, live } = sparse;
    const bytes = new Uint8Array(table.frameBytes[number]!);
    await readFrame(objects, packId, bytes, table.frameOffset[number]!);
    const frame = named(packId, () => table.seal.parseFrame(bytes, number));
    const first = table.frameFirst[number]!;
    // A sealed frame belongs to its place: it is opened, and sealed anew for another.
    if (asItIs && table.seal.place(number) === undefined) {
      const ordinals = frame.records.map((_, at) => first + at);
      return this.#append(bytes, table, ordinals);
    }
    const section = named(packId, () => plainSection(frame));
    for (const [at, record] of frame.records.entries()) {
      const ordinal = first + at;
      if (!live.test(ordinal)) continue;
      const made = sparse.patches?.get(ordinal);
      if (made !== undefined) {
        const input = { kind: 'patch', rawBytes: record.rawBytes, ...made } as const;
        const touched = 1 + made.parents.length;
        await this.#add({ input, from: table, ordinal, depth: 1, touched });
      } else if (sparse.whole?.test(ordinal) === true) {
        const input = await this.#plain(sparse, ordinal);
        await this.#add({ input, from: table, ordinal, depth: 0, touched: 1 });
      } else {
        const input = inputOf(frame, section, record);
        const depth = table.depths[ordinal]!;
        await this.#add({ input, from: table, ordinal, depth, touched: table.touched[ordinal]! });
      }
    }
  }

  /** A patch as the chunk that it stands for. */
  async #plain({ number: pack, packId, table }: SparsePack, ordinal: number): Promise<FrameInput> {
    const chunk = await this.#chunks.bytes({ pack, packId, table, ordinal });
    const { from, to } = withoutZeroMargins(chunk);
    const rawBytes = chunk.byteLength;
    return { kind: 'plain', bytes: chunk.subarray(from, to), rawBytes, skipBytes: from };
  }

  async #add(copied: Copied): Promise<void> {
    const bytes = lengthOf(copied.input);
    const rawBytes = copied.from.rawBytes[copied.ordinal]!;
    const fits =
      this.#pendingBytes + bytes <= FRAME_RAW_MAX &&
      this.#unfoldedBytes + rawBytes <= FRAME_UNFOLDED_MAX &&
      this.#pending.length < FRAME_RECORDS_MAX;
    if (!fits) await this.#flush();
    this.#pending.push(copied);
    this.#pendingBytes += bytes;
    this.#unfoldedBytes += rawBytes;
    if (this.#pendingBytes >= FRAME_RAW_TARGET) await this.#flush();
  }

  async #flush(): Promise<void> {
    const copied = this.#pending;
    if (copied.length === 0) return;
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#unfoldedBytes = 0;
    const inputs = copied.map(({ input }) => input);
    const writer = this.#open();
    const firstRecord = writer.table.count;
    for (const one of copied) {
      const { input, from } = one;
      const place = this.#announce(writer, one);
      const sealed = from.seal.place(0) !== undefined;
      if (sealed && input.kind === 'patch') writer.table.setParents(place, input.parents);
    }
    const number = writer.numberFrame();
    const { bytes, hash } = this.#encode(writer, number, inputs);
    await this.#write(writer, bytes, { firstRecord, number, hash });
  }

  #encode(writer: PackWriter, number: number, inputs: readonly FrameInput[]) {
    const { compression } = this.#options;
    const place = writer.table.seal.place(number);
    const target = this.#target;
    if (place === undefined) {
      return { bytes: target.slice(0, encodeFrame(inputs, compression, target)), hash: undefined };
    }
    const secretBytes = encodeFrame(inputs, compression, target.subarray(FRAME_SEAL_AT));
    const bytes = target.slice(0, sealFrame(target, { clearBytes: 0, secretBytes }, place));
    return { bytes, hash: sha256(bytes) };
  }

  /** A frame as it is. */
  async #append(bytes: Uint8Array, from: PackTable, ordinals: readonly number[]): Promise<void> {
    await this.#flush();
    const writer = this.#open();
    const firstRecord = writer.table.count;
    for (const ordinal of ordinals) {
      const [depth, touched] = [from.depths[ordinal]!, from.touched[ordinal]!];
      this.#announce(writer, { from, ordinal, depth, touched });
    }
    await this.#write(writer, bytes, { firstRecord, number: writer.numberFrame() });
  }

  async #copyTree(sparse: SparsePack, ordinal: number): Promise<void> {
    await this.#flush();
    const { objects, compression } = this.#options;
    const { number: pack, packId, table } = sparse;
    const id = toHex(table.id(ordinal));
    const record = await fetchTree(objects, { pack, packId, table, ordinal }, id);
    const writer = this.#open();
    const ordinalOf = (value: Uint8Array) => this.#places.get(toHex(value));
    const number = writer.numberFrame();
    const { seal } = writer.table;
    const { bytes, rawBytes, hash } = seal.encodeTree(record, ordinalOf, compression, number);
    const checksum = table.checksums[ordinal]!;
    const firstRecord = writer.table.add(RECORD_TREE, table.id(ordinal), checksum, rawBytes);
    await this.#write(writer, bytes, { firstRecord, number, hash });
  }

  #open(): PackWriter {
    this.#writer ??= new PackWriter(this.#options.objects, this.#options.random);
    return this.#writer;
  }

  #announce(writer: PackWriter, copied: Omit<Copied, 'input'>): number {
    const { from, ordinal, depth, touched } = copied;
    const id = from.id(ordinal);
    assert(from.kinds[ordinal] === RECORD_CHUNK);
    const rawBytes = from.rawBytes[ordinal]!;
    const place = writer.table.add(RECORD_CHUNK, id, from.checksums[ordinal]!, rawBytes);
    writer.table.depths[place] = depth;
    writer.table.touched[place] = touched;
    this.#places.set(toHex(id), place);
    return place;
  }

  async #write(writer: PackWriter, frame: Uint8Array, facts: FrameFacts): Promise<void> {
    await writer.appendFrame(frame, facts);
    this.storedBytes += frame.byteLength;
    this.#options.onProgress?.(this.storedBytes);
    const { packTargetBytes } = this.#options;
    const full = writer.storedBytes >= packTargetBytes || writer.table.count >= PACK_RECORDS_TARGET;
    if (full) await this.#seal();
  }

  async #seal(): Promise<void> {
    const writer = this.#writer;
    if (writer === undefined || writer.table.count === 0) return;
    const { index } = this.#options;
    await this.#options.announce(writer.id);
    await writer.seal();
    this.#writer = undefined;
    this.#places = new Map();
    index.addTable(writer.id, writer.table);
    index.uncommitted.add(writer.id);
    this.packs.push(writer.id);
  }

  /** Everything copied is durable when this resolves. */
  async finish(): Promise<void> {
    await this.#flush();
    await this.#seal();
  }

  /** Drops the pack that is being written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer?.[Symbol.asyncDispose]();
  }
}

function hasChanged({ whole, patches }: SparsePack, first: number, end: number): boolean {
  for (let at = first; at < end; at++) if (whole?.test(at) || patches?.has(at)) return true;
  return false;
}

function inputOf(frame: Frame, section: Uint8Array, record: FrameRecord): FrameInput {
  const { rawBytes, parents, at, storedBytes, skipBytes } = record;
  if (parents.length > 0) {
    const patch = frame.bytes.subarray(at, at + storedBytes);
    return { kind: 'patch', rawBytes, patch, parents };
  }
  if (storedBytes === rawBytes) return { kind: 'plain', bytes: plainRecord(section, record) };
  return { kind: 'plain', bytes: section.subarray(at, at + storedBytes), rawBytes, skipBytes };
}

function lengthOf(input: FrameInput): number {
  return input.kind === 'patch' ? input.patch.byteLength : input.bytes.byteLength;
}
