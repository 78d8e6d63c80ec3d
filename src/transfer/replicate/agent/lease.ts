/** Lease: what is written is acknowledged only while the provider was heard a short time ago. */
import type { Clock } from '../../../core/index.ts';

export class Lease {
  readonly leaseMs: number;
  readonly #clock: Clock;
  #untilMs = 0;
  #waiting: PromiseWithResolvers<void> | undefined;
  #isOver = false;

  constructor(clock: Clock, leaseMs: number) {
    this.#clock = clock;
    this.leaseMs = leaseMs;
  }

  /** The provider has answered what was sent at that time, on the clock that counts sleep too. */
  heard(sentBootMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, sentBootMs + this.leaseMs);
    if (this.isValid) this.#release();
  }

  get isValid(): boolean {
    return this.#clock.bootMs() < this.#untilMs;
  }

  /** As `WriteGate` wants it. */
  permit = (): Promise<void> | undefined => {
    if (this.#isOver || this.isValid) return undefined;
    this.#waiting ??= Promise.withResolvers();
    return this.#waiting.promise;
  };

  /** Nobody waits any more: the gate refuses from now on. */
  end(): void {
    this.#isOver = true;
    this.#release();
  }

  #release(): void {
    this.#waiting?.resolve();
    this.#waiting = undefined;
  }
}
