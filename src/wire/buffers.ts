/** Buffers for bodies, used again: a megabyte per message would keep the collector busy. */
import { POOL_BUFFER_BYTES_MIN, POOL_BUFFER_STEP_BYTES, POOL_IDLE_BYTES_MAX } from './limits.ts';

/** Sizes come in steps, so that a released buffer fits the next message of about its length. */
export class BufferPool<M extends Uint8Array = Uint8Array> {
  readonly #allocate: (sizeBytes: number) => M;
  /** By size; those that were used last come last. */
  readonly #idle = new Map<number, M[]>();
  #idleBytes = 0;

  constructor(allocate = plain as (sizeBytes: number) => M) {
    this.#allocate = allocate;
  }

  /** At least `lengthBytes` long; the content is whatever it held before. */
  take(lengthBytes: number): M {
    const sizeBytes = sizeFor(lengthBytes);
    const found = this.#used(sizeBytes).pop();
    if (found === undefined) return this.#allocate(sizeBytes);
    this.#idleBytes -= sizeBytes;
    return found;
  }

  /** `buffer` came from `take`; nobody may look at it any more. */
  giveBack(buffer: M): void {
    const sizeBytes = buffer.byteLength;
    const list = this.#used(sizeBytes);
    list.push(buffer);
    this.#idleBytes += sizeBytes;
    // Sizes that nobody asks for any more make room: they would never leave otherwise.
    for (const [otherBytes, others] of this.#idle) {
      while (this.#idleBytes > POOL_IDLE_BYTES_MAX && others.pop() !== undefined) {
        this.#idleBytes -= otherBytes;
      }
      if (others.length > 0) return;
      if (others !== list) this.#idle.delete(otherBytes);
    }
  }

  #used(sizeBytes: number): M[] {
    const list = this.#idle.get(sizeBytes) ?? [];
    this.#idle.delete(sizeBytes);
    this.#idle.set(sizeBytes, list);
    return list;
  }

  /** Lets go of what lies idle: somebody else needs the memory more. */
  releaseIdle(): void {
    this.#idle.clear();
    this.#idleBytes = 0;
  }
}

function plain(sizeBytes: number): Uint8Array {
  return new Uint8Array(Buffer.allocUnsafeSlow(sizeBytes).buffer);
}

/** Powers of two; large ones in even steps, as a frame of a MiB is little longer than that. */
function sizeFor(lengthBytes: number): number {
  if (lengthBytes <= POOL_BUFFER_BYTES_MIN) return POOL_BUFFER_BYTES_MIN;
  if (lengthBytes > POOL_BUFFER_STEP_BYTES) {
    return Math.ceil(lengthBytes / POOL_BUFFER_STEP_BYTES) * POOL_BUFFER_STEP_BYTES;
  }
  return 2 ** (32 - Math.clz32(lengthBytes - 1));
}
