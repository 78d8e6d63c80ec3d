/** Takes one snapshot through a writer: keeps, recognises, or reads and verifies what it holds. */
import type { CodecPool } from '../../codec/index.ts';
import { mapOrdered, toHex } from '../../core/index.ts';
import {
  BATCH_BYTES,
  type Batch,
  CANONICAL_BYTES,
  type ChunkIndex,
  diffTrees,
  FrameCache,
  LEAF_BYTES,
  type Repository,
  type Snapshot,
  type SnapshotWriter,
  StoreError,
  treeOf,
} from '../../store/index.ts';
import { decodeChunks, type WantedChunk } from '../decode-chunks.ts';
import { checkInterrupted } from '../errors.ts';
import type { OnProgress } from '../progress.ts';
import { changedRuns, type Keep, type Run } from '../runs.ts';
import { isDamage } from './damage.ts';
import { type Block, bearsHashes, blocksOf, type SourceChunk } from './source-blocks.ts';

/** Batches that are read and decoded at the same time, where the store is near. */
const READS_IN_FLIGHT = 4;

/** A batch is a few frames, which are read at once. */
const READS_PER_BATCH = 2;

export type CopyRunOptions = {
  readonly source: Repository;
  readonly snapshot: Snapshot;
  /** What the writer's parent is a copy of: only what differs from that is looked at. */
  readonly base: Snapshot | undefined;
  readonly writer: SnapshotWriter;
  /** Of the destination. */
  readonly chunkBytes: number;
  readonly pool: CodecPool;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
};

type Range = { readonly offsetBytes: number; readonly lengthBytes: number };
type Data = Range & { readonly kind: 'data'; readonly chunks: readonly SourceChunk[] };
type Known = Range & { readonly kind: 'known'; readonly hashes: readonly Uint8Array[] };
type Empty = Range & { readonly kind: 'empty'; readonly piece: number };
type Item = Data | Known | Empty | Keep;
type Filled = Range & { readonly kind: 'filled'; readonly batch: Batch };

export class CopyRun {
  readonly #options: CopyRunOptions;
  readonly #index: ChunkIndex;
  readonly #ahead: number;
  readonly #frames: FrameCache;
  /** A multiple of both repositories' chunks. */
  readonly #alignBytes: number;
  /** Plain bytes that were read of the source. */
  readBytes = 0;
  /** Bytes that were found at the destination by their hashes, and not read. */
  foundBytes = 0;
  /** What of the source is damaged, and whether it is the snapshot's content or only manifests. */
  sourceDamage: { readonly error: unknown; readonly inContent: boolean } | undefined;

  constructor(options: CopyRunOptions, index: ChunkIndex) {
    this.#options = options;
    this.#index = index;
    const { source, snapshot, chunkBytes, pool, writer } = options;
    this.#alignBytes = Math.max(snapshot.chunkBytes, chunkBytes, CANONICAL_BYTES);
    const far = Math.ceil((source.objects.readsInFlight ?? 0) / READS_PER_BATCH);
    const ahead = pool.threads === 0 ? 1 : Math.max(READS_IN_FLIGHT, far);
    // When one fails, those that were begun still get their memory, and end.
    this.#ahead = Math.min(ahead, writer.batchCount);
    this.#frames = new FrameCache(source.objects);
  }

  async all(): Promise<void> {
    const { writer, snapshot, signal, onProgress } = this.#options;
    const { sizeBytes: totalBytes } = snapshot;
    for await (const item of mapOrdered(this.#items(), this.#ahead, (each) => this.#filled(each))) {
      checkInterrupted(signal);
      const { offsetBytes, lengthBytes } = item;
      if (item.kind === 'filled') writer.putData(item.batch, offsetBytes, lengthBytes);
      else if (item.kind === 'keep') writer.keep(offsetBytes, lengthBytes);
      else if (item.kind === 'empty') writer.putEmpty(item.piece, offsetBytes, lengthBytes);
      else {
        this.foundBytes += lengthBytes;
        writer.putKnown(Buffer.concat(item.hashes), offsetBytes, lengthBytes);
      }
      onProgress?.({ doneBytes: offsetBytes + lengthBytes, totalBytes });
    }
    await writer.settled();
  }

  /** What is to be looked at, and between it what the parent has too. */
  #runs(): AsyncIterable<Run | Keep> {
    const { source, snapshot, base, writer } = this.#options;
    const { sizeBytes } = snapshot;
    // Leaves whose digest does not follow from their ids are taken whole.
    const alignBytes = writer.hasPlainIds ? this.#alignBytes : LEAF_BYTES;
    if (base === undefined) return changedRuns([], { sizeBytes, stableBytes: 0, alignBytes });
    const border = Math.floor(Math.min(sizeBytes, base.sizeBytes) / alignBytes) * alignBytes;
    const stableBytes = sizeBytes === base.sizeBytes ? sizeBytes : border;
    const changed = diffTrees(source.reader, treeOf(base), treeOf(snapshot));
    return changedRuns(changed, { sizeBytes, stableBytes, alignBytes });
  }

  async *#pieces(): AsyncGenerator<Item> {
    const { source, snapshot } = this.#options;
    const alignBytes = this.#alignBytes;
    for await (const run of this.#ofSource(this.#runs())) {
      if (run.kind === 'keep') {
        yield run;
        continue;
      }
      const { offsetBytes, lengthBytes } = run;
      const range = { offsetBytes, lengthBytes, alignBytes };
      const blocks = blocksOf(source.reader, treeOf(snapshot), range);
      for await (const block of this.#ofSource(blocks)) {
        yield await this.#recognised(block);
      }
    }
  }

  /** Manifests of the source are read: what is found wrong here is wrong there. */
  async *#ofSource<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = items[Symbol.asyncIterator]();
    for (;;) {
      const { done, value } = await this.#blamingSource(() => iterator.next(), false);
      if (done) return;
      yield value;
    }
  }

  async #blamingSource<T>(work: () => Promise<T>, inContent: boolean): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isDamage(error)) this.sourceDamage ??= { error, inContent };
      throw error;
    }
  }

  async #recognised(block: Block): Promise<Item> {
    const { source, snapshot, chunkBytes } = this.#options;
    if (!bearsHashes(source, snapshot, chunkBytes) || block.kind === 'empty') return block;
    const hash = block.chunks[0]!.id;
    if (!(await this.#options.writer.holds(hash))) return block;
    const { offsetBytes, lengthBytes } = block;
    return { kind: 'known', hashes: [hash], offsetBytes, lengthBytes };
  }

  /** Joins pieces to what is worth a call. */
  async *#items(): AsyncGenerator<Item> {
    let pending: Item | undefined;
    for await (const item of this.#pieces()) {
      const joined = pending && join(pending, item);
      if (pending !== undefined && joined === undefined) yield pending;
      pending = joined ?? item;
    }
    if (pending !== undefined) yield pending;
  }

  async #filled(item: Item): Promise<Exclude<Item, Data> | Filled> {
    if (item.kind !== 'data') return item;
    const batch = await this.#options.writer.batch();
    await this.#blamingSource(() => this.#decode(item, batch), true);
    this.readBytes += item.lengthBytes;
    const { offsetBytes, lengthBytes } = item;
    return { kind: 'filled', batch, offsetBytes, lengthBytes };
  }

  async #decode({ chunks, offsetBytes, lengthBytes }: Data, batch: Batch) {
    const { source, pool } = this.#options;
    const wanted: WantedChunk[] = [];
    let coveredBytes = 0;
    for (const chunk of chunks) {
      const location = await this.#locate(chunk);
      coveredBytes += chunk.lengthBytes;
      const at = chunk.offsetBytes - offsetBytes;
      wanted.push({ location, at, lengthBytes: chunk.lengthBytes });
    }
    if (coveredBytes < lengthBytes) batch.bytes.fill(0, 0, lengthBytes);
    wanted.sort(byPlace);
    const context = { objects: source.objects, index: this.#index, pool, frames: this.#frames };
    await decodeChunks(context, wanted, { memory: batch.memory, at: 0, lengthBytes });
  }

  async #locate({ id, offsetBytes, lengthBytes }: SourceChunk) {
    const found = await this.#index.find(id);
    if (found === undefined) {
      throw this.#index.absent(`chunk ${toHex(id).slice(0, 16)}, wanted at ${offsetBytes},`);
    }
    const rawBytes = found.table.rawBytes[found.ordinal];
    if (rawBytes === lengthBytes) return found;
    const what = `the manifest wants ${lengthBytes} bytes at ${offsetBytes}, its chunk has`;
    throw new StoreError('STORE_DAMAGED', `${what} ${rawBytes}`, {
      hint: 'Run `ferry check --read-data` to see what is affected.',
    });
  }
}

/** Hashes that are handed over at a time: those of a leaf. */
const KNOWN_MAX = LEAF_BYTES / CANONICAL_BYTES;

/** Both as one, if they are alike and that is not too much. */
function join(first: Item, second: Item): Item | undefined {
  const lengthBytes = first.lengthBytes + second.lengthBytes;
  if (first.kind === 'empty' && second.kind === 'empty') {
    return first.piece === second.piece ? { ...first, lengthBytes } : undefined;
  }
  if (first.kind === 'known' && second.kind === 'known') {
    const hashes = [...first.hashes, ...second.hashes];
    return hashes.length <= KNOWN_MAX ? { ...first, hashes, lengthBytes } : undefined;
  }
  if (first.kind !== 'data' || second.kind !== 'data' || lengthBytes > BATCH_BYTES)
    return undefined;
  return { ...first, chunks: [...first.chunks, ...second.chunks], lengthBytes };
}

function byPlace({ location: a }: WantedChunk, { location: b }: WantedChunk): number {
  return a.pack - b.pack || a.ordinal - b.ordinal;
}
