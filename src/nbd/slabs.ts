/** Reused memory for replies and payloads: the hot path allocates nothing. */
import assert from 'node:assert/strict';
import { SLAB_BYTES, SLAB_IDLE_BYTES_MAX } from './limits.ts';

/**
 * A piece of memory whose regions are handed out front to back. Each region that is out counts as
 * one reference; when the last comes back the whole slab is free again.
 */
export class Slab {
  readonly bytes: Uint8Array;
  usedBytes = 0;
  references = 0;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(sizeBytes));
  }

  get freeBytes(): number {
    return this.bytes.byteLength - this.usedBytes;
  }
}

/** Slabs of SLAB_BYTES, and larger ones in powers of two; shared by all connections of a server. */
export class SlabPool {
  /** Last in, first out: what was used last is still in the processor's cache. */
  readonly #idle = new Map<number, Slab[]>();
  #idleBytes = 0;

  take(wantedBytes: number): Slab {
    const sizeBytes = slabSize(wantedBytes);
    const slab = this.#idle.get(sizeBytes)?.pop();
    if (slab === undefined) return new Slab(sizeBytes);
    this.#idleBytes -= sizeBytes;
    return slab;
  }

  giveBack(slab: Slab): void {
    assert(slab.references === 0, 'a slab comes back while parts of it are in use');
    slab.usedBytes = 0;
    const sizeBytes = slab.bytes.byteLength;
    if (this.#idleBytes + sizeBytes > SLAB_IDLE_BYTES_MAX) return;
    this.#idleBytes += sizeBytes;
    const idle = this.#idle.get(sizeBytes);
    if (idle === undefined) this.#idle.set(sizeBytes, [slab]);
    else idle.push(slab);
  }

  /** One region less is in use. */
  release(slab: Slab): void {
    assert(slab.references > 0);
    slab.references -= 1;
    if (slab.references === 0) this.giveBack(slab);
  }

  /** A slab of its own for one payload; `release` gives it back. */
  takeWhole(wantedBytes: number): Slab {
    const slab = this.take(wantedBytes);
    slab.references = 1;
    slab.usedBytes = wantedBytes;
    return slab;
  }
}

/** Small payloads get small slabs: a hundred parked 4 KiB writes must not hold 32 MiB. */
function slabSize(wantedBytes: number): number {
  let sizeBytes = 4096;
  while (sizeBytes < wantedBytes) sizeBytes *= 2;
  return sizeBytes > SLAB_BYTES / 2 && wantedBytes <= SLAB_BYTES ? SLAB_BYTES : sizeBytes;
}
