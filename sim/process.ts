/** A simulated process: its calls are answered by the world's loop until somebody kills it. */
import type { Draws } from './draws.ts';
import type { Scheduled, Scheduler } from './scheduler.ts';

export class SimulatedProcess {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #atDeath = new Set<() => void>();
  #alive = true;

  constructor(name: string, scheduler: Scheduler) {
    this.name = name;
    this.#scheduler = scheduler;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get nowMs(): number {
    return this.#scheduler.nowMs;
  }

  draws(): Draws {
    return this.#scheduler.draws();
  }

  /** Like `Scheduler.schedule`, but a dead process gets no answers and takes no effect any more. */
  schedule(delayMs: number, label: string, run: () => void): Scheduled {
    return this.#scheduler.schedule(delayMs, `${this.name} ${label}`, () => {
      if (this.#alive) run();
    });
  }

  trace(text: string): void {
    this.#scheduler.trace(`${this.name} ${text}`);
  }

  misuse(message: string): void {
    this.#scheduler.misuse(`${this.name}: ${message}`);
  }

  waitFor(work: Promise<unknown>): void {
    this.#scheduler.waitFor(work);
  }

  /** Runs `undo` when the process is killed; answers with the way to take that back. */
  atDeath(undo: () => void): () => void {
    this.#atDeath.add(undo);
    return () => void this.#atDeath.delete(undo);
  }

  /** kill -9: what was in flight never takes effect, handles and locks are given back. */
  kill(): void {
    if (!this.#alive) return;
    this.#alive = false;
    for (const undo of this.#atDeath) undo();
    this.#atDeath.clear();
  }
}
