/** Bounded concurrency: a gate that lets a few in at a time, and an ordered parallel map. */
import assert from 'node:assert/strict';
import { FerryError } from './errors.ts';
import { GATE_WAITERS_MAX } from './limits.ts';

export class QueueError extends FerryError<'QUEUE_FULL'> {
  override readonly name = 'QueueError';
}

export type GateOptions = { readonly limit: number; readonly waitersMax?: number };

/** At most `limit` are inside; the others wait in the order in which they came. */
export class Gate {
  readonly #limit: number;
  readonly #waitersMax: number;
  readonly #waiters = new Set<() => void>(); // A set keeps the order and lets one give up.
  #inside = 0;

  constructor({ limit, waitersMax = GATE_WAITERS_MAX }: GateOptions) {
    assert(Number.isSafeInteger(limit) && limit > 0, `bad limit of a gate: ${limit}`);
    this.#limit = limit;
    this.#waitersMax = waitersMax;
  }

  get inside(): number {
    return this.#inside;
  }

  /**
   * Answers at once if there is room. Every entry needs one `leave`. An abort ends only the
   * waiting, with the signal's reason; a queue of `waitersMax` refuses one more with QUEUE_FULL.
   */
  enter(signal?: AbortSignal): undefined | Promise<void> {
    signal?.throwIfAborted();
    if (this.#inside < this.#limit) {
      this.#inside++;
      return undefined;
    }
    if (this.#waiters.size >= this.#waitersMax) {
      throw new QueueError('QUEUE_FULL', `${this.#waitersMax} are waiting already`, {
        hint: 'Start fewer things at once.',
      });
    }
    return new Promise((resolve, reject) => {
      const admit = (): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        this.#waiters.delete(admit);
        reject(signal!.reason);
      };
      this.#waiters.add(admit);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  leave(): void {
    assert(this.#inside > 0, 'nobody is inside the gate');
    for (const admit of this.#waiters) {
      this.#waiters.delete(admit);
      admit(); // The place passes on: `#inside` stays.
      return;
    }
    this.#inside--;
  }

  async run<T>(work: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.enter(signal);
    try {
      return await work();
    } finally {
      this.leave();
    }
  }
}

/**
 * Maps `source` with at most `limit` calls of `work` at once, and yields the results in the order
 * of the source. Pulls only as far ahead as that. The first failure ends it; by then, as after an
 * early `return`, every call that was started has settled, so that buffers may be reused.
 */
export async function* mapOrdered<T, R>(
  source: Iterable<T> | AsyncIterable<T>,
  limit: number,
  work: (item: T, index: number) => R | Promise<R>,
): AsyncGenerator<R, void, undefined> {
  assert(Number.isSafeInteger(limit) && limit > 0, `bad limit of a map: ${limit}`);
  const started: Promise<R>[] = [];
  let index = 0;
  const start = async (item: T): Promise<R> => work(item, index++);
  try {
    for await (const item of source) {
      const result = start(item);
      result.catch(() => undefined); // Reported when its turn comes; not "unhandled" until then.
      started.push(result);
      if (started.length >= limit) yield await started.shift()!;
    }
    while (started.length > 0) yield await started.shift()!;
  } finally {
    await Promise.allSettled(started);
  }
}
