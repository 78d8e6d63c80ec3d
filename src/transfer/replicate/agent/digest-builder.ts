/** Builds the volume digest from the hashes of its chunks, as they are read, in order. */
import assert from 'node:assert/strict';
import { SHA256_BYTES } from '../../../core/index.ts';
import {
  CANONICAL_BYTES,
  FANOUT,
  type Geometry,
  LEAF_BYTES,
  nodeDigest,
  treeHeight,
  volumeDigest,
  zeroChunkDigest,
} from '../../../store/index.ts';

const LEAF_CHUNKS = LEAF_BYTES / CANONICAL_BYTES;

export class DigestBuilder {
  readonly #geometry: Geometry;
  /** Of the leaf that is being filled. */
  #hashes: Uint8Array[] = [];
  #leaves: Uint8Array[] = [];
  #atBytes = 0;

  constructor(sizeBytes: number) {
    this.#geometry = { sizeBytes, chunkBytes: CANONICAL_BYTES };
  }

  /** The next chunks, which have `lengthBytes` together; undefined for zeroes. */
  add(hashes: readonly (Uint8Array | undefined)[], lengthBytes: number): void {
    let rest = lengthBytes;
    for (const hash of hashes) {
      const length = Math.min(CANONICAL_BYTES, rest);
      rest -= length;
      this.#hashes.push(hash ?? zeroChunkDigest(length));
      if (this.#hashes.length === LEAF_CHUNKS) this.#closeLeaf();
    }
    this.#atBytes += lengthBytes;
  }

  finish(): Uint8Array {
    assert(this.#atBytes === this.#geometry.sizeBytes, 'not all of the volume was hashed');
    if (this.#hashes.length > 0 || this.#leaves.length === 0) this.#closeLeaf();
    let nodes = this.#leaves;
    for (let level = 1; level <= treeHeight(this.#geometry); level += 1) {
      const above: Uint8Array[] = [];
      for (let at = 0; at < nodes.length; at += FANOUT) {
        above.push(nodeDigest(level, joined(nodes.slice(at, at + FANOUT))));
      }
      nodes = above;
    }
    return volumeDigest(this.#geometry, nodes[0]!);
  }

  #closeLeaf(): void {
    this.#leaves.push(nodeDigest(0, joined(this.#hashes)));
    this.#hashes = [];
  }
}

function joined(hashes: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(hashes.length * SHA256_BYTES);
  for (const [index, hash] of hashes.entries()) bytes.set(hash, index * SHA256_BYTES);
  return bytes;
}
