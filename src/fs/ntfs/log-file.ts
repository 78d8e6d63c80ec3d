/** $LogFile: how it was left, by its restart pages. */
import { damaged } from '../errors.ts';
import type { Fields } from '../fields.ts';
import { fixedUp } from './fixups.ts';
import { LOG_BYTES_MAX, LOG_PAGE_BYTES_MAX, LOG_PAGE_BYTES_MIN } from './limits.ts';
import { lsn64 } from './numbers.ts';
import { ATTRIBUTE } from './record.ts';
import type { NtfsStream } from './stream.ts';
import { type Ntfs, RECORD } from './volume.ts';

/** Where the second restart page is if the first one does not say. */
const PAGE_BYTES_USUAL = 4096;
const HEADER_BYTES = 0x20;
const AREA_BYTES = 0x30;
const IS_CLEAN = 2;
const PAGE_HEADER_BYTES_MIN = 0x40;
const RECORD_HEADER_BYTES_MIN = 0x30;
const NO_CLIENT = 0xffff;
const SEQUENCE_AND_OFFSET_BITS = 64;

export type LogRestart = {
  /** 1 if all is on disk; 2: Windows 8 or later has it mounted, or sleeps. */
  readonly major: number;
  readonly isClean: boolean;
  /** The last record, at least of those that count. */
  readonly lsn: bigint;
  /** Grows with each mount; where a log is made anew it begins anywhere. */
  readonly openCount: number;
  /** What chkdsk has found; another one if it ran. */
  readonly checkedLsn: bigint;
  /** How many bits of a record's number are its place, in units of eight bytes. */
  readonly placeBits: number;
  readonly sizeBytes: number;
  readonly systemPageBytes: number;
  readonly pageBytes: number;
  /** Where in a page its records begin. */
  readonly dataAt: number;
  readonly recordHeaderBytes: number;
};

export type NtfsLog = {
  readonly stream: NtfsStream;
  /** `emptied`: as ntfs-3g does if it was not clean; `checked`: by chkdsk, not mounted since. */
  readonly state: LogRestart | 'emptied' | 'checked';
};

export async function openLogFile(ntfs: Ntfs): Promise<NtfsLog> {
  const file = await ntfs.record(RECORD.logFile);
  const stream = await ntfs.stream(file, ATTRIBUTE.data, '');
  const start = await stream.read(0, HEADER_BYTES);
  const pageBytes = magicOf(start) === 'RSTR' ? start.u32(0x10) : PAGE_BYTES_USUAL;
  const second = await stream.read(isPage(pageBytes) ? pageBytes : PAGE_BYTES_USUAL, HEADER_BYTES);
  const magics = [magicOf(start), magicOf(second)];
  if (magics.includes('CHKD')) return { stream, state: 'checked' };
  if (magics.every((magic) => magic === '\xff\xff\xff\xff')) return { stream, state: 'emptied' };
  const pages = [
    await restartAt(stream, 0),
    await restartAt(stream, isPage(pageBytes) ? pageBytes : PAGE_BYTES_USUAL),
  ].filter((page) => page !== undefined);
  const [one, other] = pages;
  if (one === undefined) throw damaged(`${stream.what} has no restart page that is whole`);
  return { stream, state: other !== undefined && other.lsn > one.lsn ? other : one };
}

function magicOf(fields: Fields): string {
  return String.fromCharCode(...fields.take(0, 4));
}

function isPage(bytes: number): boolean {
  if (bytes < LOG_PAGE_BYTES_MIN || bytes > LOG_PAGE_BYTES_MAX) return false;
  return Number.isInteger(Math.log2(bytes));
}

/** Undefined if none is there: the other one counts then. */
async function restartAt(stream: NtfsStream, at: number): Promise<LogRestart | undefined> {
  const header = await stream.read(at, HEADER_BYTES);
  const what = `${stream.what}: the restart page at ${at}`;
  const [systemPageBytes, pageBytes] = [header.u32(0x10), header.u32(0x14)];
  if (magicOf(header) !== 'RSTR') return undefined;
  if (!isPage(systemPageBytes) || !isPage(pageBytes)) return undefined;
  const page = fixedUp((await stream.read(at, systemPageBytes)).bytes, 'RSTR', what);
  const area = page.u16(0x18);
  if (area % 8 !== 0 || area + AREA_BYTES > page.length) throw damaged(`${what} has no area`);
  const restart: LogRestart = {
    major: page.u16(0x1c),
    isClean: (page.u16(area + 0xe) & IS_CLEAN) !== 0 || page.u16(area + 0xc) === NO_CLIENT,
    lsn: lsn64(page, area),
    openCount: page.u32(area + 0x28),
    checkedLsn: lsn64(page, 8),
    placeBits: SEQUENCE_AND_OFFSET_BITS - page.u32(area + 0x10),
    sizeBytes: page.u64(area + 0x18),
    ...{ systemPageBytes, pageBytes },
    dataAt: page.u16(area + 0x26),
    recordHeaderBytes: page.u16(area + 0x24),
  };
  check(restart, stream, what);
  return restart;
}

function check(restart: LogRestart, { dataBytes }: NtfsStream, what: string): void {
  const { placeBits, sizeBytes, pageBytes, dataAt, recordHeaderBytes } = restart;
  const bad = (which: string) => damaged(`${what}: ${which}`);
  if (sizeBytes > Math.min(dataBytes, LOG_BYTES_MAX)) throw bad(`a log of ${sizeBytes} bytes`);
  if (placeBits < 1 || placeBits > 32 || 8 * 2 ** placeBits < sizeBytes) {
    throw bad(`places of ${placeBits} bits`);
  }
  if (dataAt < PAGE_HEADER_BYTES_MIN || dataAt % 8 !== 0 || dataAt >= pageBytes) {
    throw bad(`pages whose headers have ${dataAt} bytes`);
  }
  const [least, most] = [RECORD_HEADER_BYTES_MIN, pageBytes - dataAt];
  if (recordHeaderBytes < least || recordHeaderBytes % 8 !== 0 || recordHeaderBytes > most) {
    throw bad(`records whose headers have ${recordHeaderBytes} bytes`);
  }
}
