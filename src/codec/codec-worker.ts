/** The worker thread's side of the pool: runs one job after the other and posts the answer. */
import { FerryError } from '../core/index.ts';
import { type Job, runJob } from './jobs.ts';
import { RangeReader, type ReadJob } from './read-ranges.ts';

export type JobRequest = { readonly number: number; readonly job: Job | ReadJob };

export type JobFailure = {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
};

export type JobAnswer = {
  readonly number: number;
  readonly result?: unknown;
  readonly failure?: JobFailure;
};

/** The first message: until then jobs are done sooner elsewhere. */
export type WorkerIsUp = 'up';

export function serve(post: (message: unknown) => void): (message: unknown) => void {
  post('up' satisfies WorkerIsUp);
  let reader: RangeReader | undefined;
  return (message) => {
    const { number, job } = message as JobRequest;
    const answer = (result: unknown) => post({ number, result } satisfies JobAnswer);
    const fail = (error: unknown) => post({ number, failure: describe(error) } satisfies JobAnswer);
    try {
      if (job.kind !== 'read') answer(runJob(job));
      else {
        reader ??= new RangeReader();
        reader.read(job).then(answer, fail);
      }
    } catch (error) {
      fail(error);
    }
  };
}

/** Classes do not survive the channel: a failure travels as its parts. */
function describe(error: unknown): JobFailure {
  if (error instanceof FerryError) {
    return { code: error.code, message: error.message, hint: error.hint };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'CODEC_WORKER', message, hint: 'This is a defect of Blockferry; report it.' };
}
