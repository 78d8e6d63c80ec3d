/** Turns: work that takes long lets everything else that its thread serves go on in between. */
import type { Clock } from './env.ts';

export class Turns {
  readonly #clock: Clock;
  readonly #sliceMs: number;
  #beganMs = Number.NEGATIVE_INFINITY;
  readonly #waiting: (() => void)[] = [];

  constructor(clock: Clock, sliceMs: number) {
    this.#clock = clock;
    this.#sliceMs = sliceMs;
  }

  /**
   * To be asked often: undefined while the slice lasts, then what to wait for. Of several that wait
   * each turn of the loop lets one go on.
   */
  next(): Promise<void> | undefined {
    const isOver = this.#clock.monotonicMs() - this.#beganMs >= this.#sliceMs;
    if (this.#waiting.length === 0 && !isOver) return undefined;
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#waiting.length === 1) this.#plan();
    });
  }

  #plan(): void {
    const go = (): void => {
      this.#beganMs = this.#clock.monotonicMs();
      this.#waiting.shift()!();
      if (this.#waiting.length > 0) this.#plan();
    };
    this.#clock.after(0, go, { keepsProcess: true });
  }
}
