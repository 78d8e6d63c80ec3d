/** Seeded randomness that is addressed, not consumed: equal (seed, path) always draws the same. */

/** Avalanches 32 bits; the constants are those of the "lowbias32" family of integer hashes. */
function mix(value: number): number {
  let bits = value ^ (value >>> 16);
  bits = Math.imul(bits, 0x7feb352d);
  bits ^= bits >>> 15;
  bits = Math.imul(bits, 0x846ca68b);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** 32 bits that depend on every bit of every number; the numbers are non-negative integers. */
export function hash32(...path: readonly number[]): number {
  let state = 0x9e3779b9;
  for (const step of path) {
    state = mix(state ^ (step % 2 ** 32));
    state = mix(state + Math.floor(step / 2 ** 32) + 0x7f4a7c15);
  }
  return state;
}

/**
 * The draws of one operation. They depend on where the operation stands (its path), not on how much
 * others drew before it, so that taking one operation out of a run does not change the rest.
 */
export class Draws {
  readonly #key: number;
  #step = 0;

  constructor(...path: readonly number[]) {
    this.#key = hash32(...path);
  }

  /** A number in [0, 1). */
  unit(): number {
    const high = hash32(this.#key, this.#step++);
    const low = hash32(this.#key, this.#step++);
    return (high * 2 ** 21 + (low >>> 11)) / 2 ** 53;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.unit() * limit);
  }

  chance(probability: number): boolean {
    return this.unit() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  fill(target: Uint8Array): void {
    for (let at = 0; at < target.byteLength; at += 4) {
      const bits = hash32(this.#key, this.#step++);
      for (let byte = 0; byte < 4 && at + byte < target.byteLength; byte++) {
        target[at + byte] = bits >>> (8 * byte);
      }
    }
  }
}
