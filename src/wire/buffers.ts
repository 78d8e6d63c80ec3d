/** Buffers for bodies, used again: a megabyte per message would keep the collector busy. */
import { POOL_BUFFER_BYTES_MIN, POOL_BUFFER_STEP_BYTES, POOL_IDLE_BYTES_MAX } from './limits.ts';

/** Sizes come in steps, so that a released buffer fits the next message of about its length. */
export class BufferPool {
  readonly #idle = new Map<number, Uint8Array[]>();
  #idleBytes = 0;

  /** At least `lengthBytes` long; the content is whatever it held before. */
  take(lengthBytes: number): Uint8Array {
    const sizeBytes = sizeFor(lengthBytes);
    const found = this.#idle.get(sizeBytes)?.pop();
    if (found === undefined) return new Uint8Array(Buffer.allocUnsafeSlow(sizeBytes).buffer);
    this.#idleBytes -= sizeBytes;
    return found;
  }

  /** `buffer` came from `take`; nobody may look at it any more. */
  giveBack(buffer: Uint8Array): void {
    const sizeBytes = buffer.byteLength;
    if (this.#idleBytes + sizeBytes > POOL_IDLE_BYTES_MAX) return;
    const list = this.#idle.get(sizeBytes);
    if (list === undefined) this.#idle.set(sizeBytes, [buffer]);
    else list.push(buffer);
    this.#idleBytes += sizeBytes;
  }
}

/** Powers of two; large ones in even steps, as a frame of a MiB is little longer than that. */
function sizeFor(lengthBytes: number): number {
  if (lengthBytes <= POOL_BUFFER_BYTES_MIN) return POOL_BUFFER_BYTES_MIN;
  if (lengthBytes > POOL_BUFFER_STEP_BYTES) {
    return Math.ceil(lengthBytes / POOL_BUFFER_STEP_BYTES) * POOL_BUFFER_STEP_BYTES;
  }
  return 2 ** (32 - Math.clz32(lengthBytes - 1));
}
