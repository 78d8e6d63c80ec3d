/** The frames that were written last, in memory that is used again: no garbage for each of them. */

type Kept = { readonly at: number; readonly lengthBytes: number };

export class FrameRing {
  readonly #bytesMax: number;
  /** Made when the first frame comes, and touched only as far as frames go. */
  #memory: Uint8Array | undefined;
  /** Oldest first, as they lie in the ring. */
  readonly #frames = new Map<string, Kept>();
  #next = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** A view, until the next `set`. */
  get(name: string): Uint8Array | undefined {
    const kept = this.#frames.get(name);
    return kept && this.#memory!.subarray(kept.at, kept.at + kept.lengthBytes);
  }

  /** Keeps a copy in the place of the oldest ones. A name comes once. */
  set(name: string, bytes: Uint8Array): void {
    const lengthBytes = bytes.byteLength;
    if (lengthBytes > this.#bytesMax) return;
    this.#memory ??= new Uint8Array(this.#bytesMax);
    const wraps = this.#next + lengthBytes > this.#bytesMax;
    const at = wraps ? 0 : this.#next;
    for (const [oldest, kept] of this.#frames) {
      const passed = wraps && kept.at >= this.#next;
      const covered = kept.at < at + lengthBytes && kept.at + kept.lengthBytes > at;
      if (!passed && !covered) break;
      this.#frames.delete(oldest);
    }
    this.#memory.set(bytes, at);
    this.#frames.set(name, { at, lengthBytes });
    this.#next = at + lengthBytes;
  }
}
