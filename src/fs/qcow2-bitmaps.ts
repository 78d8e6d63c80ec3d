/** The persistent dirty bitmaps of a qcow2 image ("Bitmaps extension" of its specification). */
import type { Device } from '../device/index.ts';
import { damaged, tooMuch, unsupported } from './errors.ts';
import type { Fields } from './fields.ts';
import { BITMAP_BYTES_MAX } from './limits.ts';
import type { Qcow2Header } from './qcow2-header.ts';
import { readFields } from './read-bytes.ts';

const ENTRY_BYTES = 24;
const FLAG_IN_USE = 1;
const FLAG_AUTO = 2;
const FLAG_EXTRA_COMPATIBLE = 4;
const TYPE_DIRTY = 1;
const NAME_BYTES_MAX = 1023;
const GRANULARITY_BITS_MAX = 31;
const OFFSET_HIGH = 0x00ffffff;
const OFFSET_LOW = 0xfffffe00;

export type Qcow2Bitmap = {
  readonly name: string;
  readonly granularityBytes: number;
  /** Somebody has it open, or did not close it: what it says is too little. */
  readonly isInUse: boolean;
  /** Records writes whenever the image is open. One that does not misses what was written. */
  readonly isAuto: boolean;
  /** Extra data that must be known to read it. */
  readonly hasUnknownData: boolean;
  readonly tableOffsetBytes: number;
  readonly tableCount: number;
};

/** The bitmaps of an image, those of another type left out; none if it has none. */
export async function readQcow2Bitmaps(file: Device, header: Qcow2Header): Promise<Qcow2Bitmap[]> {
  if (header.bitmaps === undefined) return [];
  const what = `${file.name}: the directory of bitmaps`;
  const { count, ...place } = header.bitmaps;
  const fields = await readFields(file, { ...place, what }, 'big');
  const bitmaps: Qcow2Bitmap[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    const entry = readEntry(fields, at);
    if (entry.bitmap !== undefined) bitmaps.push(entry.bitmap);
    at = entry.end;
  }
  return bitmaps;
}

function readEntry(fields: Fields, at: number): { bitmap: Qcow2Bitmap | undefined; end: number } {
  const flags = fields.u32(at + 12);
  const bits = fields.u8(at + 17);
  const nameBytes = fields.u16(at + 18);
  const extraBytes = fields.u32(at + 20);
  if (nameBytes === 0 || nameBytes > NAME_BYTES_MAX) {
    throw damaged(`${fields.what}: a name of ${nameBytes} bytes`);
  }
  const name = new TextDecoder().decode(fields.take(at + ENTRY_BYTES + extraBytes, nameBytes));
  const end = at + Math.ceil((ENTRY_BYTES + extraBytes + nameBytes) / 8) * 8;
  if (fields.u8(at + 16) !== TYPE_DIRTY) return { bitmap: undefined, end };
  if (bits > GRANULARITY_BITS_MAX) throw damaged(`${fields.what}: granules of 2^${bits} bytes`);
  if ((flags & ~(FLAG_IN_USE | FLAG_AUTO | FLAG_EXTRA_COMPATIBLE)) !== 0) {
    throw unsupported(`${fields.what}: bitmap ${name} has flags that are not known`);
  }
  const bitmap = {
    name,
    granularityBytes: 2 ** bits,
    isInUse: (flags & FLAG_IN_USE) !== 0,
    isAuto: (flags & FLAG_AUTO) !== 0,
    hasUnknownData: extraBytes > 0 && (flags & FLAG_EXTRA_COMPATIBLE) === 0,
    tableOffsetBytes: fields.u64(at),
    tableCount: fields.u32(at + 8),
  };
  return { bitmap, end };
}

export type DirtyRun = { readonly offsetBytes: number; readonly lengthBytes: number };

/** The dirty ranges, ascending, joined; FS_DAMAGED unless the bitmap covers `sizeBytes` exactly. */
export async function* dirtyRuns(
  file: Device,
  header: Qcow2Header,
  bitmap: Qcow2Bitmap,
): AsyncGenerator<DirtyRun> {
  const { sizeBytes } = header.active;
  const { granularityBytes } = bitmap;
  const bitCount = Math.ceil(sizeBytes / granularityBytes);
  const dataBytes = Math.ceil(bitCount / 8);
  const clusterBits = header.clusterBytes * 8;
  if (dataBytes > BITMAP_BYTES_MAX) {
    throw tooMuch(`${file.name}: bitmap ${bitmap.name} has ${dataBytes} bytes`);
  }
  if (bitmap.tableCount !== Math.ceil(dataBytes / header.clusterBytes)) {
    throw damaged(`${file.name}: bitmap ${bitmap.name} is not for ${sizeBytes} bytes`);
  }
  if (bitmap.tableCount === 0) return;
  const what = `${file.name}: the table of bitmap ${bitmap.name}`;
  const place = { offsetBytes: bitmap.tableOffsetBytes, lengthBytes: bitmap.tableCount * 8, what };
  const table = await readFields(file, place, 'big');
  let start: number | undefined;
  for (let index = 0; index < bitmap.tableCount; index++) {
    const from = index * clusterBits;
    const bits = await tableEntry(file, header, table, index);
    const count = Math.min(clusterBits, bitCount - from);
    for (let bit = 0; bit < count; ) {
      const isDirty = dirtyAt(bits, bit);
      if (isDirty && start === undefined) start = from + bit;
      if (!isDirty && start !== undefined) {
        yield run(start, from + bit, granularityBytes, sizeBytes);
        start = undefined;
      }
      bit = nextOther(bits, bit, count, isDirty);
    }
  }
  if (start !== undefined) yield run(start, bitCount, granularityBytes, sizeBytes);
}

/** One cluster of bits, or what all of its bits are. */
async function tableEntry(
  file: Device,
  header: Qcow2Header,
  table: Fields,
  index: number,
): Promise<Uint8Array | boolean> {
  const at = index * 8;
  const low = table.low(at);
  const offsetBytes = (table.high(at) & OFFSET_HIGH) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
  const isReserved = (low & 0x1fe) !== 0 || table.high(at) > OFFSET_HIGH;
  if (isReserved) throw damaged(`${table.what}: reserved bits of entry ${index}`);
  if (offsetBytes === 0) return (low & 1) !== 0;
  if ((low & 1) !== 0 || offsetBytes % header.clusterBytes !== 0) {
    throw damaged(`${table.what}: entry ${index} points to ${offsetBytes}`);
  }
  const what = `${table.what}, cluster ${index}`;
  const place = { offsetBytes, lengthBytes: header.clusterBytes, what };
  return (await readFields(file, place, 'big')).bytes;
}

function dirtyAt(bits: Uint8Array | boolean, bit: number): boolean {
  if (typeof bits === 'boolean') return bits;
  return ((bits[bit >>> 3]! >>> (bit & 7)) & 1) !== 0;
}

/** The first bit after `bit` that is not as it is; `count` if none. */
function nextOther(bits: Uint8Array | boolean, bit: number, count: number, is: boolean): number {
  if (typeof bits === 'boolean') return count;
  const whole = is ? 0xff : 0;
  let at = bit + 1;
  while (at < count) {
    if ((at & 7) === 0 && bits[at >>> 3] === whole) at += 8;
    else if (dirtyAt(bits, at) === is) at++;
    else return at;
  }
  return count;
}

function run(from: number, to: number, granularityBytes: number, sizeBytes: number): DirtyRun {
  const offsetBytes = from * granularityBytes;
  return { offsetBytes, lengthBytes: Math.min(sizeBytes, to * granularityBytes) - offsetBytes };
}
