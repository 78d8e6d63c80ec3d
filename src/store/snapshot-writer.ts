/** Writes one snapshot: stores what is new of the content, which comes in ascending order. */
import assert from 'node:assert/strict';
import {
  type CodecPool,
  DIGEST_ENTRY_BYTES,
  type Signer,
  type Signing,
  signer,
} from '../codec/index.ts';
import { equalBytes } from '../core/index.ts';
import { type Batch, digestBatch, hasChecksums, newBatch, samplesOf } from './batch.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { ChunkStage } from './chunk-stage.ts';
import type { FrameBuilder, NewChunk } from './frame-builder.ts';
import { coveredBytes, type Geometry } from './geometry.ts';
import { checkKept, type KnownChunks, takeKnown } from './known-chunks.ts';
import { fitted, holeLeaf, Leaf, PIECE_CHUNK, PIECE_HOLE, PIECE_ZERO } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';
import { fillHashes, type OpenLeaf } from './open-leaf.ts';
import { Relied } from './relied.ts';
import { SimilarIndex } from './similar-index.ts';
import { Slots } from './slots.ts';
import type { Child, Tree, TreeReader } from './tree-reader.ts';
import type { TreeWriter } from './tree-writer.ts';
import { CANONICAL_BYTES, leafDigest, nodeDigest } from './volume-digest.ts';

export type WriterStats = {
  /** Content that differs from the parent's. */
  changedBytes: number;
  /** Plain bytes of chunks that the repository did not have. */
  newBytes: number;
  newChunks: number;
  /** Changed content that the repository had already. */
  knownBytes: number;
  zeroBytes: number;
};

export type SnapshotWriterOptions = {
  readonly geometry: Geometry;
  readonly parent: Tree | undefined;
  readonly reader: TreeReader;
  readonly index: ChunkIndex;
  readonly builder: FrameBuilder;
  readonly tree: TreeWriter;
  readonly pool: CodecPool;
  /** The keys of chunk ids, in an encrypted repository. */
  readonly signing: Signing | undefined;
  /** What is new may be stored as patches against chunks that it resembles. */
  readonly patches: boolean;
  /** All content is put, not only what may have changed. */
  readonly isWhole: boolean;
  /** Whether it is to rest: with all that was taken in stored, it then waits for `rested`. */
  wantsRest(): boolean;
  rested(relied: Relied): Promise<void>;
};

type Item =
  | { kind: 'data'; batch: Batch; offsetBytes: number; lengthBytes: number; ready: Promise<void> }
  | { kind: 'empty'; piece: number; offsetBytes: number; lengthBytes: number }
  | { kind: 'keep'; offsetBytes: number; lengthBytes: number }
  | (KnownChunks & { kind: 'known'; offsetBytes: number; lengthBytes: number });

export class SnapshotWriter {
  readonly stats: WriterStats = {
    changedBytes: 0,
    newBytes: 0,
    newChunks: 0,
    knownBytes: 0,
    zeroBytes: 0,
  };
  readonly #options: SnapshotWriterOptions;
  readonly #batches: Slots<Batch>;
  /** Who has this many batches that were not put waits for ever for one more. */
  readonly batchCount: number;
  /** Only if what is new may resemble what was there before. */
  readonly #stage: ChunkStage | undefined;
  readonly #relied: Relied;
  #open: OpenLeaf | undefined;
  #next = 0;
  #tail: Promise<void> = Promise.resolve();
  #failure: unknown;
  readonly #signer: Signer;

  constructor(options: SnapshotWriterOptions) {
    this.#options = options;
    this.#signer = signer(options.signing);
    this.#relied = new Relied(options.index);
    const { chunkBytes, sizeBytes } = options.geometry;
    const { builder, pool, index, parent, patches, isWhole } = options;
    if (patches && parent !== undefined) {
      const similar = new SimilarIndex(index, sizeBytes, { isWhole });
      this.#stage = new ChunkStage(builder, pool, similar, sizeBytes);
    }
    const withSamples = this.#stage !== undefined;
    this.batchCount = 4 + pool.threads * 3;
    const make = () => newBatch(chunkBytes, withSamples);
    this.#batches = new Slots(Array.from({ length: this.batchCount }, make));
  }

  /** Ids are the hashes that the volume digest is made of; else only whole leaves can be kept. */
  get hasPlainIds(): boolean {
    const { signing, geometry } = this.#options;
    return signing === undefined && geometry.chunkBytes === CANONICAL_BYTES;
  }

  /** Memory for the next batch; waits until there is some. Give it back through `putData`. */
  async batch(): Promise<Batch> {
    const batch = await this.#batches.take();
    this.#check();
    return batch;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** The first `lengthBytes` of the batch are the content at `offsetBytes`. Chunk-aligned. */
  putData(batch: Batch, offsetBytes: number, lengthBytes: number): void {
    const { pool, signing, geometry } = this.#options;
    const { chunkBytes } = geometry;
    const ready = digestBatch(pool, batch, lengthBytes, { chunkBytes, signing });
    ready.catch(() => undefined); // Seen again in order.
    this.#put({ kind: 'data', batch, offsetBytes, lengthBytes, ready });
  }

  /** The range is empty: PIECE_HOLE, PIECE_ZERO or PIECE_DISCARDED. */
  putEmpty(piece: number, offsetBytes: number, lengthBytes: number): void {
    this.#put({ kind: 'empty', piece, offsetBytes, lengthBytes });
  }

  /** The range is as the parent has it. */
  keep(offsetBytes: number, lengthBytes: number): void {
    this.#put({ kind: 'keep', offsetBytes, lengthBytes });
  }

  /**
   * The range is whole chunks that `holds` found, by their hashes. Only where pieces are canonical
   * chunks: there the digest follows from the hashes.
   */
  putKnown(hashes: Uint8Array, offsetBytes: number, lengthBytes: number): void {
    assert(this.#options.geometry.chunkBytes === CANONICAL_BYTES);
    this.#put({ kind: 'known', hashes, idOf: this.#signer.idOf, offsetBytes, lengthBytes });
  }

  /** Whether the repository has the chunk with this SHA-256, or will have it with this snapshot. */
  async holds(hash: Uint8Array): Promise<boolean> {
    const { index } = this.#options;
    const id = this.#signer.idOf(hash);
    return this.#stage?.holds(id) || this.#usable(await index.find(id)) !== undefined;
  }

  /** Resolves when everything put so far was taken in; bounds how far a caller runs ahead. */
  async settled(): Promise<void> {
    await this.#tail;
    this.#check();
  }

  /** Stores what was put, and waits until now for something that it resembles. */
  async storeWaiting(): Promise<void> {
    await this.settled();
    await this.#stage?.finish();
  }

  /** Stores what was put, though the volume is not whole: for the next run to find. */
  async keepStored(): Promise<void> {
    await this.storeWaiting();
    await this.#options.builder.finish();
  }

  /** Nothing more is done once this resolves, whatever had been begun. */
  async stopped(): Promise<void> {
    await this.settled().catch(() => undefined);
    await this.#stage?.stopped();
  }

  #put(item: Item): void {
    const { offsetBytes, lengthBytes } = item;
    const { sizeBytes, chunkBytes } = this.#options.geometry;
    assert(offsetBytes === this.#next, `put ${offsetBytes} where ${this.#next} is next`);
    this.#next = offsetBytes + lengthBytes;
    assert(this.#next <= sizeBytes && (this.#next % chunkBytes === 0 || this.#next === sizeBytes));
    this.#tail = this.#tail.then(async () => {
      try {
        if (this.#failure === undefined) await this.#take(item);
      } catch (error) {
        this.#failure ??= error;
      } finally {
        if (item.kind === 'data') await this.#release(item);
      }
    });
  }

  /** The thread must be done with the memory before anybody else gets it. */
  async #release({ batch, ready }: Extract<Item, { kind: 'data' }>): Promise<void> {
    await ready.catch((error) => {
      this.#failure ??= error;
    });
    this.#batches.give(batch);
  }

  async #take(item: Item): Promise<void> {
    if (this.#options.wantsRest()) {
      await this.#stage?.finish();
      await this.#options.builder.finish();
      await this.#options.rested(this.#relied);
    }
    if (item.kind === 'data') await item.ready;
    const end = item.offsetBytes + item.lengthBytes;
    for (let offset = item.offsetBytes; offset < end; ) {
      const index = Math.floor(offset / LEAF_BYTES);
      const stop = Math.min(end, (index + 1) * LEAF_BYTES);
      if (!(await this.#skips(item, index, offset, stop))) {
        const open = await this.#leaf(index);
        const range = { offset, stop };
        if (item.kind === 'data') await this.#takeData(open, item, offset, stop);
        else if (item.kind === 'known') takeKnown(open, item, range, this.stats);
        else {
          if (item.kind === 'keep') await checkKept(this.#options, open, range);
          this.#takeRange(open, item, offset, stop);
        }
        if (open.filled === open.leaf.count) await this.#closeLeaf(open);
      }
      offset = stop;
    }
  }

  /** Whole leaves that stay as they are (or stay holes) are not even looked at. */
  async #skips(item: Item, index: number, offset: number, stop: number): Promise<boolean> {
    const { geometry, parent, reader, index: chunks } = this.#options;
    if (item.kind === 'data' || item.kind === 'known' || this.#open) return false;
    if (item.kind === 'keep' && (chunks.unreadable.size > 0 || chunks.lossy)) return false;
    if (offset !== index * LEAF_BYTES || stop - offset !== coveredBytes(geometry, 0, index)) {
      return false;
    }
    if (parent === undefined) return item.kind === 'empty' && item.piece === PIECE_HOLE;
    if (this.#reshaped(index)) return false;
    if (item.kind === 'keep') return true;
    if (item.piece !== PIECE_HOLE) return false;
    return (await reader.nodeReference(parent, 0, index)) === undefined;
  }

  /** Whether the parent's leaf has another size than the new one. */
  #reshaped(index: number): boolean {
    const { geometry, parent } = this.#options;
    if (parent === undefined) return false;
    const before = Math.max(0, coveredBytes(parent.geometry, 0, index));
    return before !== coveredBytes(geometry, 0, index);
  }

  async #leaf(index: number): Promise<OpenLeaf> {
    if (this.#open !== undefined) {
      assert(this.#open.index === index);
      return this.#open;
    }
    const { geometry, parent, reader } = this.#options;
    const leafBytes = coveredBytes(geometry, 0, index);
    const reference = parent && (await reader.nodeReference(parent, 0, index));
    const blank = holeLeaf(leafBytes, geometry.chunkBytes);
    const old =
      parent === undefined || reference === undefined
        ? blank
        : fitted(await reader.wholeLeaf(parent, index, reference), blank);
    this.#open = {
      index,
      leaf: new Leaf(blank.count),
      old,
      oldReference: reference,
      filled: 0,
      hashes: this.hasPlainIds
        ? undefined
        : new Uint8Array(Math.ceil(leafBytes / CANONICAL_BYTES) * 32),
    };
    return this.#open;
  }

  #takeRange(
    open: OpenLeaf,
    item: Extract<Item, { kind: 'empty' | 'keep' }>,
    offset: number,
    stop: number,
  ): void {
    const { chunkBytes } = this.#options.geometry;
    const first = (offset - open.index * LEAF_BYTES) / chunkBytes;
    const count = Math.ceil((stop - offset) / chunkBytes);
    for (let piece = first; piece < first + count; piece++) {
      const length = open.old.lengths[piece]!;
      if (item.kind === 'keep') open.leaf.copyFrom(piece, open.old, piece);
      else {
        open.leaf.setEmpty(piece, item.piece, length);
        if (open.old.kinds[piece] === PIECE_CHUNK) this.stats.changedBytes += length;
        this.stats.zeroBytes += length;
      }
    }
    assert(item.kind !== 'keep' || open.hashes === undefined, 'keep whole leaves only');
    fillHashes(open, offset, stop, undefined);
    open.filled += count;
  }

  async #takeData(
    open: OpenLeaf,
    item: Extract<Item, { kind: 'data' }>,
    offset: number,
    stop: number,
  ): Promise<void> {
    const { chunkBytes } = this.#options.geometry;
    const entries = new DataView(item.batch.digests);
    for (let at = offset; at < stop; at += chunkBytes) {
      const inBatch = at - item.offsetBytes;
      const entry = (inBatch / chunkBytes) * DIGEST_ENTRY_BYTES;
      const piece = (at - open.index * LEAF_BYTES) / chunkBytes;
      const length = Math.min(chunkBytes, stop - at);
      if (entries.getUint32(entry, true) === 1) this.#takeZero(open, piece, length);
      else {
        const bytes = item.batch.bytes.subarray(inBatch, inBatch + length);
        // A copy: the batch is reused while the id lives on.
        const id = new Uint8Array(item.batch.digests).slice(entry + 8, entry + DIGEST_ENTRY_BYTES);
        const checksum = hasChecksums(item.batch) ? entries.getUint32(entry + 4, true) : undefined;
        const chunk = { bytes, id, checksum };
        await this.#takeChunk(open, piece, chunk, samplesOf(item.batch, inBatch, chunkBytes));
      }
      open.filled++;
    }
    fillHashes(open, offset, stop, item);
  }

  #takeZero(open: OpenLeaf, piece: number, length: number): void {
    const was = open.old.kinds[piece]!;
    // Read as zeroes, as before: which kind of nothing it is, only the source can say.
    open.leaf.setEmpty(piece, was === PIECE_CHUNK ? PIECE_ZERO : was, length);
    if (was === PIECE_CHUNK) this.stats.changedBytes += length;
    this.stats.zeroBytes += length;
  }

  async #takeChunk(
    open: OpenLeaf,
    piece: number,
    { bytes, id, checksum }: Omit<NewChunk, 'checksum'> & { checksum: number | undefined },
    samples: Uint32Array,
  ): Promise<void> {
    const { leaf, old } = open;
    const length = bytes.byteLength;
    leaf.setChunk(piece, length, id);
    const wasChunk = old.kinds[piece] === PIECE_CHUNK;
    const { index, builder } = this.#options;
    const unsure = index.unreadable.size > 0;
    const same = wasChunk && old.lengths[piece] === length && equalBytes(old.id(piece), id);
    if (!same) this.stats.changedBytes += length;
    else if (!unsure && !index.lossy) return this.#stage?.seen(id, samples);
    const answer = index.find(id, checksum);
    if (this.#usable(answer instanceof Promise ? await answer : answer) !== undefined) {
      if (!same) this.stats.knownBytes += length;
      return this.#stage?.seen(id, samples);
    }
    if (this.#stage?.holds(id)) {
      if (!same) this.stats.knownBytes += length;
      return;
    }
    this.stats.newBytes += length;
    this.stats.newChunks++;
    const chunk = { bytes, id, checksum: checksum ?? this.#signer.checksumOf(bytes, id) };
    if (this.#stage === undefined || unsure) return builder.add(chunk, []);
    const before = wasChunk ? index.find(old.id(piece)) : undefined;
    const parent = this.#reliable(before instanceof Promise ? await before : before);
    await this.#stage.add(chunk, samples, parent);
  }

  /** Beside a lost pack a patch may have lost its parent: stored plain, a chunk is sound again. */
  #usable(found: Location | undefined): Location | undefined {
    const unsure = this.#options.index.unreadable.size > 0;
    const doubtful = unsure && found !== undefined && found.table.depths[found.ordinal] !== 0;
    return doubtful ? undefined : this.#reliable(found);
  }

  /** What is condemned will soon be gone. */
  #reliable(found: Location | undefined): Location | undefined {
    if (found === undefined || this.#options.index.isCondemned(found.pack)) return undefined;
    this.#relied.add(found);
    return found;
  }

  async #closeLeaf(open: OpenLeaf): Promise<void> {
    this.#open = undefined;
    const { leaf, old, oldReference, hashes } = open;
    const unchanged = leaf.equals(old) && !this.#reshaped(open.index);
    if (unchanged && (oldReference !== undefined || leaf.isAllHole)) return;
    const digest = hashes === undefined ? leafDigest(leaf) : nodeDigest(0, hashes);
    await this.#options.tree.put(open.index, leaf, digest);
  }

  /** Stores what is left and closes the manifest. The whole volume must have been put. */
  async finish(): Promise<{ root: Child; digest: Uint8Array }> {
    await this.storeWaiting();
    assert(this.#next === this.#options.geometry.sizeBytes, 'the volume was not put whole');
    const result = await this.#options.tree.finish();
    await this.#options.builder.finish();
    return result;
  }
}
