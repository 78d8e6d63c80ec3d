/** The worker pool: spreads jobs over threads, answers each with a promise. */
import { type Env, siblingModule, type WorkerHandlers, type WorkerPort } from '../core/index.ts';
import type { JobAnswer, JobRequest } from './codec-worker.ts';
import { CodecError, type CodecErrorCode } from './errors.ts';
import { type Job, type JobResult, runJob } from './jobs.ts';

/**
 * Runs jobs on up to `threads` threads; 0 runs them in place, in the caller's turn. The caller
 * bounds how many jobs wait, by the memory it hands out. Buffers of a job belong to the pool until
 * its promise settles. A thread that dies fails its jobs with CODEC_WORKER; others go on.
 */
export interface CodecPool extends AsyncDisposable {
  readonly threads: number;
  run<K extends Job['kind']>(job: Extract<Job, { kind: K }>): Promise<JobResult[K]>;
}

type Waiting = { resolve(result: unknown): void; reject(error: CodecError): void };
type Thread = { readonly port: WorkerPort; readonly waiting: Map<number, Waiting>; dead: boolean };

/** Below this much data threads cost more time than they save. */
const THREADS_FROM_BYTES = 8 * 1024 * 1024;

export function worthThreads(dataBytes: number): boolean {
  return dataBytes >= THREADS_FROM_BYTES;
}

/** Jobs work in memory of their own; what they make beside it is small, and dead at their end. */
const YOUNG_MIB = 3;

export function codecPool(env: Env, threads: number): CodecPool {
  const crew: Thread[] = [];
  let nextNumber = 0;

  function start(): Thread {
    const handlers: WorkerHandlers = {
      onMessage: (message) => answer(thread, message as JobAnswer),
      onError: (error) => bury(thread, error),
    };
    const thread: Thread = {
      port: env.workers.start(siblingModule(import.meta.url, 'codec-worker'), handlers, {
        youngMiB: YOUNG_MIB,
      }),
      waiting: new Map(),
      dead: false,
    };
    return thread;
  }

  for (let at = 0; at < threads; at++) crew.push(start());

  function idlest(): Thread {
    let best: Thread | undefined;
    for (const thread of crew) {
      if (thread.dead) continue;
      if (best === undefined || thread.waiting.size < best.waiting.size) best = thread;
    }
    if (best !== undefined) return best;
    throw new CodecError('CODEC_WORKER', 'all worker threads have died', {
      hint: 'Memory may be short; run the command again.',
    });
  }

  return {
    threads,
    async run(job) {
      if (threads === 0) return runJob(job as never) as never;
      const thread = idlest();
      const number = nextNumber++;
      return new Promise((resolve, reject) => {
        thread.waiting.set(number, { resolve: resolve as Waiting['resolve'], reject });
        thread.port.post({ number, job } satisfies JobRequest);
      });
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(crew.map((thread) => thread.port.terminate()));
      for (const thread of crew) bury(thread, undefined);
      crew.length = 0;
    },
  };
}

function answer(thread: Thread, { number, result, failure }: JobAnswer): void {
  const waiting = thread.waiting.get(number);
  thread.waiting.delete(number);
  if (failure === undefined) waiting?.resolve(result);
  else {
    const { code, message, hint } = failure;
    waiting?.reject(new CodecError(code as CodecErrorCode, message, { hint }));
  }
}

function bury(thread: Thread, cause: unknown): void {
  thread.dead = true;
  for (const waiting of thread.waiting.values()) {
    waiting.reject(
      new CodecError('CODEC_WORKER', 'a worker thread ended in the middle of its job', {
        hint: 'Memory may be short; run the command again.',
        cause,
      }),
    );
  }
  thread.waiting.clear();
}
