/** One run at a time, shared by all who asked before it began: group commits, flushes. */

/**
 * Those who join while a run is under way share the next one, which begins after they joined and
 * so covers all that they had done before. `run` is never called while it runs; a failure goes to
 * those who share that run, and the next one is made all the same.
 */
export class SharedRun {
  readonly #run: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(run: () => Promise<void>) {
    this.#run = run;
  }

  join(): Promise<void> {
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#start();
    const begin = (): Promise<void> => {
      this.#next = undefined;
      return this.#start();
    };
    this.#next = this.#running.then(begin, begin);
    return this.#next;
  }

  /** Settles when nothing runs or waits any more, however it ended; for who joins no more. */
  async settled(): Promise<void> {
    await this.#next?.catch(() => undefined); // Those who joined were told.
    await this.#running?.catch(() => undefined);
  }

  #start(): Promise<void> {
    const running = this.#run().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}
