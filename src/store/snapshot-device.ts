/** A snapshot as a read-only Device: what is read is fetched, verified and kept for a while. */
import { FerryError, hasCode } from '../core/index.ts';
import {
  type Answer,
  anyBlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  type ExtentKind,
  ExtentList,
  type Tracking,
} from '../device/index.ts';
import { ByteCache } from './byte-cache.ts';
import type { ChunkReader } from './chunk-reader.ts';
import { damagedObject, snapshotGone } from './errors.ts';
import { coveredBytes, leafCount } from './geometry.ts';
import { type Leaf, PIECE_CHUNK, PIECE_ZERO } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';
import { eachChunk } from './pieces.ts';
import { ReadAhead } from './read-ahead.ts';
import { type Snapshot, treeOf } from './snapshot.ts';
import type { Tree, TreeReader } from './tree-reader.ts';

/** Whole leaves kept at hand, by what their ids take. */
const LEAF_CACHE_BYTES = 8 * 1024 * 1024;

/** Packs can go again while what was in one is looked for, but not again and again. */
const FOLLOW_ATTEMPTS = 2;

/** Stands for a leaf without a node. */
const EMPTY = Symbol('empty leaf');

export type Reading = {
  /** Requests that pay at the same time; undefined for a store that is near. */
  readonly readsInFlight: number | undefined;
  /** After a pack was found to be gone: learns where its records are now. */
  follow(): Promise<void>;
  /** Whether the log still has the snapshot. */
  isThere(): boolean;
  /** What the device tells of changes, if it was opened with a snapshot to compare with. */
  readonly tracking?: Tracking | undefined;
};

export class SnapshotDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = { ...anyBlockSizes, preferredBytes: 64 * 1024 };
  readonly readOnly = true;
  readonly durable = true;
  readonly hints: DeviceHints = { rotational: false, fastZero: false };
  readonly tracking: Tracking | undefined;
  readonly #snapshot: Snapshot;
  readonly #reading: Reading;
  readonly #tree: Tree;
  readonly #reader: TreeReader;
  readonly #chunks: ChunkReader;
  readonly #leaves = new ByteCache<number, Leaf | typeof EMPTY>(LEAF_CACHE_BYTES);

  readonly #ahead: ReadAhead;

  constructor(snapshot: Snapshot, reader: TreeReader, chunks: ChunkReader, reading: Reading) {
    this.#snapshot = snapshot;
    this.#reading = reading;
    this.tracking = reading.tracking;
    this.name = `${snapshot.volume}@${snapshot.id.slice(0, 8)}`;
    this.sizeBytes = snapshot.sizeBytes;
    this.#tree = treeOf(snapshot);
    this.#reader = reader;
    this.#chunks = chunks;
    this.#ahead = new ReadAhead(reading.readsInFlight, (from, to) => this.#fetchAhead(from, to));
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    this.#ahead.reading(offsetBytes, target.byteLength);
    let at = 0;
    try {
      // As far as everything is at hand, no promise is made.
      while (at < target.byteLength) {
        const done = this.#copy(target, at, offsetBytes + at);
        if (done === undefined) break;
        at += done;
      }
    } catch (error) {
      // The slow way looks whether it is elsewhere by now.
      if (hasCode(error, 'STORE_MISSING')) return this.#readSlowly(target, at, offsetBytes);
      throw this.#failure(error, target.byteLength, offsetBytes);
    }
    if (at < target.byteLength) return this.#readSlowly(target, at, offsetBytes);
  }

  /** Copies up to the end of a piece; undefined if that has to wait. */
  #copy(target: Uint8Array, at: number, offsetBytes: number): number | undefined {
    const index = Math.floor(offsetBytes / LEAF_BYTES);
    const leaf = this.#leaves.get(index);
    if (leaf === undefined) return undefined;
    const inLeaf = offsetBytes - index * LEAF_BYTES;
    if (leaf === EMPTY) {
      const rest = coveredBytes(this.#tree.geometry, 0, index) - inLeaf;
      return clear(target, at, rest);
    }
    const { piece, start } = pieceAt(leaf, inLeaf);
    const rest = start + leaf.lengths[piece]! - inLeaf;
    if (leaf.kinds[piece] !== PIECE_CHUNK) return clear(target, at, rest);
    const bytes = this.#chunks.chunk(leaf.id(piece));
    if (bytes instanceof Promise) {
      bytes.catch(() => undefined); // Asked for again, and awaited, on the slow path.
      return undefined;
    }
    return copyPart(target, at, this.#whole(bytes, leaf.lengths[piece]!), inLeaf - start);
  }

  async #readSlowly(target: Uint8Array, from: number, offsetBytes: number): Promise<void> {
    try {
      await this.#following(async () => {
        for (let at = from; at < target.byteLength; ) {
          const done = this.#copy(target, at, offsetBytes + at);
          at += done ?? (await this.#fetch(target, at, offsetBytes + at));
        }
      });
    } catch (error) {
      throw this.#failure(error, target.byteLength, offsetBytes);
    }
  }

  /** What is missing may have moved to another pack, once more while it is looked for. */
  async #following(work: () => Promise<void>): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        if (!hasCode(error, 'STORE_MISSING')) throw error;
        if (attempt === FOLLOW_ATTEMPTS) {
          throw this.#reading.isThere() ? error : snapshotGone(this.#snapshot, error);
        }
        await this.#reading.follow();
      }
    }
  }

  /** Begins to fetch what lies between; what fails is asked for again by whoever needs it. */
  async #fetchAhead(from: number, to: number): Promise<void> {
    const end = Math.min(to, this.sizeBytes);
    for (let at = from; at < end; ) {
      const index = Math.floor(at / LEAF_BYTES);
      const leaf = await this.#leaf(index);
      const start = index * LEAF_BYTES;
      if (leaf !== EMPTY) {
        eachChunk(leaf, index, (offsetBytes, lengthBytes, id) => {
          if (offsetBytes + lengthBytes > from && offsetBytes < end) this.#chunks.fetch(id);
        });
      }
      at = start + LEAF_BYTES;
    }
  }

  /** Waits for the leaf, or else copies from the chunk once it is there; answers as #copy does. */
  async #fetch(target: Uint8Array, at: number, offsetBytes: number): Promise<number> {
    const index = Math.floor(offsetBytes / LEAF_BYTES);
    const leaf = this.#leaves.get(index);
    if (leaf === undefined) await this.#leaf(index);
    if (leaf === undefined || leaf === EMPTY) return 0;
    const inLeaf = offsetBytes - index * LEAF_BYTES;
    const { piece, start } = pieceAt(leaf, inLeaf);
    if (leaf.kinds[piece] !== PIECE_CHUNK) return 0;
    const bytes = await this.#chunks.chunk(leaf.id(piece));
    return copyPart(target, at, this.#whole(bytes, leaf.lengths[piece]!), inLeaf - start);
  }

  /** A chunk of another length would shift what follows, or never end. */
  #whole(bytes: Uint8Array, lengthBytes: number): Uint8Array {
    if (bytes.byteLength === lengthBytes) return bytes;
    const what = `its manifest wants ${lengthBytes} bytes of a chunk of ${bytes.byteLength}`;
    throw damagedObject(this.name, what);
  }

  async #leaf(index: number): Promise<Leaf | typeof EMPTY> {
    const known = this.#leaves.get(index);
    if (known !== undefined) return known;
    const reference = await this.#reader.nodeReference(this.#tree, 0, index);
    const leaf =
      reference === undefined ? EMPTY : await this.#reader.wholeLeaf(this.#tree, index, reference);
    this.#leaves.set(index, leaf, leaf === EMPTY ? 64 : leaf.ids.byteLength + leaf.count * 5);
    return leaf;
  }

  #failure(cause: unknown, lengthBytes: number, offsetBytes: number): unknown {
    if (!(cause instanceof FerryError) || cause instanceof DeviceError) return cause;
    const where = `${lengthBytes} bytes at ${offsetBytes}`;
    return new DeviceError('DEVICE_IO', `${this.name}: ${where}: ${cause.message}`, {
      hint: cause.hint,
      cause,
    });
  }

  write(source: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
  }

  flush(): Answer {
    // A snapshot never changes.
  }

  zero(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  trim(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    try {
      while (!list.full) await this.#following(() => this.#describe(list));
    } catch (error) {
      throw this.#failure(error, lengthBytes, offsetBytes);
    }
    return list.extents;
  }

  async #describe(list: ExtentList): Promise<void> {
    const index = Math.floor(list.atBytes / LEAF_BYTES);
    const empty = await this.#reader.emptyLeaves(this.#tree, index);
    if (empty > 0) {
      const end = index + empty;
      const last = end >= leafCount(this.#tree.geometry);
      list.add(last ? this.sizeBytes : end * LEAF_BYTES, 'hole');
      return;
    }
    const leaf = await this.#leaf(index);
    if (leaf === EMPTY) return;
    const { piece: first, start } = pieceAt(leaf, list.atBytes - index * LEAF_BYTES);
    let end = index * LEAF_BYTES + start;
    for (let piece = first; piece < leaf.count && !list.full; piece++) {
      end += leaf.lengths[piece]!;
      list.add(end, kindOf(leaf.kinds[piece]!));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The repository owns everything that is open.
  }
}

function copyPart(target: Uint8Array, at: number, bytes: Uint8Array, from: number): number {
  const part = bytes.subarray(from, from + target.byteLength - at);
  target.set(part, at);
  return part.byteLength;
}

function clear(target: Uint8Array, at: number, rest: number): number {
  const end = Math.min(target.byteLength, at + rest);
  target.fill(0, at, end);
  return end - at;
}

function kindOf(piece: number): ExtentKind {
  if (piece === PIECE_CHUNK) return 'data';
  return piece === PIECE_ZERO ? 'zero' : 'hole';
}

/** The piece that holds byte `inLeaf` of the leaf, and where it starts. */
function pieceAt(leaf: Leaf, inLeaf: number): { piece: number; start: number } {
  const length = leaf.lengths[0]!;
  // Pieces of one size are the rule: try the place that this gives first.
  const guess = Math.floor(inLeaf / length);
  if (guess < leaf.count && isUniform(leaf)) return { piece: guess, start: guess * length };
  let start = 0;
  let piece = 0;
  while (piece < leaf.count - 1 && start + leaf.lengths[piece]! <= inLeaf) {
    start += leaf.lengths[piece++]!;
  }
  return { piece, start };
}

const uniform = new WeakMap<Leaf, boolean>();

/** Whether all pieces but the last have one length. */
function isUniform(leaf: Leaf): boolean {
  let known = uniform.get(leaf);
  if (known === undefined) {
    const { lengths, count } = leaf;
    known = lengths.every(
      (length, at) => length === lengths[0] || (at === count - 1 && length < lengths[0]!),
    );
    uniform.set(leaf, known);
  }
  return known;
}
