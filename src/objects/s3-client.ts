/** The AWS SDK behind a small face: loaded at first use, told not to retry, its errors sorted. */
import type * as SdkModule from '@aws-sdk/client-s3';
import { S3_CONNECT_TIMEOUT_MS, S3_REQUESTS_IN_FLIGHT_MAX } from './s3-limits.ts';

export type Sdk = typeof SdkModule;

export type S3Access = {
  /** The server's address; without it AWS's own of the region. */
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  /** For tests and programs; otherwise they are looked for where every AWS tool does. */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
};

/** Any will do for servers that have no regions, but the signature needs one. */
const REGION_OF_OTHERS = 'us-east-1';

/** Takes a good part of a second: only who uses S3 pays for it. */
export async function loadSdk(): Promise<Sdk> {
  return import('@aws-sdk/client-s3');
}

export function makeClient(sdk: Sdk, access: S3Access): SdkModule.S3Client {
  const { endpoint, credentials } = access;
  const region = access.region ?? (endpoint === undefined ? undefined : REGION_OF_OTHERS);
  const agent = { keepAlive: true, maxSockets: S3_REQUESTS_IN_FLIGHT_MAX };
  return new sdk.S3Client({
    ...(endpoint !== undefined && { endpoint, forcePathStyle: true }),
    ...(region !== undefined && { region }),
    ...(credentials !== undefined && { credentials }),
    maxAttempts: 1, // s3-calls.ts counts, waits and knows what may be done twice.
    // Older Ceph and others refuse checksum trailers; every byte is verified by the layers above.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: S3_CONNECT_TIMEOUT_MS,
      httpAgent: agent,
      httpsAgent: agent,
    },
  });
}

/** What to do about a failed request. */
export type Verdict =
  /** The same again may succeed. */
  | 'retry'
  /** Credentials have run out: load them anew, then again. */
  | 'renew'
  | 'fail';

export type S3Failure = {
  readonly verdict: Verdict;
  /** 0 if no answer came. */
  readonly status: number;
  /** As the server calls it, `NoSuchKey`, or Node, `ECONNRESET`. */
  readonly name: string;
  readonly message: string;
  /** Nothing answers there at all: a wrong address rather than a bad moment. */
  readonly isUnreachable: boolean;
};

/** An answer that cannot be true: cut off, of another length, of another range. */
export class AnswerError extends Error {
  override readonly name = 'BadAnswer';
}

/** The request was given up by us. */
export class DeadlineError extends Error {
  override readonly name = 'Deadline';
}

const unreachable = new Set([
  'ENOTFOUND',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

const expired = new Set(['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired']);

/** Refusals by name that are a matter of the moment, whatever their status. */
const momentary = new Set([
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'RequestLimitExceeded',
  'RequestTimeout',
  'RequestTimeTooSkewed', // The SDK takes the server's time from the answer.
  'ConditionalRequestConflict',
  'OperationAborted',
  'BadDigest',
  'IncompleteBody',
  'XAmzContentSHA256Mismatch',
]);

/** Failures of the host and of TLS carry a code; those that no other attempt can cure. */
const lasting = /^(?:ERR_(?:INVALID|TLS)|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|ERR_SSL)/;

/** Sorts whatever the SDK threw; undefined if it is a defect, not an answer of the world. */
export function failureOf(error: unknown): S3Failure | undefined {
  if (!(error instanceof Error)) return undefined;
  const { $metadata, code } = error as {
    readonly $metadata?: { readonly httpStatusCode?: number };
    readonly code?: unknown;
  };
  const status = $metadata?.httpStatusCode ?? 0;
  const hostCode = typeof code === 'string' ? code : undefined;
  const name = status === 0 && hostCode !== undefined ? hostCode : error.name;
  const failure = { status, name, message: error.message, isUnreachable: unreachable.has(name) };
  const verdict = verdictOf(error, failure, hostCode);
  return verdict === undefined ? undefined : { ...failure, verdict };
}

function verdictOf(
  error: Error,
  { status, name }: { readonly status: number; readonly name: string },
  hostCode: string | undefined,
): Verdict | undefined {
  if (error instanceof AnswerError || error instanceof DeadlineError) return 'retry';
  if (expired.has(name)) return 'renew';
  if (momentary.has(name) || status === 429 || status === 408) return 'retry';
  if (status >= 500) return status === 501 ? 'fail' : 'retry';
  if (status >= 300) return 'fail';
  // An answer that was no XML, or was cut off in the middle of it.
  if (status >= 200) return 'retry';
  if (hostCode !== undefined) return lasting.test(hostCode) ? 'fail' : 'retry';
  if (name === 'TimeoutError' || name === 'AbortError') return 'retry';
  if (name === 'CredentialsProviderError' || error.message === 'Region is missing') return 'fail';
  return undefined;
}

/** What the SDK hands out under Node. */
type Body = AsyncIterable<Uint8Array> & { destroy(error?: unknown): void };

/** Reads a body to its end into `target`; AnswerError unless it has just that length. */
export async function readBody(
  body: unknown,
  target: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const stream = body as Body;
  const giveUp = () => stream.destroy(signal.reason);
  if (signal.aborted) giveUp();
  signal.addEventListener('abort', giveUp, { once: true });
  let filledBytes = 0;
  try {
    for await (const chunk of stream) {
      if (filledBytes + chunk.byteLength > target.byteLength) {
        throw new AnswerError(`more than ${target.byteLength} bytes came`);
      }
      target.set(chunk, filledBytes);
      filledBytes += chunk.byteLength;
    }
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
  if (filledBytes === target.byteLength) return;
  throw new AnswerError(`${filledBytes} of ${target.byteLength} bytes came`);
}

/** Lets go of a body that nobody wants; its connection is not used again. */
export function dropBody(body: unknown): void {
  (body as Body | undefined)?.destroy();
}
