/** $UsnJrnl, the journal of changes: which files were changed, one record behind the other. */
import { damaged, notFound, tooMuch, unsupported } from '../errors.ts';
import { Fields } from '../fields.ts';
import { findInDirectory } from './directory.ts';
import { PIECE_BYTES, USN_BYTES_MAX } from './limits.ts';
import { hex64, type Reference, referenceAt } from './numbers.ts';
import { ATTRIBUTE } from './record.ts';
import type { NtfsStream } from './stream.ts';
import { type Ntfs, RECORD } from './volume.ts';

const MAX_BYTES = 32;
/** No record passes the end of a page; what is left of it is zero. */
const PAGE_BYTES = 4096;
/** The fixed parts of a record by its major version. */
const RECORD_BYTES: Readonly<Record<number, number>> = { 2: 0x3c, 3: 0x4c, 4: 0x40 };

export type UsnJournal = {
  /** Another one if it was deleted and made anew. */
  readonly id: string;
  /** Numbers of records, which are their places: the first that may be, and the next to come. */
  readonly first: number;
  readonly next: number;
  readonly stream: NtfsStream;
};

export type UsnRecord = {
  readonly usn: number;
  readonly file: Reference;
  readonly bytes: Uint8Array;
};

/** FS_NOT_FOUND if the volume keeps none. */
export async function openUsnJournal(ntfs: Ntfs): Promise<UsnJournal> {
  const extend = await ntfs.record(RECORD.extend);
  const found = await findInDirectory(ntfs, extend, '$UsnJrnl');
  if (found === undefined) {
    throw notFound(`${ntfs.device.name} keeps no journal of changes ($UsnJrnl)`);
  }
  const file = await ntfs.recordOf(found);
  const about = await ntfs.stream(file, ATTRIBUTE.data, '$Max');
  const max = await about.read(0, MAX_BYTES);
  const stream = await ntfs.stream(file, ATTRIBUTE.data, '$J');
  const { clusterBytes } = ntfs.boot;
  const kept = stream.runs.find(({ cluster }) => cluster !== undefined);
  const hole = stream.runs.findLast(({ cluster }) => cluster === undefined);
  if (kept !== undefined && hole !== undefined && hole.vcn > kept.vcn) {
    throw damaged(`${stream.what} has a hole among its records`);
  }
  const isResident = stream.runs.length === 0;
  const begin = kept !== undefined ? kept.vcn * clusterBytes : isResident ? 0 : stream.dataBytes;
  const first = Math.max(begin, max.u64(0x18));
  return { id: hex64(max, 0x10), first, next: stream.dataBytes, stream };
}

/** From `from`, which must be where a record is or comes next, up to the last one. */
export async function* usnRecords(
  { first, next, stream }: UsnJournal,
  from: number,
): AsyncGenerator<UsnRecord> {
  if (from < first || from > next) throw damaged(`${stream.what}: no record at ${from}`);
  if (next - from > USN_BYTES_MAX) throw tooMuch(`${stream.what}: ${next - from} bytes of changes`);
  for (let at = from; at < next; ) {
    const end = Math.min(next, at - (at % PAGE_BYTES) + PIECE_BYTES);
    const piece = await stream.read(at, end - at);
    yield* recordsIn(piece, at);
    at = end;
  }
}

/** The record that ends where `usn` is, or in the page before; undefined if it is not there. */
export async function lastUsnBefore(
  { first, stream }: UsnJournal,
  usn: number,
): Promise<UsnRecord | undefined> {
  const page = Math.floor((usn - 1) / PAGE_BYTES) * PAGE_BYTES;
  if (page < first || usn > stream.dataBytes) return undefined;
  let last: UsnRecord | undefined;
  for (const record of recordsIn(await stream.read(page, usn - page), page)) last = record;
  return last;
}

/** `start`: the number of the first byte. */
function* recordsIn(piece: Fields, start: number): Generator<UsnRecord> {
  for (let at = 0; at < piece.length; ) {
    const pageEnd = Math.min(piece.length, at + PAGE_BYTES - ((start + at) % PAGE_BYTES));
    const lengthBytes = pageEnd - at < 8 ? 0 : piece.u32(at);
    if (lengthBytes === 0 && (start + at) % PAGE_BYTES !== 0) {
      at = pageEnd;
      continue;
    }
    if (lengthBytes % 8 !== 0 || at + lengthBytes > pageEnd || lengthBytes < 0x38) {
      throw damaged(`${piece.what}: a record of ${lengthBytes} bytes at ${start + at}`);
    }
    yield recordAt(new Fields(piece.take(at, lengthBytes), piece.what, 'little'), start + at);
    at += lengthBytes;
  }
}

function recordAt(own: Fields, usn: number): UsnRecord {
  const major = own.u16(4);
  const fixedBytes = RECORD_BYTES[major];
  if (fixedBytes === undefined) throw unsupported(`${own.what}: records of version ${major}`);
  // From version 3 on files have numbers of 128 bits, of which NTFS uses 64.
  const isLong = major >= 3;
  const said = own.u64(isLong ? 0x28 : 0x18);
  if (own.length < fixedBytes || said !== usn) {
    throw damaged(`${own.what}: the record at ${usn} has number ${said}`);
  }
  if (isLong && (own.u32(0x10) !== 0 || own.u32(0x14) !== 0)) {
    throw unsupported(`${own.what}: the record at ${usn} is of no file of NTFS`);
  }
  return { usn, file: referenceAt(own, 8), bytes: own.bytes };
}
