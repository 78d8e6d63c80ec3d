/**
 * What Windows would do to an NTFS image, written to the published layout: files change, $UsnJrnl
 * names them, $LogFile goes on. Windows itself was never seen: this is how it is said to be.
 */

import {
  ATTRIBUTE,
  fileNameAt,
  type NtfsRecord,
  type NtfsRun,
  openNtfs,
} from '../../../src/fs/ntfs/index.ts';
import { deviceOf } from './images.ts';
import { NtfsLogWriter } from './ntfs-log-writer.ts';

const CLUSTER = 4096;
const RECORD = 1024;
const RECORD_ROOT = 5;
const SECTOR = 512;
const USN_PAGE = 4096;
/** Of a record of version 2 with a name of eight letters. */
const USN_BYTES = 80;
/** Of $UsnJrnl:$J, what the image has room for. */
const USN_ROOM = 131_072;
/** The first records are there twice. */
const MIRRORED = 4;
const REASON_DATA_OVERWRITE = 0x1;
const REASON_CLOSE = 0x80000000;

/** Of the log, which has more room: so that it goes round soon. */
const LOG_BYTES = 0x20000;

type Stream = { readonly record: number; readonly runs: readonly NtfsRun[] };

export class Windows {
  readonly bytes: Uint8Array;
  readonly log: NtfsLogWriter;
  readonly #view: DataView;
  readonly #mft: readonly NtfsRun[];
  readonly #files: ReadonlyMap<string, Stream>;
  readonly #journal: Stream;
  readonly #all: readonly NtfsRun[];
  readonly #further: readonly NtfsRecord[];
  #usn = 0;
  #clock = 1n;

  private constructor(bytes: Uint8Array, { mft, files, all, further }: Found) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#mft = mft;
    this.#files = files;
    this.#all = all;
    this.#further = further;
    this.#journal = files.get('$UsnJrnl:$J')!;
    this.log = new NtfsLogWriter(bytes, this.#place(files.get('$LogFile')!, 0), LOG_BYTES);
  }

  /** On an image of ntfs-3g's tools: makes both journals, uses a file, and leaves all clean. */
  static async begin(bytes: Uint8Array, file = 'documents/one.txt'): Promise<Windows> {
    const windows = new Windows(bytes, await filesOf(bytes));
    windows.remakeJournal(0x1d5_0000_0001n);
    windows.mount();
    windows.touch(file);
    windows.unmount();
    return windows;
  }

  get usn(): number {
    return this.#usn;
  }

  runs(name: string): readonly NtfsRun[] {
    const file = this.#files.get(name);
    if (file === undefined) throw new Error(`no file ${name}`);
    return file.runs;
  }

  /** Of everything that is in use. */
  get allRuns(): readonly NtfsRun[] {
    return this.#all;
  }

  /** Of a file with a list of attributes. */
  furtherRecord(name: string): number {
    const { record } = this.#files.get(name)!;
    return this.#further.find(({ base }) => base?.record === record)!.number;
  }

  mount(): void {
    this.log.open();
    this.#flags(1);
  }

  /** With all that was logged on disk. */
  unmount(): void {
    this.#flags(0);
    this.log.close();
  }

  /** Content and what tells of it: times, $UsnJrnl, $LogFile. */
  overwrite(name: string, cluster: number, byte: number): void {
    this.smuggle(name, cluster, byte);
    this.touch(name);
  }

  /** Content alone, as no program could do it through Windows. */
  smuggle(name: string, cluster: number, byte: number): void {
    const run = this.runs(name).find(({ vcn, count }) => cluster >= vcn && cluster < vcn + count);
    if (run?.cluster === undefined) throw new Error(`${name} has no cluster ${cluster}`);
    this.fill(run.cluster + cluster - run.vcn, byte);
  }

  fill(cluster: number, byte: number): void {
    this.bytes.fill(byte, cluster * CLUSTER, (cluster + 1) * CLUSTER);
  }

  /** The name of as many letters; the directory keeps the old one. */
  rename(name: string, to: string): void {
    this.#change(this.#files.get(name)!.record, (at) => {
      const attribute = this.#attribute(at, ATTRIBUTE.fileName, '');
      const value = attribute + this.#view.getUint16(attribute + 0x14, true);
      this.bytes.set(Buffer.from(to, 'utf16le'), value + 0x42);
    });
  }

  /** At the beginning of a file. */
  write(name: string, text: string): void {
    this.bytes.set(Buffer.from(text), this.#place(this.#files.get(name)!, 0));
  }

  touch(name: string): void {
    const { record } = this.#files.get(name)!;
    this.#change(record, (at) => this.#stamp(at, 0x18));
    this.note(record, this.#sequence(record), REASON_DATA_OVERWRITE);
    this.note(record, this.#sequence(record), REASON_DATA_OVERWRITE | REASON_CLOSE);
  }

  /** The time of the last access: logged, and named by no record of $UsnJrnl. */
  look(name: string): void {
    this.#change(this.#files.get(name)!.record, (at) => this.#stamp(at, 0x30));
  }

  /** As a driver that keeps no journal does. */
  touchUnlogged(name: string): void {
    this.#patch(this.#files.get(name)!.record, (at) => this.#stamp(at, 0x18));
  }

  delete(name: string): void {
    const { record } = this.#files.get(name)!;
    const sequence = this.#sequence(record);
    this.#change(record, (at) => {
      this.#view.setUint16(at + 0x16, 0, true);
      this.#view.setUint16(at + 0x10, sequence + 1, true);
    });
    this.note(record, sequence, 0x200 | REASON_CLOSE);
  }

  /** As a driver that keeps no journal does. */
  deleteUnlogged(name: string): void {
    this.#patch(this.#files.get(name)!.record, (at) => this.#view.setUint16(at + 0x16, 0, true));
  }

  /** A record alone, which need not be a file's first one. */
  logged(record: number): void {
    this.#change(record, () => {});
  }

  /** The last record of $UsnJrnl before `usn` is another one. */
  forgeUsn(usn: number): void {
    this.bytes[this.#place(this.#journal, usn - USN_BYTES) + 0x20]! ^= 1;
  }

  /** To other clusters, as defragmenting does: of a file in one piece. */
  move(name: string, to: number): void {
    const [{ cluster, count }] = this.runs(name) as [NtfsRun];
    const from = cluster! * CLUSTER;
    this.bytes.copyWithin(to * CLUSTER, from, from + count * CLUSTER);
    this.map(name, to);
  }

  /** Says that it lies there. */
  map(name: string, to: number): void {
    const { record } = this.#files.get(name)!;
    this.#change(record, (at) => {
      const data = this.#dataOf(at, '');
      const pairs = data + this.#view.getUint16(data + 0x20, true);
      if (this.bytes[pairs] !== 0x21) throw new Error(`${name} is mapped in another way`);
      this.#view.setUint16(pairs + 2, to, true);
    });
  }

  /** A record of $UsnJrnl. */
  note(record: number, sequence: number, reason: number): void {
    const name = 'name.txt';
    const length = USN_BYTES;
    const left = USN_PAGE - (this.#usn % USN_PAGE);
    if (left < length) this.#usn += left;
    if (this.#usn + length > USN_ROOM) throw new Error('the image has no room for more records');
    const at = this.#place(this.#journal, this.#usn);
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset + at, length);
    view.setUint32(0, length, true);
    view.setUint16(4, 2, true);
    for (const place of [8, 0x10]) {
      view.setUint32(place, place === 8 ? record : 5, true);
      view.setUint16(place + 6, place === 8 ? sequence : 5, true);
    }
    view.setBigUint64(0x18, BigInt(this.#usn), true);
    view.setBigUint64(0x20, this.#clock++, true);
    view.setUint32(0x28, reason >>> 0, true);
    view.setUint16(0x38, name.length * 2, true);
    view.setUint16(0x3a, 0x3c, true);
    for (const [index, letter] of [...name].entries()) {
      view.setUint16(0x3c + index * 2, letter.charCodeAt(0), true);
    }
    this.#usn += length;
    this.#change(this.#journal.record, (start) => {
      const data = this.#dataOf(start, '$J');
      for (const place of [0x30, 0x38]) {
        this.#view.setBigUint64(data + place, BigInt(this.#usn), true);
      }
    });
  }

  /** The journal goes away, and another one comes. */
  remakeJournal(id: bigint): void {
    for (let at = 0; at < USN_ROOM; at += CLUSTER) {
      const place = this.#place(this.#journal, at);
      this.bytes.fill(0, place, place + CLUSTER);
    }
    this.#usn = 0;
    this.#patch(this.#journal.record, (start) => {
      const max = this.#dataOf(start, '$Max');
      this.#view.setBigUint64(max + this.#view.getUint16(max + 0x14, true) + 0x10, id, true);
      const data = this.#dataOf(start, '$J');
      for (const place of [0x30, 0x38]) this.#view.setBigUint64(data + place, 0n, true);
    });
  }

  /** The first clusters of the journal are given back: what was in them is gone. */
  trimJournal(count: number): void {
    const [{ cluster, count: all }] = this.#journal.runs as [NtfsRun];
    this.#change(this.#journal.record, (start) => {
      const data = this.#dataOf(start, '$J');
      const pairs = data + this.#view.getUint16(data + 0x20, true);
      const [low, high] = [(cluster! + count) & 0xff, (cluster! + count) >>> 8];
      this.bytes.set([0x01, count, 0x21, all - count, low, high, 0], pairs);
    });
  }

  /** Of $Volume. */
  setFlags(flags: number): void {
    this.#flags(flags);
  }

  /** What is changed in a record is logged, and the record has the number of that. */
  #change(record: number, change: (at: number) => void): void {
    const cluster = Math.floor(this.#recordAt(record) / CLUSTER);
    const lsn = this.log.append([cluster]);
    this.#patch(record, (at) => {
      change(at);
      this.#view.setBigUint64(at + 8, lsn, true);
    });
  }

  #patch(record: number, change: (at: number) => void): void {
    const at = this.#recordAt(record);
    const sequence = at + this.#view.getUint16(at + 4, true);
    for (let sector = 0; sector < RECORD / SECTOR; sector++) {
      const kept = this.#view.getUint16(sequence + 2 + sector * 2, true);
      this.#view.setUint16(at + (sector + 1) * SECTOR - 2, kept, true);
    }
    change(at);
    const number = (this.#view.getUint16(sequence, true) % 0xfffe) + 1;
    this.#view.setUint16(sequence, number, true);
    for (let sector = 0; sector < RECORD / SECTOR; sector++) {
      const end = at + (sector + 1) * SECTOR - 2;
      this.#view.setUint16(sequence + 2 + sector * 2, this.#view.getUint16(end, true), true);
      this.#view.setUint16(end, number, true);
    }
    if (record >= MIRRORED) return;
    const mirror = Number(this.#view.getBigUint64(0x38, true)) * CLUSTER + record * RECORD;
    this.bytes.copyWithin(mirror, at, at + RECORD);
  }

  #flags(flags: number): void {
    this.#patch(3, (at) => {
      const about = this.#attribute(at, ATTRIBUTE.volume, '');
      const value = about + this.#view.getUint16(about + 0x14, true);
      this.#view.setUint16(value + 10, flags, true);
    });
  }

  /** The first attribute, which is that of the times. */
  #stamp(at: number, place: number): void {
    const times = at + this.#view.getUint16(at + 0x14, true);
    const value = times + this.#view.getUint16(times + 0x14, true);
    this.#view.setBigUint64(value + place - 0x18 + 8, 0x1d5_0000_0000_0000n + this.#clock++, true);
  }

  #sequence(record: number): number {
    return this.#view.getUint16(this.#recordAt(record) + 0x10, true);
  }

  #dataOf(at: number, name: string): number {
    return this.#attribute(at, ATTRIBUTE.data, name);
  }

  #attribute(record: number, type: number, name: string): number {
    for (let at = record + this.#view.getUint16(record + 0x14, true); at < record + RECORD; ) {
      const found = this.#view.getUint32(at, true);
      if (found === ATTRIBUTE.end) break;
      const from = at + this.#view.getUint16(at + 10, true);
      const own = this.bytes.subarray(from, from + this.bytes[at + 9]! * 2);
      if (found === type && new TextDecoder('utf-16le').decode(own) === name) return at;
      at += this.#view.getUint32(at + 4, true);
    }
    throw new Error(`no attribute ${type} '${name}'`);
  }

  #recordAt(record: number): number {
    return this.#place({ record: 0, runs: this.#mft }, record * RECORD);
  }

  #place({ runs }: Stream, offset: number): number {
    const vcn = Math.floor(offset / CLUSTER);
    const run = runs.find((each) => vcn >= each.vcn && vcn < each.vcn + each.count);
    if (run?.cluster === undefined) throw new Error(`nothing is at ${offset}`);
    return (run.cluster + vcn - run.vcn) * CLUSTER + (offset % CLUSTER);
  }
}

type Found = {
  readonly mft: readonly NtfsRun[];
  /** By path, and by `$UsnJrnl:$J`. */
  readonly files: ReadonlyMap<string, Stream>;
  readonly all: readonly NtfsRun[];
  readonly further: readonly NtfsRecord[];
};

async function filesOf(bytes: Uint8Array): Promise<Found> {
  const ntfs = await openNtfs(deviceOf(bytes));
  const records: NtfsRecord[] = [];
  for (let number = 0; number < ntfs.recordCount; number++) {
    const record = await ntfs.record(number);
    if (record.isInUse) records.push(record);
  }
  const paths = new Map<number, string>([[RECORD_ROOT, '']]);
  // A folder may have a higher number than what is in it.
  for (let round = 0; round < 3; round++) {
    for (const { number, base, attributes } of records) {
      const value = attributes.find(({ type }) => type === ATTRIBUTE.fileName)?.value;
      const parent = value && paths.get(value.u32(0));
      if (value === undefined || parent === undefined || number === RECORD_ROOT) continue;
      const name = fileNameAt(value, 0);
      paths.set(base?.record ?? number, parent === '' ? name : `${parent}/${name}`);
    }
  }
  const files = new Map<string, Stream>();
  for (const record of records.filter(({ base }) => base === undefined)) {
    const path = paths.get(record.number) ?? '';
    const isJournal = path === '$Extend/$UsnJrnl';
    const stream = await ntfs
      .stream(record, ATTRIBUTE.data, isJournal ? '$J' : '')
      .catch(() => undefined);
    if (stream === undefined) continue;
    files.set(isJournal ? '$UsnJrnl:$J' : path, { record: record.number, runs: stream.runs });
  }
  const pieces = records.flatMap(({ attributes }) =>
    attributes.flatMap(({ piece }) => piece ?? []),
  );
  return {
    files,
    mft: files.get('$MFT')!.runs,
    all: pieces.flatMap(({ runs }) => runs).filter(({ cluster }) => cluster !== undefined),
    further: records.filter(({ base }) => base !== undefined),
  };
}
