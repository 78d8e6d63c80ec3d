/** Pace: when the next epoch is cut - after an interval, or sooner if somebody asks for it. */
import type { Clock } from '../../../core/index.ts';

type Waiting = PromiseWithResolvers<void>;

export class Pace {
  readonly #clock: Clock;
  /** Those who wait for an epoch that is cut from now on, and for the one that was cut last. */
  #asked = new Set<Waiting>();
  #cut = new Set<Waiting>();
  #isAwake = false;
  #isEnding = false;
  #failure: unknown;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** One more epoch, and then no other. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** The next epoch is cut as soon as may be. */
  hurry(): void {
    this.#isAwake = true;
    this.#wake?.();
  }

  end(): void {
    this.#isEnding = true;
    this.hurry();
  }

  /** Settles when the provider has all that was there at this call; nobody waits after an abort. */
  reached(signal?: AbortSignal): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const waiting = Promise.withResolvers<void>();
    waiting.promise.catch(() => undefined); // Told to whoever waits.
    this.#asked.add(waiting);
    const giveUp = () => {
      this.#asked.delete(waiting);
      this.#cut.delete(waiting);
      waiting.reject(signal?.reason);
    };
    signal?.addEventListener('abort', giveUp, { once: true });
    this.hurry();
    return waiting.promise;
  }

  /** An epoch is being cut: it holds what those who asked until now want. */
  begun(): void {
    this.#isAwake = this.#isEnding;
    for (const waiting of this.#asked) this.#cut.add(waiting);
    this.#asked = new Set();
  }

  /** The epoch that was cut last is at the provider. */
  done(): void {
    const all = this.#cut;
    this.#cut = new Set();
    for (const { resolve } of all) resolve();
  }

  /** The epoch that was cut last was given up: the next one holds what it held. */
  retry(): void {
    for (const waiting of this.#cut) this.#asked.add(waiting);
    this.#cut = new Set();
    if (this.#asked.size > 0) this.hurry();
  }

  /** There will be no other epoch. */
  failed(error: unknown): void {
    this.#failure = error;
    const all = [...this.#cut, ...this.#asked];
    this.#cut = new Set();
    this.#asked = new Set();
    for (const { reject } of all) reject(error);
  }

  /** Waits for the next cut. */
  async next(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#isAwake) await this.#pause(delayMs, signal);
  }

  /** After a failure: only a beginning end is a reason to come sooner. */
  async again(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
    const wasEnding = this.#isEnding;
    await this.#pause(delayMs, signal, () => this.#isEnding && !wasEnding);
  }

  #pause(
    delayMs: number,
    signal: AbortSignal | undefined,
    isReason: () => boolean = () => true,
  ): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        timer.cancel();
        signal?.removeEventListener('abort', end);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#clock.after(delayMs, end, { keepsProcess: true });
      signal?.addEventListener('abort', end, { once: true });
      this.#wake = () => {
        if (isReason()) end();
      };
    });
  }
}
