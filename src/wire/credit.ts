/** Credit of one lane, seen from the side that receives: how much the peer may send on it. */
import { CREDIT_BYTES_INITIAL } from './limits.ts';

export class Credit {
  /** All that has come, and of that what is done with. */
  #receivedBytes = 0;
  #doneBytes = 0;
  #limitBytes = CREDIT_BYTES_INITIAL;
  #windowBytes = CREDIT_BYTES_INITIAL;
  #roundStartMs = 0;
  #roundStartBytes = 0;

  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** By how much the window is larger than at first. */
  get grownBytes(): number {
    return this.#windowBytes - CREDIT_BYTES_INITIAL;
  }

  /** False: the peer sends more than it may. */
  receive(bytes: number): boolean {
    this.#receivedBytes += bytes;
    return this.#receivedBytes <= this.#limitBytes;
  }

  /** Answers whether enough is free to be told at once. */
  done(bytes: number): boolean {
    this.#doneBytes += bytes;
    return this.#limitBytes - this.#doneBytes <= this.#windowBytes / 2;
  }

  /**
   * Raises the limit by what is free, and the window while the peer uses more than half of it in a
   * round trip: then bandwidth times delay is about to exceed it. `leftBytes` is what all windows
   * of the session may still grow by.
   */
  renew(nowMs: number, roundTripMs: number, leftBytes: number): void {
    if (nowMs - this.#roundStartMs >= Math.max(1, roundTripMs)) {
      const usedBytes = this.#receivedBytes - this.#roundStartBytes;
      if (this.#roundStartMs > 0 && 2 * usedBytes > this.#windowBytes) {
        if (this.#windowBytes <= leftBytes) this.#windowBytes *= 2;
      }
      this.#roundStartMs = nowMs;
      this.#roundStartBytes = this.#receivedBytes;
    }
    this.#limitBytes = Math.max(this.#limitBytes, this.#doneBytes + this.#windowBytes);
  }
}
