/** Memory into which windows are read, used again: as garbage it would cost much time. */
import { WINDOW_BYTES } from '../limits.ts';

export class WindowMemory {
  readonly #free: Uint8Array[] = [];

  take(lengthBytes: number): Uint8Array {
    if (lengthBytes < WINDOW_BYTES) return new Uint8Array(lengthBytes);
    return this.#free.pop() ?? new Uint8Array(WINDOW_BYTES);
  }

  give(bytes: Uint8Array): void {
    if (bytes.byteLength === WINDOW_BYTES) this.#free.push(bytes);
  }
}
