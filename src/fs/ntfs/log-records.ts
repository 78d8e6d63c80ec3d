/** The records of $LogFile, one behind the other: which clusters were changed by what it logged. */
import { FerryError } from '../../core/index.ts';
import { damaged, tooMuch } from '../errors.ts';
import { Fields } from '../fields.ts';
import { fixedUp } from './fixups.ts';
import { LOG_RECORD_BYTES_MAX, LOGGED_CLUSTERS_MAX } from './limits.ts';
import type { LogRestart } from './log-file.ts';
import { lsn64 } from './numbers.ts';
import type { NtfsStream } from './stream.ts';

/** Pages in which the last one is kept while it is not full; the log itself is behind them. */
const TAIL_PAGES = 2;
/** The first of two pages of restart areas, and the second. */
const RESTART_PAGES = 2;
const PAGE_HAS_END = 1;
const OF_CLIENT = 1;
/** Of what a client logs: how many clusters follow, and where they are. */
const CLUSTERS_AT = 0x0e;
const LIST_AT = 0x20;

export type LogRecord = {
  readonly lsn: bigint;
  /** With its header, without those of the pages that it lies in. */
  readonly bytes: Uint8Array;
};

export type LogWalk = {
  /** Clusters of what the log speaks of, with repetitions. */
  readonly clusters: readonly number[];
  readonly recordCount: number;
};

/** A log that was left clean. */
export class LogRecords {
  readonly #stream: NtfsStream;
  readonly #restart: LogRestart;
  readonly #tails = new Map<number, Fields>();
  #page: { readonly at: number; readonly fields: Fields | undefined } | undefined;

  private constructor(stream: NtfsStream, restart: LogRestart) {
    this.#restart = restart;
    this.#stream = stream;
  }

  static async open(stream: NtfsStream, restart: LogRestart): Promise<LogRecords> {
    const log = new LogRecords(stream, restart);
    if (log.#firstPage + restart.pageBytes > restart.sizeBytes) {
      throw damaged(`${stream.what} has no room for records`);
    }
    const first = RESTART_PAGES * restart.systemPageBytes;
    for (let tail = 0; tail < TAIL_PAGES; tail++) {
      const page = await log.#readPage(first + tail * restart.pageBytes);
      if (page === undefined) continue;
      const [at, known] = [page.u64(8), log.#tails.get(page.u64(8))];
      if (known === undefined || endOf(known) < endOf(page)) log.#tails.set(at, page);
    }
    return log;
  }

  /** Undefined if something else is at its place: the log went round, or is another one. */
  async at(lsn: bigint): Promise<LogRecord | undefined> {
    return (await this.#read(lsn))?.record;
  }

  /**
   * From behind the record `from` to the record `to`, both included in what must be there.
   * Undefined if one does not lead to the other.
   */
  async walk(from: bigint, to: bigint): Promise<LogWalk | undefined> {
    const clusters: number[] = [];
    let recordCount = 0;
    let walkedBytes = 0;
    let found = await this.#read(from);
    while (found !== undefined && found.record.lsn !== to) {
      found = await this.#next(found);
      if (found === undefined || found.record.lsn > to) return undefined;
      recordCount += 1;
      walkedBytes += found.record.bytes.length;
      if (walkedBytes > this.#restart.sizeBytes) return undefined; // Over its beginning.
      for (const cluster of clustersOf(found.record, this.#restart)) clusters.push(cluster);
      if (clusters.length > LOGGED_CLUSTERS_MAX) {
        throw tooMuch(`${this.#stream.what} names too much`);
      }
    }
    return found && { clusters, recordCount };
  }

  get #firstPage(): number {
    const { systemPageBytes, pageBytes } = this.#restart;
    return RESTART_PAGES * systemPageBytes + TAIL_PAGES * pageBytes;
  }

  /** The record behind, in the same page or at the beginning of the next one. */
  async #next({ end, record: { lsn } }: Found): Promise<Found | undefined> {
    const { pageBytes, dataAt, recordHeaderBytes } = this.#restart;
    const pageAt = end - (end % pageBytes);
    if (end % pageBytes !== 0 && pageBytes - (end % pageBytes) >= recordHeaderBytes) {
      const here = await this.#read(this.#lsnAt(end, lsn));
      if (here !== undefined) return here;
    }
    const next = end % pageBytes === 0 ? end : pageAt + pageBytes;
    return this.#read(this.#lsnAt(this.#wrapped(next) + dataAt, lsn));
  }

  #wrapped(at: number): number {
    return at + this.#restart.pageBytes > this.#restart.sizeBytes ? this.#firstPage : at;
  }

  /** The number of a record at `at` that follows the one called `after`. */
  #lsnAt(at: number, after: bigint): bigint {
    const bits = BigInt(this.#restart.placeBits);
    const place = BigInt(at / 8);
    const sequence = after >> bits;
    const same = (sequence << bits) | place;
    return same > after ? same : ((sequence + 1n) << bits) | place;
  }

  async #read(lsn: bigint): Promise<Found | undefined> {
    const { placeBits, pageBytes, dataAt, recordHeaderBytes, sizeBytes } = this.#restart;
    let at = Number(lsn & ((1n << BigInt(placeBits)) - 1n)) * 8;
    if (at < this.#firstPage || at + recordHeaderBytes > sizeBytes) return undefined;
    const inPage = at % pageBytes;
    if (inPage < dataAt || pageBytes - inPage < recordHeaderBytes) return undefined;
    const first = await this.#pageAt(at - inPage);
    if (first === undefined || isBehind(first, inPage)) return undefined;
    if (lsn64(first, inPage) !== lsn) return undefined;
    const lengthBytes = recordHeaderBytes + first.u32(inPage + 0x18);
    if (lengthBytes > LOG_RECORD_BYTES_MAX) {
      throw tooMuch(`${this.#stream.what}: a record of ${lengthBytes} bytes`);
    }
    const bytes = new Uint8Array(lengthBytes);
    for (let done = 0; ; ) {
      const page = await this.#pageAt(at - (at % pageBytes));
      if (page === undefined) return undefined;
      const count = Math.min(lengthBytes - done, pageBytes - (at % pageBytes));
      bytes.set(page.take(at % pageBytes, count), done);
      done += count;
      at += count;
      if (done === lengthBytes) return { record: { lsn, bytes }, end: Math.ceil(at / 8) * 8 };
      at = this.#wrapped(at) + dataAt;
    }
  }

  async #pageAt(at: number): Promise<Fields | undefined> {
    if (this.#page?.at !== at) {
      const own = await this.#readPage(at);
      const tail = this.#tails.get(at);
      const isTailNewer = tail !== undefined && (own === undefined || endOf(own) < endOf(tail));
      this.#page = { at, fields: isTailNewer ? tail : own };
    }
    return this.#page.fields;
  }

  /** Undefined if it is not there, or was not written as a whole. */
  async #readPage(at: number): Promise<Fields | undefined> {
    const { bytes } = await this.#stream.read(at, this.#restart.pageBytes);
    try {
      return fixedUp(bytes, 'RCRD', `${this.#stream.what}: the page at ${at}`);
    } catch (error) {
      if (error instanceof FerryError) return undefined;
      throw error;
    }
  }
}

type Found = { readonly record: LogRecord; readonly end: number };

/** The last record that ends in the page. */
function endOf(page: Fields): bigint {
  return lsn64(page, 0x20);
}

/** Where no record is any more, an older one may still be seen. */
function isBehind(page: Fields, at: number): boolean {
  return (page.u32(0x10) & PAGE_HAS_END) !== 0 && at >= page.u16(0x18);
}

function clustersOf({ bytes }: LogRecord, { recordHeaderBytes }: LogRestart): number[] {
  const header = new Fields(bytes, 'a record of $LogFile', 'little');
  if (header.u32(0x20) !== OF_CLIENT || bytes.length < recordHeaderBytes + LIST_AT) return [];
  const data = new Fields(bytes.subarray(recordHeaderBytes), header.what, 'little');
  const count = data.u16(CLUSTERS_AT);
  const clusters: number[] = [];
  for (let index = 0; index < count; index++) {
    const at = LIST_AT + index * 8;
    // Of a hole, or of what is not yet in place, there is no cluster.
    if (data.high(at) < 2 ** 21 && data.u64(at) > 0) clusters.push(data.u64(at));
  }
  return clusters;
}
