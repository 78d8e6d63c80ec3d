/**
 * Decides what to fetch before it is asked for, where the object store is far away: all of a large
 * read at once, and what follows where a volume is read in order.
 */

/** What is fetched ahead of a reader: its frames are as many range reads as are worth having. */
const AHEAD_BYTES_PER_READ = 512 * 1024;

/** Fetched frames wait in memory: they must not push each other out. */
const AHEAD_BYTES_MAX = 16 * 1024 * 1024;

/** Reads in a row before something is fetched that may not be wanted. */
const RUN_READS_MIN = 2;

/** Clients that read in order, at the same time, or one with several connections. */
const RUNS_MAX = 32;

/** Reads of which each begins where the one before has ended. */
type Run = { reads: number; fetchedBytes: number };

export class ReadAhead {
  readonly #aheadBytes: number;
  readonly #fetch: (from: number, to: number) => Promise<void>;
  /** By where their last read has ended; the most recent come last. */
  readonly #runs = new Map<number, Run>();

  /** Does nothing where `readsInFlight` is undefined: the store is near. */
  constructor(
    readsInFlight: number | undefined,
    fetch: (from: number, to: number) => Promise<void>,
  ) {
    this.#aheadBytes = Math.min(AHEAD_BYTES_MAX, (readsInFlight ?? 0) * AHEAD_BYTES_PER_READ);
    this.#fetch = fetch;
  }

  /** A read of that range has begun. */
  reading(offsetBytes: number, lengthBytes: number): void {
    if (this.#aheadBytes === 0) return;
    const end = offsetBytes + lengthBytes;
    const run = this.#runs.get(offsetBytes) ?? { reads: 0, fetchedBytes: offsetBytes };
    this.#runs.delete(offsetBytes);
    this.#runs.set(end, run);
    run.reads++;
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size <= RUNS_MAX) break;
      this.#runs.delete(oldest);
    }
    const wanted = run.reads < RUN_READS_MIN ? end : end + this.#aheadBytes;
    // In large steps: looking for what a small read moves on would cost more than it gives.
    if (end <= run.fetchedBytes && wanted - run.fetchedBytes < this.#aheadBytes / 4) return;
    const from = run.fetchedBytes;
    run.fetchedBytes = wanted;
    // Who needs what could not be fetched asks for it again, and is told.
    this.#fetch(from, wanted).catch(() => undefined);
  }
}
