/** Pace: so many bytes in a second, of all sessions of one agent together. */

/** What may come at once after a silence, in seconds of the rate. */
const BURST_S = 1;

/** Debt instead of a full bucket: a message of any size goes, and the next one waits for it. */
export class Pace {
  #tokens = 0;
  #atMs: number | undefined;

  /** Takes them and answers 0, or how long it is until they may be taken. */
  take(bytes: number, bytesPerS: number, nowMs: number): number {
    const passedS = this.#atMs === undefined ? BURST_S : (nowMs - this.#atMs) / 1000;
    this.#atMs = nowMs;
    this.#tokens = Math.min(bytesPerS * BURST_S, this.#tokens + passedS * bytesPerS);
    if (this.#tokens > 0) {
      this.#tokens -= bytes;
      return 0;
    }
    return Math.max(1, (1000 * -this.#tokens) / bytesPerS);
  }
}
