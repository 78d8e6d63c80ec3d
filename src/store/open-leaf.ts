/** The leaf that a writer is filling, and the canonical hashes that its digest is made of. */
import assert from 'node:assert/strict';
import { DIGEST_ENTRY_BYTES } from '../codec/index.ts';
import type { Batch } from './batch.ts';
import type { Leaf } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';
import type { Child } from './tree-reader.ts';
import { CANONICAL_BYTES, zeroChunkDigest } from './volume-digest.ts';

export type OpenLeaf = {
  readonly index: number;
  readonly leaf: Leaf;
  readonly old: Leaf;
  readonly oldReference: Child;
  filled: number;
  /** Canonical hashes, where pieces are not canonical chunks themselves. */
  readonly hashes: Uint8Array | undefined;
};

/** Notes those of the range, out of the batch that begins at `offsetBytes`; zeroes without one. */
export function fillHashes(
  { hashes, index }: OpenLeaf,
  offset: number,
  stop: number,
  data: { readonly batch: Batch; readonly offsetBytes: number } | undefined,
): void {
  if (hashes === undefined) return;
  assert(offset % CANONICAL_BYTES === 0, 'ranges are aligned to 64 KiB here');
  for (let at = offset; at < stop; at += CANONICAL_BYTES) {
    const to = ((at - index * LEAF_BYTES) / CANONICAL_BYTES) * 32;
    const length = Math.min(CANONICAL_BYTES, stop - at);
    const entry = data && ((at - data.offsetBytes) / CANONICAL_BYTES) * DIGEST_ENTRY_BYTES;
    const view = data && new DataView(data.batch.canonical);
    const zero = entry === undefined || view!.getUint32(entry, true) === 1;
    const hash = zero
      ? zeroChunkDigest(length)
      : new Uint8Array(data!.batch.canonical, entry + 8, 32);
    hashes.set(hash, to);
  }
}
