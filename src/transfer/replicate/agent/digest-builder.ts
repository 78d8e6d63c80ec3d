/** Builds the volume digest from the hashes of its chunks, as they are read, in order. */
import assert from 'node:assert/strict';
import {
  CANONICAL_BYTES,
  type Geometry,
  LEAF_BYTES,
  nodeDigest,
  zeroChunkDigest,
} from '../../../store/index.ts';
import { digestOfLeaves } from '../../device-digest.ts';

const LEAF_CHUNKS = LEAF_BYTES / CANONICAL_BYTES;

export class DigestBuilder {
  readonly #geometry: Geometry;
  /** Of the leaf that is being filled. */
  #hashes: Uint8Array[] = [];
  readonly #leaves: Uint8Array[] = [];
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
    if (this.#hashes.length > 0) this.#closeLeaf();
    return digestOfLeaves(this.#geometry, this.#leaves);
  }

  #closeLeaf(): void {
    this.#leaves.push(nodeDigest(0, new Uint8Array(Buffer.concat(this.#hashes))));
    this.#hashes = [];
  }
}
