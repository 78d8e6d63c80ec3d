/** Reads a journal from its beginning: which records are whole, whether its end is only torn. */
import { type OpenFile, readFully } from '../../../core/index.ts';
import { damagedJournal } from '../errors.ts';
import {
  decodeRecordHeader,
  isRecordWhole,
  markAt,
  markOf,
  type OnRecord,
  RECORD_HEADER_BYTES,
} from './journal-record.ts';

type Where = {
  readonly path: string;
  readonly nonce: Uint8Array;
  /** Behind the file's header. */
  readonly startBytes: number;
};

export type Scanned = {
  /** Behind the last whole record. */
  readonly endBytes: number;
  /** So much was durable when some whole record was written. */
  readonly provenBytes: number;
  readonly recordCount: number;
};

const STEP_BYTES = 1024 * 1024;

/** REPLICATE_JOURNAL if a record says that what lies before it, and is not whole, was durable. */
export async function scanJournal(
  file: OpenFile,
  where: Where,
  onRecord: OnRecord,
): Promise<Scanned> {
  const { startBytes, nonce, path } = where;
  let at = startBytes;
  let provenBytes = startBytes;
  let recordCount = 0;
  for (;;) {
    const record = await recordAt(file, at, nonce);
    if (record === undefined || record.number !== recordCount) break;
    const payload = record.bytes.subarray(RECORD_HEADER_BYTES);
    const atBytes = at + RECORD_HEADER_BYTES;
    await onRecord(record.type, payload, { atBytes, payloadBytes: payload.byteLength });
    provenBytes = Math.max(provenBytes, record.durableBytes);
    recordCount += 1;
    at += record.bytes.byteLength;
  }
  const later = await laterRecord(file, at, nonce);
  if (later !== undefined) {
    throw damagedJournal(
      path,
      `the record at ${at} is not whole, and was when ${later} was written`,
    );
  }
  return { endBytes: at, provenBytes: Math.min(provenBytes, at), recordCount };
}

async function recordAt(file: OpenFile, at: number, nonce: Uint8Array) {
  const head = new Uint8Array(RECORD_HEADER_BYTES);
  if ((await readFully(file, head, at)) < RECORD_HEADER_BYTES) return undefined;
  const header = decodeRecordHeader(head, nonce);
  if (header === undefined) return undefined;
  const bytes = new Uint8Array(RECORD_HEADER_BYTES + header.payloadBytes);
  if ((await readFully(file, bytes, at)) < bytes.byteLength) return undefined;
  return isRecordWhole(bytes, header.checksum, nonce) ? { ...header, bytes } : undefined;
}

/** The place of a whole record behind `at` that was written when more than `at` was durable. */
async function laterRecord(
  file: OpenFile,
  at: number,
  nonce: Uint8Array,
): Promise<number | undefined> {
  // Most journals end right there, and are opened without so much memory.
  if ((await readFully(file, new Uint8Array(1), at)) === 0) return undefined;
  const mark = markOf(nonce);
  const bytes = Buffer.alloc(STEP_BYTES + mark.byteLength);
  for (let from = at; ; from += STEP_BYTES) {
    const got = await readFully(file, bytes, from);
    const part = bytes.subarray(0, got);
    for (let found = part.indexOf(mark); found >= 0; found = part.indexOf(mark, found + 1)) {
      const place = from + found - markAt;
      if (place <= at) continue;
      const record = await recordAt(file, place, nonce);
      if (record !== undefined && record.durableBytes > at) return place;
    }
    if (got < bytes.byteLength) return undefined;
  }
}
