/** The named limits of the S3 store, each with its reason. */
import assert from 'node:assert/strict';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Requests of one store at the same time: 64 of 20 ms each are 3,200 a second. */
export const S3_REQUESTS_IN_FLIGHT_MAX = 64;

/** Range reads that a restore or a mount keeps going; the rest of the places is for others. */
export const S3_READS_IN_FLIGHT = 32;

/** Object parts that are uploaded in one go. S3 wants at least 5 MiB of all but the last. */
export const S3_PART_BYTES = 8 * MiB;

/** Parts of one object that are on their way while the next one fills. */
export const S3_PARTS_IN_FLIGHT = 3;

/** S3's own limit; with parts of 8 MiB far beyond any pack. */
export const S3_PARTS_MAX = 10_000;

/** Connecting takes milliseconds, or it takes for ever. */
export const S3_CONNECT_TIMEOUT_MS = 5_000;

/** An attempt has this long ... */
export const S3_DEADLINE_MS = 20_000;

/** ... and as much more as its bytes take on a slow line. */
export const S3_SLOWEST_BYTES_PER_MS = (256 * KiB) / 1000;

/** With 30 % of answers 503, one call in four million fails ten times in a row ... */
export const S3_ATTEMPTS_MAX = 12;

/** ... and no call tries longer than that. */
export const S3_PATIENCE_MS = 5 * 60_000;

/** Where nothing has ever answered, the address is wrong. */
export const S3_ATTEMPTS_UNREACHABLE_MAX = 3;

/** How often new credentials may be asked for within one call. */
export const S3_RENEWALS_MAX = 1;

/** The first pause lasts up to this, each further one up to twice as long ... */
export const S3_PAUSE_MS = 100;

/** ... up to this. */
export const S3_PAUSE_MAX_MS = 10_000;

/** An upload that its server began so long ago and that is not complete belongs to nobody. */
export const S3_ABANDONED_AFTER_MS = 24 * 3600_000;

/** Abandoned uploads that one run removes; the next one goes on. */
export const S3_ABANDONED_MAX = 1000;

assert(S3_PART_BYTES >= 5 * MiB);
assert(S3_READS_IN_FLIGHT < S3_REQUESTS_IN_FLIGHT_MAX);

/** Requests that put an object of this size: one, or its parts with a beginning and an end. */
export function s3PutRequests(sizeBytes: number): number {
  return sizeBytes <= S3_PART_BYTES ? 1 : 2 + Math.ceil(sizeBytes / S3_PART_BYTES);
}
