/** Puts into a leaf what is in the repository already: chunks kept, and chunks known by hash. */
import { equalBytes, SHA256_BYTES, toHex } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import type { Geometry } from './geometry.ts';
import { PIECE_CHUNK } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';
import type { OpenLeaf } from './open-leaf.ts';
import { CANONICAL_BYTES } from './volume-digest.ts';

/** Part of the volume, inside of one leaf. */
type Range = { readonly offset: number; readonly stop: number };

/** Canonical chunks, by their hashes one after the other from `offsetBytes` on. */
export type KnownChunks = {
  readonly hashes: Uint8Array;
  readonly offsetBytes: number;
  idOf(hash: Uint8Array): Uint8Array;
};

type Stats = { changedBytes: number; knownBytes: number };

export function takeKnown(
  open: OpenLeaf,
  { hashes, offsetBytes, idOf }: KnownChunks,
  { offset, stop }: Range,
  stats: Stats,
): void {
  const { leaf, old } = open;
  for (let at = offset; at < stop; at += CANONICAL_BYTES) {
    const from = ((at - offsetBytes) / CANONICAL_BYTES) * SHA256_BYTES;
    const hash = hashes.subarray(from, from + SHA256_BYTES);
    const piece = (at - open.index * LEAF_BYTES) / CANONICAL_BYTES;
    const length = Math.min(CANONICAL_BYTES, stop - at);
    leaf.setChunk(piece, length, idOf(hash));
    const wasChunk = old.kinds[piece] === PIECE_CHUNK && old.lengths[piece] === length;
    if (!wasChunk || !equalBytes(old.id(piece), leaf.id(piece))) {
      stats.changedBytes += length;
      stats.knownBytes += length;
    }
    open.hashes?.set(hash, piece * SHA256_BYTES);
    open.filled++;
  }
}

/** What is kept unread must still be there. */
export async function checkKept(
  { index, geometry }: { readonly index: ChunkIndex; readonly geometry: Geometry },
  open: OpenLeaf,
  { offset, stop }: Range,
): Promise<void> {
  if (index.unreadable.size === 0 && !index.lossy) return;
  const first = (offset - open.index * LEAF_BYTES) / geometry.chunkBytes;
  const count = Math.ceil((stop - offset) / geometry.chunkBytes);
  for (let piece = first; piece < first + count; piece++) {
    if (open.old.kinds[piece] !== PIECE_CHUNK) continue;
    const id = open.old.id(piece);
    if ((await index.find(id)) === undefined) {
      throw index.absent(`chunk ${toHex(id).slice(0, 16)}, which the volume still has`);
    }
  }
}
