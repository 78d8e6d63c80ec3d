/** A simulated world: an Env for each process over one clock, one disk, one network, one seed. */
import type { Clock, Env, Random } from '../src/core/index.ts';
import { SimulatedDisk } from './disk.ts';
import { simulatedFiles } from './disk-calls.ts';
import { Draws } from './draws.ts';
import { SimulatedNet } from './net.ts';
import { SimulatedProcess } from './process.ts';
import { type Observe, type Outcome, Scheduler } from './scheduler.ts';
import { simulatedWorkers } from './workers.ts';

export type WorldOptions = {
  /** A disk that another world left behind; a new and empty one if absent. */
  readonly disk?: SimulatedDisk;
  /** Reads and writes transfer less than asked now and then. */
  readonly shortTransfers?: boolean;
  /** What the host's clock shows at virtual time zero. */
  readonly wallMs?: number;
  readonly parallelism?: number;
};

export type ProcessInWorld = { readonly env: Env; readonly kill: () => void };

/** Streams of draws that must not depend on how many operations there were. */
const RANDOM_STREAM = 7;
const WALL_START_MS = Date.UTC(2024, 0, 1);

export class World {
  readonly disk: SimulatedDisk;
  readonly net: SimulatedNet;
  /** The Env of the first process, which is never killed. */
  readonly env: Env;
  readonly #scheduler: Scheduler;
  readonly #options: WorldOptions;
  #wallOffsetMs: number;
  #fillCount = 0;

  constructor(seed: number, options: WorldOptions) {
    this.#scheduler = new Scheduler(seed);
    this.#options = options;
    this.disk = options.disk ?? new SimulatedDisk();
    this.net = new SimulatedNet();
    this.#wallOffsetMs = options.wallMs ?? WALL_START_MS;
    this.env = this.startProcess('main').env;
  }

  get nowMs(): number {
    return this.#scheduler.nowMs;
  }

  get eventCount(): number {
    return this.#scheduler.eventCount;
  }

  /** Equal seeds and programs give equal digests. */
  digest(): string {
    return this.#scheduler.digest();
  }

  /** Runs `task` to its end; see Scheduler. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#scheduler.run(task);
  }

  /** Runs `task` until its end or until `observe` cuts the power. */
  runObserved<T>(task: () => Promise<T>, observe: Observe): Promise<Outcome<T>> {
    return this.#scheduler.runObserved(task, observe);
  }

  /** Another process of the same machine. Code with the Env of a killed one stands still. */
  startProcess(name: string): ProcessInWorld {
    const process = new SimulatedProcess(name, this.#scheduler);
    const { shortTransfers = false, parallelism = 2 } = this.#options;
    const env: Env = {
      clock: this.#clock(process),
      random: this.#random(),
      files: simulatedFiles(this.disk, process, { shortTransfers }),
      net: this.net.forProcess(process),
      workers: simulatedWorkers(process, parallelism),
    };
    return { env, kill: () => process.kill() };
  }

  /** Sets the host's clock; durations and timers do not notice. */
  setWallMs(wallMs: number): void {
    this.#wallOffsetMs = wallMs - this.nowMs;
  }

  #clock(process: SimulatedProcess): Clock {
    return {
      monotonicMs: () => this.nowMs,
      bootMs: () => this.nowMs,
      wallMs: () => Math.floor(this.#wallOffsetMs + this.nowMs),
      after: (delayMs, run) => process.schedule(delayMs, 'timer', run),
    };
  }

  #random(): Random {
    return {
      fill: (target) =>
        new Draws(this.#scheduler.seed, RANDOM_STREAM, this.#fillCount++).fill(target),
    };
  }
}

export function simulatedEnv(seed: number, options: WorldOptions = {}): World {
  return new World(seed, options);
}
