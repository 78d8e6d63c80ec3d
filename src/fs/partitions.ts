/** The partition tables at the beginning of a disk: MBR with logical partitions, and GPT. */
import { crc32 } from 'node:zlib';
import type { Device } from '../device/index.ts';
import { damaged, tooMuch } from './errors.ts';
import type { Fields } from './fields.ts';
import { GPT_ENTRIES_BYTES_MAX, LOGICAL_PARTITIONS_MAX } from './limits.ts';
import { readFields } from './read-bytes.ts';

const MBR_BYTES = 512;
const MBR_SIGNATURE = 0xaa55;
const MBR_FIRST_ENTRY = 446;
const MBR_ENTRY_BYTES = 16;
const TYPE_PROTECTIVE = 0xee;
/** Extended partitions: of CHS times, of LBA, and of Linux. */
const TYPES_EXTENDED = [0x05, 0x0f, 0x85];
const GPT_HEADER_BYTES = 92;
const GPT_ENTRY_BYTES_MIN = 128;
/** `EFI PART` */
const GPT_MAGIC = [0x45, 0x46, 0x49, 0x20, 0x50, 0x41, 0x52, 0x54];
/** A disk does not say of what size its sectors are: a GPT lies in the second one of them. */
const GPT_SECTORS = [512, 4096];

export type Partition = {
  /** As the system counts them: 1 to 4, logical ones from 5; of GPT the place in the table. */
  readonly number: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
};

export type PartitionTable = {
  readonly kind: 'mbr' | 'gpt';
  /** Ascending by offset; they do not overlap, and lie inside the device. */
  readonly partitions: readonly Partition[];
};

/** Undefined if there is no table; FS_DAMAGED if what there is contradicts itself. */
export async function readPartitions(device: Device): Promise<PartitionTable | undefined> {
  if (device.sizeBytes < MBR_BYTES) return undefined;
  const what = `${device.name}: the partition table`;
  const mbr = await readSector(device, 0, what);
  if (mbr.u16(510) !== MBR_SIGNATURE) return undefined;
  const entries = mbrEntries(mbr);
  if (entries.some(({ type }) => type === TYPE_PROTECTIVE)) {
    const partitions = await readGpt(device);
    return { kind: 'gpt', partitions: checked(device, what, partitions) };
  }
  // Boot code without a table, or the boot sector of a file system: no partitions.
  if (mbr.bytes.subarray(MBR_FIRST_ENTRY, 510).every((byte) => byte === 0)) return undefined;
  const partitions: Partition[] = [];
  for (const [index, entry] of entries.entries()) {
    if (entry.flag !== 0 && entry.flag !== 0x80) return undefined;
    if (entry.type === 0 || entry.count === 0) continue;
    if (!TYPES_EXTENDED.includes(entry.type)) partitions.push(placed(index + 1, entry));
    else partitions.push(...(await logical(device, entry, what)));
  }
  return { kind: 'mbr', partitions: checked(device, what, partitions) };
}

type MbrEntry = {
  readonly flag: number;
  readonly type: number;
  /** In sectors of 512 bytes. */
  readonly first: number;
  readonly count: number;
};

function mbrEntries(sector: Fields): MbrEntry[] {
  return [0, 1, 2, 3].map((index) => {
    const at = MBR_FIRST_ENTRY + index * MBR_ENTRY_BYTES;
    return {
      flag: sector.u8(at),
      type: sector.u8(at + 4),
      first: sector.u32(at + 8),
      count: sector.u32(at + 12),
    };
  });
}

function placed(number: number, { first, count }: MbrEntry, base = 0): Partition {
  const offsetBytes = (base + first) * MBR_BYTES;
  return { number, offsetBytes, lengthBytes: count * MBR_BYTES };
}

/** A chain of sectors: each has a partition, relative to itself, and the next sector. */
async function logical(
  device: Device,
  { first: base }: MbrEntry,
  what: string,
): Promise<Partition[]> {
  const partitions: Partition[] = [];
  for (let at = base, links = 0; ; links++) {
    if (links === LOGICAL_PARTITIONS_MAX) {
      throw tooMuch(`${what} has more than ${LOGICAL_PARTITIONS_MAX} logical partitions`);
    }
    const sector = await readSector(device, at * MBR_BYTES, what);
    if (sector.u16(510) !== MBR_SIGNATURE) throw damaged(`${what}: no record at sector ${at}`);
    const [own, next] = mbrEntries(sector);
    if (own!.type !== 0 && own!.count !== 0) {
      partitions.push(placed(5 + partitions.length, own!, at));
    }
    if (next!.type === 0 || next!.count === 0) return partitions;
    at = base + next!.first;
  }
}

/** The header that is whole: the first one, or the copy in the last sector. */
async function readGpt(device: Device): Promise<Partition[]> {
  let first: unknown;
  for (const sectorBytes of GPT_SECTORS) {
    const last = (Math.floor(device.sizeBytes / sectorBytes) - 1) * sectorBytes;
    for (const offsetBytes of [sectorBytes, last]) {
      try {
        return await readGptAt(device, offsetBytes, sectorBytes);
      } catch (error) {
        first ??= error;
      }
    }
  }
  throw first;
}

async function readGptAt(
  device: Device,
  offsetBytes: number,
  sectorBytes: number,
): Promise<Partition[]> {
  const what = `${device.name}: the GPT header at ${offsetBytes}`;
  const place = { offsetBytes, lengthBytes: MBR_BYTES, what };
  const header = await readFields(device, place, 'little');
  if (GPT_MAGIC.some((byte, at) => header.u8(at) !== byte)) throw damaged(`${what} is not there`);
  const headerBytes = header.u32(12);
  if (headerBytes < GPT_HEADER_BYTES || headerBytes > MBR_BYTES) {
    throw damaged(`${what} has ${headerBytes} bytes`);
  }
  const own = header.take(0, headerBytes).slice();
  own.fill(0, 16, 20);
  if (crc32(own) !== header.u32(16)) throw damaged(`${what} has a wrong checksum`);
  const count = header.u32(80);
  const entryBytes = header.u32(84);
  if (entryBytes < GPT_ENTRY_BYTES_MIN || count * entryBytes > GPT_ENTRIES_BYTES_MAX) {
    throw tooMuch(`${what} names ${count} entries of ${entryBytes} bytes`);
  }
  const entriesPlace = {
    offsetBytes: header.u64(72) * sectorBytes,
    lengthBytes: count * entryBytes,
    what: `${what}: its entries`,
  };
  const entries = await readFields(device, entriesPlace, 'little');
  if (crc32(entries.bytes) !== header.u32(88)) throw damaged(`${what}: entries are damaged`);
  const partitions: Partition[] = [];
  for (let index = 0; index < count; index++) {
    const at = index * entryBytes;
    if (entries.take(at, 16).every((byte) => byte === 0)) continue;
    const from = entries.u64(at + 32) * sectorBytes;
    const end = (entries.u64(at + 40) + 1) * sectorBytes;
    partitions.push({ number: index + 1, offsetBytes: from, lengthBytes: end - from });
  }
  return partitions;
}

function readSector(device: Device, offsetBytes: number, what: string): Promise<Fields> {
  return readFields(device, { offsetBytes, lengthBytes: MBR_BYTES, what }, 'little');
}

function checked(device: Device, what: string, partitions: Partition[]): Partition[] {
  const sorted = partitions.toSorted((a, b) => a.offsetBytes - b.offsetBytes);
  let end = 0;
  for (const { number, offsetBytes, lengthBytes } of sorted) {
    const stop = offsetBytes + lengthBytes;
    if (lengthBytes <= 0 || offsetBytes < end || !(stop <= device.sizeBytes)) {
      const range = `${lengthBytes} bytes at ${offsetBytes}`;
      throw damaged(`${what}: partition ${number} (${range}) overlaps another or the end`);
    }
    end = stop;
  }
  return sorted;
}
