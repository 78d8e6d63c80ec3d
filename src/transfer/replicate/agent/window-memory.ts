/** The memory of one window: what is read, its hashes, then the frame that is made of it. */
import {
  type CodecPool,
  type FileName,
  frameRoomBytes,
  PACKED_IN_VAIN,
  PACKED_LIKE,
  PACKED_PATCH,
  PACKED_ZERO,
  type PackJob,
  runJob,
} from '../../../codec/index.ts';
import { type Extent, SHA256_BYTES } from '../../../core/index.ts';
import { HEADER_BYTES } from '../../../wire/index.ts';
import { COMPRESSION } from '../frames.ts';
import { memory } from '../memory.ts';
import type { Likes } from './placed-patches.ts';
import type { Run, Window } from './windows.ts';

export type Piece = Extent & {
  readonly at: number;
  readonly hashAt: number;
  /** A view; all zero where the content is. */
  readonly hash: Uint8Array;
};

/** What the other side has of a range, if that is known; valid until the next call. */
export type OldBytes = (offsetBytes: number, lengthBytes: number) => Uint8Array | undefined;

export type PackedPiece = Piece & {
  readonly isZero: boolean;
  /** A patch was made; false: it would have been no use; undefined: none was tried. */
  readonly isPatch: boolean | undefined;
  /** It is a patch against what it resembles. */
  readonly isPlaced: boolean;
};

export type Packed = {
  readonly pieces: readonly PackedPiece[];
  /** With a record for each piece that is not zero; empty if all are. */
  readonly frame: Uint8Array;
  /** The frame is part of the window's memory. */
  readonly isInMemory: boolean;
  /** With the head of a message before it, in one piece; undefined if there is no room for that. */
  readonly withHead: (head: Uint8Array) => Uint8Array | undefined;
};

/** For the header and the head of a message before the frame; most entries take less. */
function messageRoomBytes(pieceCount: number): number {
  return HEADER_BYTES + 64 + 48 * pieceCount;
}

/** Views are made when they are asked for: they take more than all else of a piece. */
class PieceOfWindow implements Piece {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly at: number;
  readonly hashAt: number;
  readonly #all: Uint8Array;

  constructor({ offsetBytes, lengthBytes, at }: Run, hashAt: number, all: Uint8Array) {
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.at = at;
    this.hashAt = hashAt;
    this.#all = all;
  }

  get hash(): Uint8Array {
    return this.#all.subarray(this.hashAt, this.hashAt + SHA256_BYTES);
  }
}

export class WindowMemory {
  readonly pieces: readonly Piece[];
  /** Of all pieces, one after the other. */
  readonly content: Uint8Array;
  /** Of all pieces, once `hash` or `pack` has settled. */
  readonly hashes: Uint8Array;
  readonly #all: Uint8Array<SharedArrayBuffer>;
  readonly #pool: CodecPool | undefined;
  readonly #piecesMax: number;
  #isHashed = false;

  /** Without a pool the work is done in place. `piecesMax`: so many `cutAnew` may make. */
  constructor({ extents }: Window, pool: CodecPool | undefined, piecesMax = extents.length) {
    this.#pool = pool;
    this.#piecesMax = piecesMax;
    const hashBytes = piecesMax * SHA256_BYTES;
    const lengthBytes = extents.reduce((sum, extent) => sum + extent.lengthBytes, 0);
    let at = hashBytes + messageRoomBytes(piecesMax) + frameRoomBytes(piecesMax);
    this.#all = memory.take(at + lengthBytes);
    this.hashes = this.#all.subarray(0, hashBytes);
    this.content = this.#all.subarray(at, at + lengthBytes);
    this.pieces = extents.map((extent, index): Piece => {
      const piece = this.#piece({ ...extent, at }, index);
      at += extent.lengthBytes;
      return piece;
    });
  }

  /** Fills the content from a file, by a thread; undefined if there is none. */
  readFrom(file: FileName, runs: readonly Run[]): Promise<void> | undefined {
    if (this.#pool === undefined) return undefined;
    const ranges = new Float64Array(3 * runs.length);
    let end = 0;
    for (const { offsetBytes, lengthBytes, at } of runs) {
      ranges[end++] = offsetBytes;
      ranges[end++] = lengthBytes;
      ranges[end++] = this.content.byteOffset + at;
    }
    return this.#pool.read({ file, memory: this.#all.buffer, ranges });
  }

  async hash(): Promise<void> {
    await this.#run({ pieces: this.pieces.map(placeOf) });
    this.#isHashed = true;
  }

  /** As it was read, before it is packed. */
  contentOf({ at, lengthBytes }: Pick<Piece, 'at' | 'lengthBytes'>): Uint8Array {
    return this.#all.subarray(at, at + lengthBytes);
  }

  /** Other pieces of what was read, ascending; their hashes are made when they are packed. */
  cutAnew(runs: readonly Run[]): readonly Piece[] {
    this.#isHashed = false;
    return runs.map((run, index) => this.#piece(run, index));
  }

  #piece(run: Run, index: number): Piece {
    return new PieceOfWindow(run, index * SHA256_BYTES, this.#all);
  }

  /** What each of the pieces resembles, by its numbers in the tables. */
  async match(
    pieces: readonly Piece[],
    tables: readonly SharedArrayBuffer[],
    limit: number,
  ): Promise<number[][]> {
    const { buffer } = this.#all;
    const chunks = pieces.map(({ at, lengthBytes }) => ({ memory: buffer, at, lengthBytes }));
    const job = { kind: 'match', chunks, tables, limit } as const;
    return await (this.#pool?.run<'match'>(job) ?? runJob<'match'>(job));
  }

  /** Puts their samples into a table, as those of `first`, `first + 1`, and so on. */
  async learn(pieces: readonly Piece[], table: SharedArrayBuffer, first: number): Promise<void> {
    const parts = new Uint32Array(2 * pieces.length);
    let end = 0;
    for (const { at, lengthBytes } of pieces) {
      parts[end++] = at;
      parts[end++] = lengthBytes;
    }
    const job = { kind: 'learn', memory: this.#all.buffer, parts, table, first } as const;
    await (this.#pool?.run<'learn'>(job) ?? runJob<'learn'>(job));
  }

  /** What was read is gone afterwards: a frame of these pieces is there instead. */
  async pack(
    pieces: readonly Piece[],
    oldBytes: OldBytes | undefined,
    likes?: Pick<Likes, 'memory' | 'ranges'>,
  ): Promise<Packed> {
    const { old, places } = withOld(pieces, oldBytes);
    const fromAt = this.hashes.byteLength + messageRoomBytes(this.#piecesMax);
    const frame = { compression: COMPRESSION, fromAt };
    const liked = places.map((place, index) => ({ ...place, likes: likes?.ranges[index] }));
    const job = { pieces: liked, old: old?.buffer, likes: likes?.memory, frame };
    const { at, storedBytes, fates } = await this.#run(job);
    if (old !== undefined) memory.giveBack(old);
    const packed = pieces.map((piece, index): PackedPiece => {
      const fate = fates[index];
      const isPatch = fate === PACKED_PATCH || (fate === PACKED_IN_VAIN ? false : undefined);
      const { offsetBytes, lengthBytes, at: from, hashAt, hash } = piece;
      const place = { offsetBytes, lengthBytes, at: from, hashAt, hash };
      return { ...place, isZero: fate === PACKED_ZERO, isPatch, isPlaced: fate === PACKED_LIKE };
    });
    const bytes = this.#all.subarray(at, at + storedBytes);
    // One that came out small does not hold so much memory until it is acknowledged.
    const isInMemory = storedBytes >= this.#all.byteLength / 4;
    const made = isInMemory ? bytes : bytes.slice();
    const withHead = (head: Uint8Array) => (isInMemory ? this.#withHead(head, bytes) : undefined);
    return { pieces: packed, frame: made, isInMemory, withHead };
  }

  #withHead(head: Uint8Array, frame: Uint8Array): Uint8Array | undefined {
    const frameAt = frame.byteOffset - this.#all.byteOffset;
    const at = frameAt - head.byteLength;
    if (at - HEADER_BYTES < this.hashes.byteLength) return undefined;
    const whole = this.#all.subarray(at, frameAt + frame.byteLength);
    whole.set(head);
    return whole;
  }

  /**
   * To be called when nobody looks at any of it any more; it may also be left to the collector.
   * Whoever keeps it for long keeps nothing else of this window.
   */
  get giveBack(): () => void {
    const all = this.#all;
    return () => memory.giveBack(all);
  }

  async #run(job: Pick<PackJob, 'pieces' | 'old' | 'likes' | 'frame'>) {
    const { buffer, byteLength } = this.#all;
    const range = { memory: buffer, at: 0, lengthBytes: byteLength };
    const whole: PackJob = { kind: 'pack', memory: range, isHashed: this.#isHashed, ...job };
    return await (this.#pool?.run<'pack'>(whole) ?? runJob<'pack'>(whole));
  }
}

/** Only what a job needs: each field is copied to the thread. */
function placeOf({ at, lengthBytes, hashAt }: Piece): PackJob['pieces'][number] {
  return { at, lengthBytes, hashAt };
}

/** The pieces, and what is known of what was there before, in memory that threads see. */
function withOld(pieces: readonly Piece[], oldBytes: OldBytes | undefined) {
  if (oldBytes === undefined) return { old: undefined, places: pieces.map(placeOf) };
  let old: Uint8Array<SharedArrayBuffer> | undefined;
  let end = 0;
  const places = pieces.map((piece) => {
    const was = oldBytes(piece.offsetBytes, piece.lengthBytes);
    if (was?.byteLength !== piece.lengthBytes) return placeOf(piece);
    if (old === undefined || end + was.byteLength > old.byteLength) old = larger(old, end, was);
    old.set(was, end);
    const oldAt = end;
    end += piece.lengthBytes;
    return { ...placeOf(piece), oldAt };
  });
  return { old, places };
}

/** Often only few pieces have any: memory for all of them would be as much again as a window. */
function larger(
  old: Uint8Array<SharedArrayBuffer> | undefined,
  endBytes: number,
  more: Uint8Array,
): Uint8Array<SharedArrayBuffer> {
  const taken = memory.take(2 * (endBytes + more.byteLength));
  if (old !== undefined) {
    taken.set(old.subarray(0, endBytes));
    memory.giveBack(old);
  }
  return taken;
}
