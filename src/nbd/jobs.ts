/** Requests that the device has not answered yet, kept in reused objects. */
import type { Claim } from './range-lock.ts';
import type { Request } from './request-codec.ts';
import type { Slab } from './slabs.ts';

/** Idle jobs kept per server. */
const IDLE_JOBS_MAX = 4096;

/** Who carries a job out; the job only remembers. */
export interface JobOwner {
  proceed(job: Job): void;
  settled(job: Job, error: unknown): void;
}

/** A copy of the request, where its reply or payload lies, and its place in the range lock. */
export class Job implements Request, Claim {
  flags = 0;
  command = 0;
  cookieHigh = 0;
  cookieLow = 0;
  offsetBytes = 0;
  lengthBytes = 0;

  owner: JobOwner | undefined;
  /** Read: the claimed reply. Write: the payload's slab. */
  slab: Slab | undefined;
  /** Read: where in the slab the claimed reply begins. */
  start = 0;
  payload: Uint8Array | undefined;
  /** Stands in the range lock. */
  isLocked = false;

  writes = false;
  earlier: Claim | undefined;
  later: Claim | undefined;
  waiting: Claim | undefined;
  nextWaiting: Claim | undefined;

  /** Made once, so that waiting for a promise makes nothing new. */
  readonly ok = (): void => this.owner!.settled(this, undefined);
  readonly fail = (error: unknown): void => this.owner!.settled(this, error ?? new Error('failed'));

  proceed(): void {
    this.owner!.proceed(this);
  }
}

export class JobPool {
  readonly #idle: Job[] = [];

  take(owner: JobOwner, request: Request): Job {
    const job = this.#idle.pop() ?? new Job();
    job.owner = owner;
    job.flags = request.flags;
    job.command = request.command;
    job.cookieHigh = request.cookieHigh;
    job.cookieLow = request.cookieLow;
    job.offsetBytes = request.offsetBytes;
    job.lengthBytes = request.lengthBytes;
    return job;
  }

  giveBack(job: Job): void {
    job.owner = undefined;
    job.slab = undefined;
    job.payload = undefined;
    job.isLocked = false;
    if (this.#idle.length < IDLE_JOBS_MAX) this.#idle.push(job);
  }
}
