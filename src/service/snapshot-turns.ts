/** Turns at making snapshots: one is made at a time, while that keeps nobody waiting for long. */
import { type Clock, Gate } from '../core/index.ts';

/** A promotion may wait for it, and whoever's turn it is may take hours, or hang. */
export const TURN_WAIT_MS = 10_000;

export class SnapshotTurns {
  readonly #clock: Clock;
  readonly #gate = new Gate({ limit: 1, waitersMax: Infinity });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** After TURN_WAIT_MS it runs beside the others. An abort ends only the waiting. */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const isTurn = await this.#wait(signal);
    try {
      return await work();
    } finally {
      if (isTurn) this.#gate.leave();
    }
  }

  async #wait(signal: AbortSignal): Promise<boolean> {
    const late = new AbortController();
    const timer = this.#clock.after(TURN_WAIT_MS, () => late.abort());
    try {
      await this.#gate.enter(AbortSignal.any([signal, late.signal]));
      return true;
    } catch (error) {
      if (signal.aborted || !late.signal.aborted) throw error;
      return false;
    } finally {
      timer.cancel();
    }
  }
}
