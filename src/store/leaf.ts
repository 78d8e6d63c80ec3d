/** A leaf of the manifest: the pieces that make up 8 MiB of a volume, in order. */
import { equalBytes, SHA256_BYTES } from '../core/index.ts';

/** The numbers are part of the format. All but chunks read as zeroes. */
export const PIECE_HOLE = 0;
export const PIECE_ZERO = 1;
export const PIECE_DISCARDED = 2;
export const PIECE_CHUNK = 3;

export class Leaf {
  readonly count: number;
  readonly kinds: Uint8Array;
  readonly lengths: Uint32Array;
  /** SHA256_BYTES per piece; zero bytes where the piece is no chunk. */
  readonly ids: Uint8Array;

  constructor(count: number) {
    this.count = count;
    this.kinds = new Uint8Array(count);
    this.lengths = new Uint32Array(count);
    this.ids = new Uint8Array(count * SHA256_BYTES);
  }

  /** A view. */
  id(piece: number): Uint8Array {
    return this.ids.subarray(piece * SHA256_BYTES, (piece + 1) * SHA256_BYTES);
  }

  setChunk(piece: number, lengthBytes: number, id: Uint8Array): void {
    this.kinds[piece] = PIECE_CHUNK;
    this.lengths[piece] = lengthBytes;
    this.ids.set(id, piece * SHA256_BYTES);
  }

  setEmpty(piece: number, kind: number, lengthBytes: number): void {
    this.kinds[piece] = kind;
    this.lengths[piece] = lengthBytes;
    this.ids.fill(0, piece * SHA256_BYTES, (piece + 1) * SHA256_BYTES);
  }

  copyFrom(piece: number, other: Leaf, from: number): void {
    this.kinds[piece] = other.kinds[from]!;
    this.lengths[piece] = other.lengths[from]!;
    this.ids.set(other.id(from), piece * SHA256_BYTES);
  }

  samePiece(piece: number, other: Leaf, from: number): boolean {
    return (
      this.kinds[piece] === other.kinds[from] &&
      this.lengths[piece] === other.lengths[from] &&
      (this.kinds[piece] !== PIECE_CHUNK || equalBytes(this.id(piece), other.id(from)))
    );
  }

  equals(other: Leaf): boolean {
    if (this.count !== other.count) return false;
    for (let piece = 0; piece < this.count; piece++) {
      if (!this.samePiece(piece, other, piece)) return false;
    }
    return true;
  }

  get isAllHole(): boolean {
    return this.kinds.every((kind) => kind === PIECE_HOLE);
  }

  get sizeBytes(): number {
    let total = 0;
    for (const length of this.lengths) total += length;
    return total;
  }
}

/** A leaf without content: pieces of `chunkBytes`, the last one as short as the volume ends. */
export function holeLeaf(leafBytes: number, chunkBytes: number): Leaf {
  const leaf = new Leaf(Math.ceil(leafBytes / chunkBytes));
  for (let piece = 0; piece < leaf.count; piece++) {
    leaf.setEmpty(piece, PIECE_HOLE, Math.min(chunkBytes, leafBytes - piece * chunkBytes));
  }
  return leaf;
}

/** A leaf in the shape of another one: its pieces where they fit, holes elsewhere. */
export function fitted(old: Leaf, blank: Leaf): Leaf {
  if (
    old.count === blank.count &&
    old.lengths.every((length, at) => length === blank.lengths[at])
  ) {
    return old;
  }
  const leaf = new Leaf(blank.count);
  let offset = 0;
  const starts = new Map<number, number>();
  for (let piece = 0; piece < old.count; piece++) {
    starts.set(offset, piece);
    offset += old.lengths[piece]!;
  }
  let at = 0;
  for (let piece = 0; piece < blank.count; piece++) {
    const from = starts.get(at);
    const length = blank.lengths[piece]!;
    if (from !== undefined && old.lengths[from] === length) leaf.copyFrom(piece, old, from);
    else leaf.setEmpty(piece, PIECE_HOLE, length);
    at += length;
  }
  return leaf;
}
