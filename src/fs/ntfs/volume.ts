/** An NTFS file system on a device: its records, and the streams of its files. */
import type { Device } from '../../device/index.ts';
import { damaged, notFound, tooMuch, unsupported } from '../errors.ts';
import { readBytes } from '../read-bytes.ts';
import { type NtfsBoot, readNtfsBoot } from './boot.ts';
import { ATTRIBUTE_LIST_BYTES_MAX, PIECE_BYTES, RECORDS_MAX } from './limits.ts';
import { type Reference, referenceAt, utf16 } from './numbers.ts';
import { ATTRIBUTE, type NtfsAttribute, type NtfsRecord, recordOf } from './record.ts';
import { NtfsStream } from './stream.ts';

/** The records whose numbers are fixed. */
export const RECORD = { mft: 0, logFile: 2, volume: 3, root: 5, extend: 11 } as const;
/** Below are the file system's own files, and numbers that are kept for it. */
export const RECORDS_OWN = 24;

const ENTRY_BYTES = 0x1a;

/** Borrows the device. Nobody may write to it meanwhile. */
export async function openNtfs(device: Device): Promise<Ntfs> {
  const boot = await readNtfsBoot(device);
  const mft = new NtfsStream(device, boot.clusterBytes, '$MFT');
  const ntfs = new Ntfs(device, boot, mft);
  const first = {
    offsetBytes: boot.mftCluster * boot.clusterBytes,
    lengthBytes: boot.recordBytes,
    what: 'the first record of $MFT',
  };
  const record = recordOf(await readBytes(device, first), { ...boot, number: RECORD.mft });
  // What its first piece maps is enough to read the record that has the second, and so on.
  for await (const piece of ntfs.pieces(record, ATTRIBUTE.data, '')) mft.add(piece);
  if (ntfs.recordCount > RECORDS_MAX) {
    throw unsupported(`${device.name} has ${ntfs.recordCount} records of files`);
  }
  if (ntfs.recordCount < RECORDS_OWN) throw damaged(`${device.name}: $MFT is cut short`);
  return ntfs;
}

export class Ntfs {
  readonly device: Device;
  readonly boot: NtfsBoot;
  readonly #mft: NtfsStream;

  constructor(device: Device, boot: NtfsBoot, mft: NtfsStream) {
    this.device = device;
    this.boot = boot;
    this.#mft = mft;
  }

  get recordCount(): number {
    return Math.floor(this.#mft.dataBytes / this.boot.recordBytes);
  }

  async record(number: number): Promise<NtfsRecord> {
    if (number >= this.recordCount) throw damaged(`${this.device.name}: record ${number} of $MFT`);
    const { recordBytes } = this.boot;
    const { bytes } = await this.#mft.read(number * recordBytes, recordBytes);
    return this.parsed(number, bytes);
  }

  /** A record as `recordBytes` has given it; its bytes are changed. */
  parsed(number: number, bytes: Uint8Array): NtfsRecord {
    return recordOf(bytes, { number, clusterCount: this.boot.clusterCount });
  }

  /** The record that is meant, and not another file that has its number now. */
  async recordOf({ record, sequence }: Reference): Promise<NtfsRecord> {
    const found = await this.record(record);
    if (found.isInUse && found.sequence === sequence) return found;
    throw damaged(`${this.device.name}: record ${record} of $MFT is not the ${sequence}th of it`);
  }

  /** How many records are read at once. */
  get recordsPerPiece(): number {
    return PIECE_BYTES / this.boot.recordBytes;
  }

  /** Records from `first` on, as they lie on the disk, one behind the other. */
  async recordBytes(first: number, count: number): Promise<Uint8Array> {
    const { recordBytes } = this.boot;
    return (await this.#mft.read(first * recordBytes, count * recordBytes)).bytes;
  }

  /** FS_NOT_FOUND if the file has no such stream. */
  async stream(file: NtfsRecord, type: number, name: string): Promise<NtfsStream> {
    const what = `${this.device.name}: stream '${name}' (type ${type}) of record ${file.number}`;
    const stream = new NtfsStream(this.device, this.boot.clusterBytes, what);
    let count = 0;
    for await (const piece of this.pieces(file, type, name)) {
      stream.add(piece);
      count += 1;
    }
    if (count === 0) throw notFound(`${what} is not there`);
    return stream;
  }

  /** In the order of the list of attributes, which is that of their clusters. */
  async *pieces(file: NtfsRecord, type: number, name: string): AsyncGenerator<NtfsAttribute> {
    const isOne = (attribute: NtfsAttribute) => attribute.type === type && attribute.name === name;
    const list = file.attributes.find((attribute) => attribute.type === ATTRIBUTE.list);
    if (list === undefined) {
      yield* file.attributes.filter(isOne);
      return;
    }
    let last: number | undefined;
    for (const entry of await this.#entries(file, list)) {
      if (entry.type !== type || entry.name !== name || entry.record === last) continue;
      last = entry.record;
      const holder = last === file.number ? file : await this.recordOf(entry);
      const { base } = holder;
      if (holder !== file && (base?.record !== file.number || base.sequence !== file.sequence)) {
        throw damaged(`${this.device.name}: record ${last} of $MFT is not of file ${file.number}`);
      }
      yield* holder.attributes.filter(isOne);
    }
  }

  async #entries(file: NtfsRecord, list: NtfsAttribute): Promise<Entry[]> {
    const what = `${this.device.name}: the list of attributes of record ${file.number}`;
    const stream = new NtfsStream(this.device, this.boot.clusterBytes, what);
    stream.add(list);
    if (stream.dataBytes > ATTRIBUTE_LIST_BYTES_MAX) {
      throw tooMuch(`${what} has ${stream.dataBytes} bytes`);
    }
    const fields = await stream.read(0, stream.dataBytes);
    const entries: Entry[] = [];
    for (let at = 0; at + ENTRY_BYTES <= fields.length; ) {
      const lengthBytes = fields.u16(at + 4);
      if (lengthBytes < ENTRY_BYTES) throw damaged(`${what}: ${lengthBytes} bytes at ${at}`);
      const name = utf16(fields, at + fields.u8(at + 7), fields.u8(at + 6));
      entries.push({ type: fields.u32(at), name, ...referenceAt(fields, at + 0x10) });
      at += lengthBytes;
    }
    return entries;
  }
}

type Entry = Reference & { readonly type: number; readonly name: string };
