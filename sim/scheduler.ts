/** The loop of a simulated world: virtual time, event after event, ordinary promises between. */
import assert from 'node:assert/strict';
import { createHash, type Hash } from 'node:crypto';
import { Draws, hash32 } from './draws.ts';

/** More events than any test needs; a run that reaches it repeats itself for ever. */
const EVENTS_MAX = 5_000_000;

export type SimulationErrorCode = 'SIM_DEADLOCK' | 'SIM_ENDLESS' | 'SIM_MISUSE';

/** The simulated program did what no program may do; never thrown into the program itself. */
export class SimulationError extends Error {
  override readonly name = 'SimulationError';
  readonly code: SimulationErrorCode;

  constructor(code: SimulationErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

type Event = {
  readonly timeMs: number;
  readonly tie: number;
  readonly number: number;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
};

export type Scheduled = { cancel(): void };

/** What a run came to: the task's value, or nothing if `observe` cut the power. */
export type Outcome<T> = { readonly cut: false; readonly value: T } | { readonly cut: true };

/** Called after each event, when all code that it woke has come to rest; 'cut' ends the world. */
export type Observe = (eventCount: number) => 'go-on' | 'cut';

export class Scheduler {
  readonly seed: number;
  /** Virtual; moves only when an event is taken. */
  nowMs = 0;
  eventCount = 0;
  readonly #events = new EventQueue();
  readonly #trace: Hash = createHash('sha256');
  readonly #external = new Set<Promise<unknown>>();
  #operations = 0;
  #running = false;
  #over = false;
  #misuse: SimulationError | undefined;

  constructor(seed: number) {
    this.seed = seed;
  }

  /** The randomness of the next operation. */
  draws(): Draws {
    return new Draws(this.seed, ++this.#operations);
  }

  /** Runs `run` at a virtual moment; among equal moments the seed decides. */
  schedule(delayMs: number, label: string, run: () => void): Scheduled {
    const number = ++this.#operations;
    const tie = hash32(this.seed, number, 1);
    const timeMs = this.nowMs + Math.max(0, delayMs);
    const event: Event = { timeMs, tie, number, label, run, cancelled: false };
    if (!this.#over) this.#events.push(event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  /** Adds to the running hash by which two runs are compared. */
  trace(text: string): void {
    this.#trace.update(`${this.nowMs} ${text}\n`);
  }

  /** Equal for equal seeds and programs; anything else is a leak of real time or randomness. */
  digest(): string {
    return this.#trace.copy().digest('hex');
  }

  /** Work that the real host must finish (importing a module) before virtual time may go on. */
  waitFor(work: Promise<unknown>): void {
    const held = work.finally(() => this.#external.delete(held));
    held.catch(() => undefined); // Whoever started the work handles its failure.
    this.#external.add(held);
  }

  /** Ends the run with an error that the simulated program cannot catch. */
  misuse(message: string): void {
    this.#misuse ??= new SimulationError('SIM_MISUSE', message);
  }

  /** Runs `task` to its end, however long that takes in virtual time. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    const outcome = await this.runObserved(task, () => 'go-on');
    assert(!outcome.cut);
    return outcome.value;
  }

  async runObserved<T>(task: () => Promise<T>, observe: Observe): Promise<Outcome<T>> {
    assert(!this.#running, 'a world runs one task at a time');
    assert(!this.#over, 'the power of this world was cut');
    this.#running = true;
    try {
      return await this.#drive(task, observe);
    } finally {
      this.#running = false;
    }
  }

  async #drive<T>(task: () => Promise<T>, observe: Observe): Promise<Outcome<T>> {
    let settled: (() => Outcome<T>) | undefined;
    Promise.resolve()
      .then(task)
      .then(
        (value) => {
          settled = () => ({ cut: false, value });
        },
        (error: unknown) => {
          settled = () => {
            throw error;
          };
        },
      );
    await this.#rest();
    for (;;) {
      if (this.#misuse !== undefined) throw this.#misuse;
      if (settled !== undefined) return settled();
      const event = this.#events.pop();
      if (event === undefined) {
        throw new SimulationError(
          'SIM_DEADLOCK',
          `seed ${this.seed}: after ${this.eventCount} events nothing is left to happen, ` +
            'but the task has not finished',
        );
      }
      this.#take(event);
      await this.#rest();
      if (observe(this.eventCount) === 'cut') {
        this.#over = true;
        this.#events.clear();
        return { cut: true };
      }
    }
  }

  #take(event: Event): void {
    this.nowMs = event.timeMs;
    this.eventCount++;
    if (this.eventCount > EVENTS_MAX) {
      throw new SimulationError('SIM_ENDLESS', `seed ${this.seed}: ${EVENTS_MAX} events, no end`);
    }
    this.trace(event.label);
    event.run();
  }

  /** Lets every promise that can settle do so: a turn of the real loop empties all microtasks. */
  async #rest(): Promise<void> {
    await turn();
    while (this.#external.size > 0) {
      await Promise.allSettled(this.#external);
      await turn();
    }
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A binary heap, earliest first. */
class EventQueue {
  #heap: Event[] = [];

  clear(): void {
    this.#heap = [];
  }

  push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent]!, event)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  pop(): Event | undefined {
    for (;;) {
      const event = this.#popAny();
      if (event === undefined || !event.cancelled) return event;
    }
  }

  #popAny(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function before(a: Event, b: Event): boolean {
  if (a.timeMs !== b.timeMs) return a.timeMs < b.timeMs;
  return a.tie === b.tie ? a.number < b.number : a.tie < b.tie;
}
