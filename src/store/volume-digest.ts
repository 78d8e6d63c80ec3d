/**
 * The volume digest: SHA-256 over canonical 64 KiB chunks of plain content, as a tree. It depends
 * on nothing but the volume's bytes, so replicas, copies and restores compare it.
 */
import { SHA256_BYTES, sha256 } from '../core/index.ts';
import { childCount, coveredBytes, type Geometry, treeHeight } from './geometry.ts';
import { type Leaf, PIECE_CHUNK } from './leaf.ts';
import { FANOUT, LEAF_BYTES } from './limits.ts';

/** The digest's own chunk size, whatever the repository's is. */
export const CANONICAL_BYTES = 64 * 1024;

/** Holes, zeroes and discarded ranges are all the same to the digest: zero bytes. */
const zeroChunks = new Map<number, Uint8Array>();

export function zeroChunkDigest(lengthBytes: number): Uint8Array {
  let digest = zeroChunks.get(lengthBytes);
  if (digest === undefined) {
    digest = sha256(new Uint8Array(lengthBytes));
    // Only whole chunks recur; short ones end a volume.
    if (lengthBytes === CANONICAL_BYTES) zeroChunks.set(lengthBytes, digest);
  }
  return digest;
}

/** The node over `children`, digests one after the other; `level` keeps levels apart. */
export function nodeDigest(level: number, children: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(1 + children.byteLength);
  bytes[0] = level;
  bytes.set(children, 1);
  return sha256(bytes);
}

/**
 * The digest of a leaf whose pieces are canonical chunks: their ids are the hashes. Undefined when
 * pieces have other sizes; such leaves carry their digest with them.
 */
export function leafDigest(leaf: Leaf): Uint8Array | undefined {
  const hashes = new Uint8Array(leaf.count * SHA256_BYTES);
  for (let piece = 0; piece < leaf.count; piece++) {
    const length = leaf.lengths[piece]!;
    const last = piece === leaf.count - 1;
    if (length !== CANONICAL_BYTES && !(last && length < CANONICAL_BYTES)) return undefined;
    const hash = leaf.kinds[piece] === PIECE_CHUNK ? leaf.id(piece) : zeroChunkDigest(length);
    hashes.set(hash, piece * SHA256_BYTES);
  }
  return nodeDigest(0, hashes);
}

const zeroTrees: Uint8Array[] = [];

/** The digest of an empty subtree: node `index` of `level`, nothing but zeroes below it. */
export function zeroDigest(geometry: Geometry, level: number, index: number): Uint8Array {
  const covered = coveredBytes(geometry, level, index);
  const whole = covered === LEAF_BYTES * FANOUT ** level;
  const known = whole ? zeroTrees[level] : undefined;
  if (known !== undefined) return known;
  const digest = level === 0 ? zeroLeaf(covered) : zeroInner(geometry, level, index);
  if (whole) zeroTrees[level] = digest;
  return digest;
}

function zeroLeaf(covered: number): Uint8Array {
  const count = Math.ceil(covered / CANONICAL_BYTES);
  const hashes = new Uint8Array(count * SHA256_BYTES);
  for (let at = 0; at < count; at++) {
    const length = Math.min(CANONICAL_BYTES, covered - at * CANONICAL_BYTES);
    hashes.set(zeroChunkDigest(length), at * SHA256_BYTES);
  }
  return nodeDigest(0, hashes);
}

function zeroInner(geometry: Geometry, level: number, index: number): Uint8Array {
  const count = childCount(geometry, level, index);
  const children = new Uint8Array(count * SHA256_BYTES);
  for (let at = 0; at < count; at++) {
    children.set(zeroDigest(geometry, level - 1, index * FANOUT + at), at * SHA256_BYTES);
  }
  return nodeDigest(level, children);
}

/** The digest of the volume, from that of its tree's root. */
export function volumeDigest(geometry: Geometry, root: Uint8Array): Uint8Array {
  const label = new TextEncoder().encode('blockferry volume 1\n');
  const bytes = new Uint8Array(label.byteLength + 8 + root.byteLength);
  bytes.set(label);
  new DataView(bytes.buffer).setBigUint64(label.byteLength, BigInt(geometry.sizeBytes), true);
  bytes.set(root, label.byteLength + 8);
  return sha256(bytes);
}

/** The root digest of a volume without content; an empty volume has that of no chunks. */
export function zeroRootDigest(geometry: Geometry): Uint8Array {
  if (geometry.sizeBytes === 0) return nodeDigest(0, new Uint8Array(0));
  return zeroDigest(geometry, treeHeight(geometry), 0);
}
