/** Runs S3 requests: so many at once, so many a second, each with a deadline, tried a few times. */
import type { S3Client } from '@aws-sdk/client-s3';
import { type Clock, Gate, pause, type Random, type Timer } from '../core/index.ts';
import { ObjectError, type ObjectErrorCode } from './object-store.ts';
import {
  DeadlineError,
  failureOf,
  loadSdk,
  makeClient,
  type S3Access,
  type S3Failure,
  type Sdk,
} from './s3-client.ts';
import {
  S3_ATTEMPTS_MAX,
  S3_ATTEMPTS_UNREACHABLE_MAX,
  S3_DEADLINE_MS,
  S3_PATIENCE_MS,
  S3_PAUSE_MAX_MS,
  S3_PAUSE_MS,
  S3_RENEWALS_MAX,
  S3_REQUESTS_IN_FLIGHT_MAX,
  S3_SLOWEST_BYTES_PER_MS,
} from './s3-limits.ts';

export type S3Pace = {
  /** Requests a second; unlimited if absent. */
  readonly requestsPerS?: number | undefined;
  /** Tests shorten them. */
  readonly deadlineMs?: number;
  readonly pauseMs?: number;
};

/** What the price lists tell apart. */
export type S3RequestClass = 'put' | 'get' | 'list' | 'delete';

export type S3Usage = {
  readonly requests: Record<S3RequestClass, number>;
  uploadedBytes: number;
  downloadedBytes: number;
};

/** One attempt's surroundings. */
export type S3Attempt = {
  readonly sdk: Sdk;
  readonly client: S3Client;
  /** Aborts at the deadline. */
  readonly signal: AbortSignal;
  /** That many bytes more than was said are to come: the deadline moves. */
  extend(bytes: number): void;
};

export type S3Call = {
  /** For messages: `store`, `read`. */
  readonly verb: string;
  readonly key: string;
  readonly class: S3RequestClass;
  /** What goes up or comes down, for the deadline. */
  readonly bytes?: number;
};

export type S3CallsOptions = {
  readonly storeName: string;
  readonly access: S3Access;
  readonly clock: Clock;
  readonly random: Random;
  readonly pace?: S3Pace | undefined;
};

export class S3Calls {
  readonly #options: S3CallsOptions;
  readonly #gate = new Gate({ limit: S3_REQUESTS_IN_FLIGHT_MAX });
  readonly usage: S3Usage = {
    requests: { put: 0, get: 0, list: 0, delete: 0 },
    uploadedBytes: 0,
    downloadedBytes: 0,
  };
  #loaded: Promise<{ sdk: Sdk; client: S3Client }> | undefined;
  /** When the next request may start, if the rate is limited. */
  #nextMs = 0;
  /** Something has answered at that address before. */
  #hasAnswered = false;

  constructor(options: S3CallsOptions) {
    this.#options = options;
  }

  /**
   * Runs `work` until it succeeds, fails for good, or has been tried often enough. What `work`
   * throws as an ObjectError passes. It may be run again after an attempt that took effect.
   */
  async run<T>(call: S3Call, work: (attempt: S3Attempt) => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const beganMs = clock.monotonicMs();
    let renewals = 0;
    for (let attempt = 1; ; attempt++) {
      let failure: S3Failure | undefined;
      try {
        return await this.#attempt(call, work);
      } catch (error) {
        failure = error instanceof ObjectError ? undefined : failureOf(error);
        if (failure === undefined) throw error;
      }
      if (failure.status > 0) this.#hasAnswered = true;
      if (failure.verdict === 'renew' && renewals++ < S3_RENEWALS_MAX) this.#loaded = undefined;
      else if (failure.verdict !== 'retry') throw this.#error(call, failure, attempt);
      const pauseMs = this.#pauseMs(attempt);
      const isLate = clock.monotonicMs() + pauseMs - beganMs > S3_PATIENCE_MS;
      const isWrongPlace = failure.isUnreachable && !this.#hasAnswered;
      const attemptsMax = isWrongPlace ? S3_ATTEMPTS_UNREACHABLE_MAX : S3_ATTEMPTS_MAX;
      if (attempt >= attemptsMax || isLate) throw this.#error(call, failure, attempt);
      await this.#pause(pauseMs);
    }
  }

  async #attempt<T>(call: S3Call, work: (attempt: S3Attempt) => Promise<T>): Promise<T> {
    const { clock, pace } = this.#options;
    const { sdk, client } = await this.#client();
    await this.#gate.enter();
    try {
      await this.#turn();
      this.usage.requests[call.class]++;
      const controller = new AbortController();
      const { signal } = controller;
      let timer = limit(call.bytes ?? 0);
      const extend = (bytes: number): void => {
        timer.cancel();
        timer = limit(bytes);
      };
      try {
        const result = await work({ sdk, client, signal, extend });
        this.#hasAnswered = true;
        return result;
      } catch (error) {
        throw signal.aborted && !(error instanceof ObjectError) ? signal.reason : error;
      } finally {
        timer.cancel();
      }

      function limit(bytes: number): Timer {
        const deadlineMs = (pace?.deadlineMs ?? S3_DEADLINE_MS) + bytes / S3_SLOWEST_BYTES_PER_MS;
        const late = new DeadlineError(`no answer within ${Math.round(deadlineMs)} ms`);
        return clock.after(deadlineMs, () => controller.abort(late));
      }
    } finally {
      this.#gate.leave();
    }
  }

  #client(): Promise<{ sdk: Sdk; client: S3Client }> {
    this.#loaded ??= loadSdk().then((sdk) => ({
      sdk,
      client: makeClient(sdk, this.#options.access),
    }));
    return this.#loaded;
  }

  /** Spreads requests evenly where their rate is limited. */
  async #turn(): Promise<void> {
    const { clock, pace } = this.#options;
    if (pace?.requestsPerS === undefined) return;
    const nowMs = clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = startMs + 1000 / pace.requestsPerS;
    if (startMs > nowMs) await this.#pause(startMs - nowMs);
  }

  /** A random share of a bound that doubles: those who failed together do not come together. */
  #pauseMs(attempt: number): number {
    const bytes = new Uint8Array(2);
    this.#options.random.fill(bytes);
    const share = (bytes[0]! * 256 + bytes[1]!) / 65536;
    const firstMs = this.#options.pace?.pauseMs ?? S3_PAUSE_MS;
    return share * Math.min(S3_PAUSE_MAX_MS, firstMs * 2 ** (attempt - 1));
  }

  #pause(delayMs: number): Promise<void> {
    return pause(this.#options, delayMs, undefined, { keepsProcess: true });
  }

  /** The cause is told, not kept: what the SDK throws may hold headers of the request. */
  #error({ verb, key }: S3Call, failure: S3Failure, attempts: number): ObjectError {
    const { code, hint } = meaningOf(failure);
    const status = failure.status > 0 ? `, status ${failure.status}` : '';
    const often = attempts > 1 ? ` (tried ${attempts} times)` : '';
    const what = `${failure.name}${status}: ${failure.message.replace(/\s+/g, ' ').slice(0, 300)}`;
    const message = `${this.#options.storeName}: cannot ${verb} ${key}${often}: ${what}`;
    return new ObjectError(code, message, { hint });
  }

  async close(): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    (await loaded?.catch(() => undefined))?.client.destroy();
  }
}

const outOfRoom = new Set(['QuotaExceeded', 'ServiceQuotaExceeded', 'TooManyObjects']);

function meaningOf(failure: S3Failure): { readonly code: ObjectErrorCode; readonly hint: string } {
  const { status, name, verdict, isUnreachable, message } = failure;
  if (verdict === 'renew') {
    return {
      code: 'OBJECT_ACCESS',
      hint: 'The credentials have expired: renew them, run it again.',
    };
  }
  if (name === 'NoSuchBucket') {
    return { code: 'OBJECT_ACCESS', hint: 'Make the bucket first, or correct its name.' };
  }
  if (name === 'CredentialsProviderError') {
    return {
      code: 'OBJECT_ACCESS',
      hint: 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.',
    };
  }
  if (message === 'Region is missing') {
    return { code: 'OBJECT_ACCESS', hint: 'Set AWS_REGION, or --endpoint for another server.' };
  }
  if (outOfRoom.has(name) || status === 507) {
    return {
      code: 'OBJECT_NO_SPACE',
      hint: 'Raise the quota of the bucket or user, or free space.',
    };
  }
  if (status === 401 || status === 403) {
    const hint = 'See docs/using/s3.md for the permissions needed; check key, secret and clock.';
    return { code: 'OBJECT_ACCESS', hint };
  }
  if (status >= 300 && status < 400) {
    return { code: 'OBJECT_ACCESS', hint: 'The bucket is in another region: set AWS_REGION.' };
  }
  if (isUnreachable) {
    return { code: 'OBJECT_UNAVAILABLE', hint: 'Check --endpoint and the network.' };
  }
  if (verdict === 'retry') {
    const hint = 'The server or the way to it is in trouble; run it again later: it goes on.';
    return { code: 'OBJECT_UNAVAILABLE', hint };
  }
  return { code: 'OBJECT_IO', hint: 'The server refuses what it should allow; see its own log.' };
}
