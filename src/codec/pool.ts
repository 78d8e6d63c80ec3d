/** The worker pool: spreads jobs over threads, answers each with a promise. */
import { type Env, siblingModule, type WorkerHandlers, type WorkerPort } from '../core/index.ts';
import type { JobAnswer, JobRequest, WorkerIsUp } from './codec-worker.ts';
import { CodecError, type CodecErrorCode } from './errors.ts';
import { type Job, type JobResult, runJob } from './jobs.ts';
import type { ReadJob } from './read-ranges.ts';

/**
 * Runs jobs on up to `threads` threads, of which the caller may be one, and in place, in the
 * caller's turn, until one of those is up; with 0 always. The caller bounds how many jobs wait, by
 * the memory it hands out. Buffers of a job belong to the pool until its promise settles. A thread
 * that dies fails its jobs with CODEC_WORKER; others go on, and where all have died, all jobs fail
 * but those of `isBackground`.
 */
export interface CodecPool extends AsyncDisposable {
  readonly threads: number;
  run<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<JobResult[K]>;
  /** Fills memory from a file. Undefined where no thread could: the caller reads, then. */
  read(job: Omit<ReadJob, 'kind'>): Promise<void> | undefined;
}

type Waiting = { resolve(result: unknown): void; reject(error: unknown): void };
/** A job that no thread has yet. */
type Queued<J = Job> = Waiting & { readonly job: J };
type Thread = {
  readonly port: WorkerPort;
  readonly waiting: Map<number, Waiting & { readonly weight: number }>;
  state: 'starting' | 'up' | 'dead';
  /** Since when it has had jobs without a break. */
  busyFromMs: number;
  /** How long it had jobs before. */
  busyMs: number;
};

/** Below this much data threads cost more time than they save. */
const THREADS_FROM_BYTES = 8 * 1024 * 1024;

export function worthThreads(dataBytes: number): boolean {
  return dataBytes >= THREADS_FROM_BYTES;
}

/** Jobs work in memory of their own; what they make beside it is small, and dead at their end. */
const YOUNG_MIB = 3;

/**
 * Jobs that take no longer than this in all are done sooner in place. It is about what the start of
 * a thread takes, so that whoever turns out to have more to do has lost no more than that.
 */
const IN_PLACE_MS_MAX = 50;

/**
 * One thread more starts once those there are have been busy for so long each: a start takes a
 * third of that of a processor's time, beside what it takes to compile the jobs' code once more.
 */
const BUSY_MS_MIN = 500;

export type CodecPoolOptions = {
  /** Threads start now, as there will be much to do, and not at the jobs that show that. */
  readonly atOnce?: boolean;
  /** It serves for long, beside what must not wait: it gives way, and replaces what has died. */
  readonly isBackground?: boolean;
  /** The caller is one of the threads: a start less, and it has time while others work. */
  readonly callerHelps?: boolean;
};

/**
 * With this much to do a thread is busy while the caller does the longest of jobs. What comes then
 * waits for whichever of them has time first.
 */
const ENOUGH_WEIGHT = 4;

/** A digest takes a millisecond, all else several. */
function weightOf({ kind }: JobRequest['job']): number {
  return kind === 'digest' ? 1 : 2;
}

const BACKGROUND_NICENESS = 5;

export function codecPool(
  env: Env,
  threads: number,
  { atOnce = false, isBackground = false, callerHelps = false }: CodecPoolOptions = {},
): CodecPool {
  const crew: Thread[] = [];
  const crewMax = callerHelps ? Math.max(Math.min(1, threads), threads - 1) : threads;
  /** While there is one, the caller's turn to help is to come. */
  const queue: Queued[] = [];
  let nextNumber = 0;
  let inPlaceMs = 0;
  let isOver = false;

  function start(): Thread {
    const handlers: WorkerHandlers = {
      onMessage: (message) => {
        const busyMs = busyMsOf(thread);
        hear(thread, message as JobAnswer | WorkerIsUp);
        if (thread.waiting.size === 0) thread.busyMs = busyMs;
        while (queue.length > 0 && !hasEnough(thread)) post(thread, queue.shift()!);
      },
      onError: (error) => {
        bury(thread, error);
        if (isBackground) crew.splice(crew.indexOf(thread), 1);
        inPlaceMs = 0;
      },
    };
    const thread: Thread = {
      port: env.workers.start(siblingModule(import.meta.url, 'codec-worker'), handlers, {
        youngMiB: YOUNG_MIB,
        ...(isBackground && { niceness: BACKGROUND_NICENESS }),
      }),
      waiting: new Map(),
      state: 'starting',
      busyFromMs: 0,
      busyMs: 0,
    };
    return thread;
  }

  if (atOnce) while (crew.length < crewMax) crew.push(start());

  function busyMsOf({ waiting, busyMs, busyFromMs }: Thread): number {
    return waiting.size === 0 ? busyMs : busyMs + env.clock.monotonicMs() - busyFromMs;
  }

  function isWorthOneMore(): boolean {
    if (crew.length === 0) return inPlaceMs >= IN_PLACE_MS_MAX;
    return crew.every((thread) => thread.state === 'up' && busyMsOf(thread) >= BUSY_MS_MIN);
  }

  function startIfWorth(): void {
    if (!isOver && crew.length < crewMax && isWorthOneMore()) crew.push(start());
  }

  /** Undefined: none is up yet. */
  function idlest(): Thread | undefined {
    let best: Thread | undefined;
    for (const thread of crew) {
      if (thread.state !== 'up') continue;
      if (best === undefined || thread.waiting.size < best.waiting.size) best = thread;
    }
    if (best !== undefined || crew.length === 0) return best;
    if (crew.some(({ state }) => state === 'starting')) return undefined;
    throw new CodecError('CODEC_WORKER', 'all worker threads have died', {
      hint: 'Memory may be short; run the command again.',
    });
  }

  function runInPlace(job: Job): unknown {
    const startMs = env.clock.monotonicMs();
    try {
      return runJob(job as never);
    } finally {
      inPlaceMs += env.clock.monotonicMs() - startMs;
      startIfWorth();
    }
  }

  function post(thread: Thread, asked: Queued<JobRequest['job']>): void {
    const { job, resolve, reject } = asked;
    const number = nextNumber++;
    if (thread.waiting.size === 0) thread.busyFromMs = env.clock.monotonicMs();
    thread.waiting.set(number, { resolve, reject, weight: weightOf(job) });
    thread.port.post({ number, job } satisfies JobRequest);
  }

  /** One job, after whatever else the caller had to do. */
  function helpOut(): void {
    const asked = queue.shift();
    if (asked === undefined) return;
    try {
      asked.resolve(runInPlace(asked.job));
    } catch (error) {
      asked.reject(error);
    }
    if (queue.length > 0) env.clock.after(0, helpOut);
  }

  return {
    threads,
    async run(job) {
      const thread = idlest();
      if (thread === undefined) return runInPlace(job) as never;
      startIfWorth();
      return new Promise((resolve, reject) => {
        const asked = { job, resolve: resolve as Waiting['resolve'], reject };
        if (!callerHelps || !hasEnough(thread)) return post(thread, asked);
        if (queue.push(asked) === 1) env.clock.after(0, helpOut);
      });
    },
    read(job) {
      const thread = crew.some(({ state }) => state === 'up') ? idlest() : undefined;
      if (thread === undefined) return undefined;
      const read: ReadJob = { kind: 'read', ...job };
      return new Promise((resolve, reject) => {
        post(thread, { job: read, resolve: resolve as Waiting['resolve'], reject });
      });
    },
    async [Symbol.asyncDispose]() {
      isOver = true;
      await Promise.all(crew.map((thread) => thread.port.terminate()));
      for (const thread of crew) bury(thread, undefined);
      for (const { reject } of queue.splice(0)) reject(endedInJob(undefined));
      crew.length = 0;
    },
  };
}

function hear(thread: Thread, message: JobAnswer | WorkerIsUp): void {
  if (message === 'up') {
    thread.state = 'up';
    return;
  }
  const { number, result, failure } = message;
  const waiting = thread.waiting.get(number);
  thread.waiting.delete(number);
  if (failure === undefined) waiting?.resolve(result);
  else {
    const { code, message, hint } = failure;
    waiting?.reject(new CodecError(code as CodecErrorCode, message, { hint }));
  }
}

function hasEnough({ waiting }: Thread): boolean {
  let sum = 0;
  for (const { weight } of waiting.values()) sum += weight;
  return sum >= ENOUGH_WEIGHT;
}

function bury(thread: Thread, cause: unknown): void {
  thread.state = 'dead';
  for (const waiting of thread.waiting.values()) waiting.reject(endedInJob(cause));
  thread.waiting.clear();
}

function endedInJob(cause: unknown): CodecError {
  return new CodecError('CODEC_WORKER', 'a worker thread ended in the middle of its job', {
    hint: 'Memory may be short; run the command again.',
    cause,
  });
}
