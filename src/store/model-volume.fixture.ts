/** For tests: a volume as a plain map of pieces, with everything that trees say of it, naively. */
import { sha256 } from '../core/index.ts';
import { Leaf, PIECE_HOLE, PIECE_ZERO } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';

/** Pieces by their number; absent is a hole, 1 is zeroes, anything else chunk content. */
export type Pieces = ReadonlyMap<number, number>;

export type ModelVolume = {
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  readonly pieces: Pieces;
};

const contents = new Map<string, Uint8Array>();

/** The bytes of a piece; equal values give equal bytes as far as they reach. */
export function pieceBytes(value: number | undefined, lengthBytes: number): Uint8Array {
  const filler = value === undefined || value === 1 ? 0 : value;
  const name = `${filler}/${lengthBytes}`;
  let bytes = contents.get(name);
  if (bytes === undefined) {
    bytes = new Uint8Array(lengthBytes).fill(filler);
    if (filler !== 0) bytes[0] = 255 - filler;
    contents.set(name, bytes);
  }
  return bytes;
}

const hashes = new Map<string, Uint8Array>();

export function pieceHash(value: number | undefined, lengthBytes: number): Uint8Array {
  const name = `${value ?? 1}/${lengthBytes}`;
  let hash = hashes.get(name);
  if (hash === undefined) {
    hash = sha256(pieceBytes(value, lengthBytes));
    hashes.set(name, hash);
  }
  return hash;
}

export function pieceLength({ sizeBytes, chunkBytes }: ModelVolume, piece: number): number {
  return Math.max(0, Math.min(chunkBytes, sizeBytes - piece * chunkBytes));
}

export function pieceCount({ sizeBytes, chunkBytes }: ModelVolume): number {
  return Math.ceil(sizeBytes / chunkBytes);
}

/** The leaf that stands for 8 MiB of the model. */
export function modelLeaf(model: ModelVolume, index: number): Leaf {
  const perLeaf = LEAF_BYTES / model.chunkBytes;
  const first = index * perLeaf;
  const leaf = new Leaf(Math.min(perLeaf, pieceCount(model) - first));
  for (let at = 0; at < leaf.count; at++) {
    const value = model.pieces.get(first + at);
    const length = pieceLength(model, first + at);
    if (value === undefined) leaf.setEmpty(at, PIECE_HOLE, length);
    else if (value === 1) leaf.setEmpty(at, PIECE_ZERO, length);
    else leaf.setChunk(at, length, pieceHash(value, length));
  }
  return leaf;
}

/** The bytes of any range of the model. */
export function modelBytes(model: ModelVolume, offsetBytes: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  const { chunkBytes } = model;
  for (let at = offsetBytes; at < offsetBytes + length; ) {
    const piece = Math.floor(at / chunkBytes);
    const whole = pieceBytes(model.pieces.get(piece), pieceLength(model, piece));
    const part = whole.subarray(at - piece * chunkBytes).subarray(0, offsetBytes + length - at);
    bytes.set(part, at - offsetBytes);
    at += part.byteLength;
  }
  return bytes;
}

const CANONICAL = 65536;

/** SHA-256 over a level's byte and the hashes below, as docs/format.md has it. */
function node(level: number, below: readonly Uint8Array[]): Uint8Array {
  return sha256(Buffer.concat([Uint8Array.of(level), ...below]));
}

const canonical = new Map<string, Uint8Array>();

/** Within one piece the hash depends on little, and is computed once. */
function canonicalHash(model: ModelVolume, at: number, length: number): Uint8Array {
  const { chunkBytes, pieces } = model;
  if (chunkBytes < CANONICAL) return sha256(modelBytes(model, at, length));
  const piece = Math.floor(at / chunkBytes);
  const within = at === piece * chunkBytes ? 0 : 1; // Only the first byte is special.
  const name = `${pieces.get(piece)}/${within}/${length}`;
  let hash = canonical.get(name);
  if (hash === undefined) {
    hash = sha256(modelBytes(model, at, length));
    canonical.set(name, hash);
  }
  return hash;
}

export function modelLeafDigest(model: ModelVolume, index: number): Uint8Array {
  const from = index * LEAF_BYTES;
  const end = Math.min(model.sizeBytes, from + LEAF_BYTES);
  const below: Uint8Array[] = [];
  for (let at = from; at < end; at += CANONICAL) {
    const length = Math.min(CANONICAL, end - at);
    const piece = Math.floor(at / model.chunkBytes);
    const last = Math.floor((at + length - 1) / model.chunkBytes);
    let empty = true;
    for (let each = piece; each <= last; each++) empty &&= (model.pieces.get(each) ?? 1) === 1;
    below.push(empty ? pieceHash(1, length) : canonicalHash(model, at, length));
  }
  return node(0, below);
}

/** The volume digest, from the bytes, with nothing that the store has for it. */
export function modelDigest(model: ModelVolume): Uint8Array {
  const leafCount = Math.ceil(model.sizeBytes / LEAF_BYTES);
  const touched = new Set<number>();
  const perLeaf = LEAF_BYTES / model.chunkBytes;
  for (const piece of model.pieces.keys()) touched.add(Math.floor(piece / perLeaf));
  const hole = { ...model, sizeBytes: LEAF_BYTES, pieces: new Map() };
  const zeroLeaf = modelLeafDigest(hole, 0);
  let level = 0;
  let nodes = Array.from({ length: leafCount }, (_, index) =>
    touched.has(index) || index === leafCount - 1 ? modelLeafDigest(model, index) : zeroLeaf,
  );
  if (nodes.length === 0) nodes = [node(0, [])];
  while (nodes.length > 1) {
    level++;
    const above: Uint8Array[] = [];
    for (let at = 0; at < nodes.length; at += 256) {
      above.push(node(level, nodes.slice(at, at + 256)));
    }
    nodes = above;
  }
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(model.sizeBytes));
  return sha256(Buffer.concat([Buffer.from('blockferry volume 1\n'), size, nodes[0]!]));
}

/** What a diff should say, piece by piece of the newer volume. */
export function modelDiff(older: ModelVolume, newer: ModelVolume): Map<number, 'data' | 'zero'> {
  const changed = new Map<number, 'data' | 'zero'>();
  const plain = (value: number | undefined) => value ?? 1;
  const consider = (piece: number) => {
    const length = pieceLength(newer, piece);
    if (length === 0) return;
    const before = plain(older.pieces.get(piece));
    const after = plain(newer.pieces.get(piece));
    if (before === after && length === pieceLength(older, piece)) return;
    changed.set(piece, after === 1 ? 'zero' : 'data');
  };
  for (const piece of older.pieces.keys()) consider(piece);
  for (const piece of newer.pieces.keys()) consider(piece);
  if (pieceCount(older) > 0) consider(pieceCount(older) - 1);
  for (let piece = pieceCount(older); piece < pieceCount(newer); piece++) consider(piece);
  if (pieceCount(newer) > 0) consider(pieceCount(newer) - 1);
  return changed;
}
