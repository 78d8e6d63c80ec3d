/** The header of a qcow2 image and its extensions (docs/interop/qcow2.txt of QEMU). */
import type { Device } from '../device/index.ts';
import { damaged, notFound, tooMuch, unsupported } from './errors.ts';
import type { Fields } from './fields.ts';
import { BITMAP_DIRECTORY_BYTES_MAX, BITMAPS_MAX, L1_BYTES_MAX, SNAPSHOTS_MAX } from './limits.ts';
import { readBytes, readFields } from './read-bytes.ts';

/** "QFI" and 0xfb. */
const MAGIC = 0x514649fb;
const MAGIC_BYTES = 4;
const HEADER_V2_BYTES = 72;
const HEADER_V3_BYTES = 104;
const CLUSTER_BITS_MIN = 9;
const CLUSTER_BITS_MAX = 21;
const BACKING_NAME_BYTES_MAX = 1023;
const EXTENSION_HEAD_BYTES = 8;

const INCOMPATIBLE_DIRTY = 1;
const INCOMPATIBLE_CORRUPT = 2;
const INCOMPATIBLE_EXTERNAL_DATA = 4;
const INCOMPATIBLE_COMPRESSION = 8;
const INCOMPATIBLE_EXTENDED_L2 = 16;
const INCOMPATIBLE_KNOWN =
  INCOMPATIBLE_DIRTY |
  INCOMPATIBLE_CORRUPT |
  INCOMPATIBLE_EXTERNAL_DATA |
  INCOMPATIBLE_COMPRESSION |
  INCOMPATIBLE_EXTENDED_L2;
const AUTOCLEAR_BITMAPS = 1;

const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_BITMAPS = 0x23852875;

/** Where the tables of an image or of one of its snapshots are. */
export type Qcow2Table = {
  readonly l1OffsetBytes: number;
  readonly l1Count: number;
  readonly sizeBytes: number;
};

export type Qcow2Backing = {
  /** As it is written in the image; relative to the image's own folder. */
  readonly file: string;
  /** Absent in old images: QEMU would look into the file, which its writer can deceive. */
  readonly format: string | undefined;
};

export type Qcow2BitmapDirectory = {
  readonly count: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
};

export type Qcow2Header = {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  readonly active: Qcow2Table;
  readonly compression: 'zlib' | 'zstd';
  /** Each entry of a second table has a word of bits for 32 parts of the cluster. */
  readonly hasSubclusters: boolean;
  /** Reference counts may be wrong; what is mapped is right. */
  readonly isDirty: boolean;
  readonly isCorrupt: boolean;
  readonly backing: Qcow2Backing | undefined;
  readonly snapshots: { readonly count: number; readonly offsetBytes: number };
  /** Absent, or not to be trusted: a program that does not know bitmaps wrote to the image. */
  readonly bitmaps: Qcow2BitmapDirectory | undefined;
  /** There are bitmaps, but the bit that says that they are consistent is clear. */
  readonly hasStaleBitmaps: boolean;
};

/** Whether the device begins like a qcow2 image; a guest can write that into a raw one. */
export async function looksLikeQcow2(device: Device): Promise<boolean> {
  if (device.sizeBytes < HEADER_V2_BYTES) return false;
  const place = { offsetBytes: 0, lengthBytes: MAGIC_BYTES, what: 'the magic number' };
  return (await readFields(device, place, 'big')).u32(0) === MAGIC;
}

/** FS_NOT_FOUND for another format, FS_UNSUPPORTED for features, FS_DAMAGED for nonsense. */
export async function readQcow2Header(device: Device): Promise<Qcow2Header> {
  const { name } = device;
  if (!(await looksLikeQcow2(device))) throw notFound(`${name} is no qcow2 image`);
  const fields = await headerCluster(device);
  const version = fields.u32(4);
  if (version !== 2 && version !== 3) throw unsupported(`${name}: qcow2 version ${version}`);
  const clusterBits = fields.u32(20);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) {
    throw damaged(`${name}: clusters of 2^${clusterBits} bytes`);
  }
  if (fields.u32(32) !== 0) throw unsupported(`${name} is encrypted`);
  const features = version === 3 ? featuresOf(name, fields) : noFeatures;
  const headBytes = version === 3 ? headLength(name, fields) : HEADER_V2_BYTES;
  const extensions = extensionsOf(name, fields, headBytes);
  const bitmaps = bitmapDirectory(name, extensions.get(EXTENSION_BITMAPS));
  const active = {
    l1OffsetBytes: fields.u64(40),
    l1Count: fields.u32(36),
    sizeBytes: fields.u64(24),
  };
  const count = fields.u32(60);
  if (count > SNAPSHOTS_MAX) throw tooMuch(`${name} has ${count} snapshots`);
  const hasSubclusters = (features.incompatible & INCOMPATIBLE_EXTENDED_L2) !== 0;
  const shape = { clusterBits, hasSubclusters };
  checkTable(name, active, shape);
  return {
    version,
    ...shape,
    clusterBytes: 2 ** clusterBits,
    active,
    compression: features.compression,
    isDirty: (features.incompatible & INCOMPATIBLE_DIRTY) !== 0,
    isCorrupt: (features.incompatible & INCOMPATIBLE_CORRUPT) !== 0,
    backing: await backingOf(device, fields, extensions.get(EXTENSION_BACKING_FORMAT)),
    snapshots: { count, offsetBytes: count === 0 ? 0 : fields.u64(64) },
    bitmaps: features.hasBitmaps ? bitmaps : undefined,
    hasStaleBitmaps: bitmaps !== undefined && !features.hasBitmaps,
  };
}

/** The table must be large enough for the size, and not absurdly large. */
export function checkTable(
  name: string,
  { l1Count, sizeBytes }: Qcow2Table,
  { clusterBits, hasSubclusters }: Pick<Qcow2Header, 'clusterBits' | 'hasSubclusters'>,
): void {
  if (l1Count * 8 > L1_BYTES_MAX) throw tooMuch(`${name}: a first table of ${l1Count} entries`);
  const clusterBytes = 2 ** clusterBits;
  const mappedBytes = (clusterBytes / (hasSubclusters ? 16 : 8)) * clusterBytes;
  if (l1Count < Math.ceil(sizeBytes / mappedBytes)) {
    throw damaged(`${name}: ${l1Count} entries of the first table do not map ${sizeBytes} bytes`);
  }
}

/** The first cluster, as far as the file goes: header, extensions and the backing file's name. */
async function headerCluster(device: Device): Promise<Fields> {
  const head = { offsetBytes: 0, lengthBytes: HEADER_V2_BYTES, what: 'the header' };
  const clusterBits = (await readFields(device, head, 'big')).u32(20);
  const clusterBytes = 2 ** Math.min(CLUSTER_BITS_MAX, Math.max(CLUSTER_BITS_MIN, clusterBits));
  const lengthBytes = Math.min(device.sizeBytes, clusterBytes);
  return readFields(device, { ...head, lengthBytes, what: `${device.name}, header` }, 'big');
}

type Features = {
  readonly incompatible: number;
  readonly compression: 'zlib' | 'zstd';
  readonly hasBitmaps: boolean;
};

const noFeatures: Features = { incompatible: 0, compression: 'zlib', hasBitmaps: false };

function featuresOf(name: string, fields: Fields): Features {
  const incompatible = fields.low(72);
  const unknown = (incompatible & ~INCOMPATIBLE_KNOWN) !== 0 || fields.high(72) !== 0;
  if (unknown) throw unsupported(`${name} has features that are not known here`);
  if ((incompatible & INCOMPATIBLE_EXTERNAL_DATA) !== 0) {
    throw unsupported(`${name} keeps its data in another file`);
  }
  let compression: 'zlib' | 'zstd' = 'zlib';
  if ((incompatible & INCOMPATIBLE_COMPRESSION) !== 0) {
    const type = fields.u8(HEADER_V3_BYTES);
    if (type > 1) throw unsupported(`${name}: compression ${type}`);
    if (type === 1) compression = 'zstd';
  }
  return { incompatible, compression, hasBitmaps: (fields.low(88) & AUTOCLEAR_BITMAPS) !== 0 };
}

function headLength(name: string, fields: Fields): number {
  const lengthBytes = fields.u32(100);
  if (lengthBytes < HEADER_V3_BYTES || lengthBytes > fields.length || lengthBytes % 8 !== 0) {
    throw damaged(`${name}: a header of ${lengthBytes} bytes`);
  }
  return lengthBytes;
}

/** Bounded by the cluster: each extension takes at least eight of its bytes. */
function extensionsOf(name: string, fields: Fields, from: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  for (let at = from; at + EXTENSION_HEAD_BYTES <= fields.length; ) {
    const type = fields.u32(at);
    if (type === EXTENSION_END) break;
    const lengthBytes = fields.u32(at + 4);
    if (lengthBytes > fields.length - at - EXTENSION_HEAD_BYTES) {
      throw damaged(`${name}: an extension of ${lengthBytes} bytes at ${at}`);
    }
    found.set(type, fields.take(at + EXTENSION_HEAD_BYTES, lengthBytes));
    at += EXTENSION_HEAD_BYTES + Math.ceil(lengthBytes / 8) * 8;
  }
  return found;
}

async function backingOf(
  device: Device,
  fields: Fields,
  format: Uint8Array | undefined,
): Promise<Qcow2Backing | undefined> {
  const offsetBytes = fields.u64(8);
  const lengthBytes = fields.u32(16);
  if (offsetBytes === 0 || lengthBytes === 0) return undefined;
  if (lengthBytes > BACKING_NAME_BYTES_MAX) {
    throw damaged(`${device.name}: a backing file's name of ${lengthBytes} bytes`);
  }
  const place = { offsetBytes, lengthBytes, what: "the backing file's name" };
  const text = new TextDecoder();
  return {
    file: text.decode(await readBytes(device, place)),
    format: format === undefined ? undefined : text.decode(format),
  };
}

function bitmapDirectory(
  name: string,
  extension: Uint8Array | undefined,
): Qcow2BitmapDirectory | undefined {
  if (extension === undefined) return undefined;
  const view = new DataView(extension.buffer, extension.byteOffset, extension.byteLength);
  if (view.byteLength < 24)
    throw damaged(`${name}: a bitmaps extension of ${view.byteLength} bytes`);
  const count = view.getUint32(0);
  const high = view.getUint32(8);
  const lengthBytes = view.getUint32(12);
  const offset = { high: view.getUint32(16), low: view.getUint32(20) };
  if (count === 0 || count > BITMAPS_MAX || high !== 0 || offset.high >= 2 ** 21) {
    throw damaged(`${name}: a directory of ${count} bitmaps`);
  }
  if (lengthBytes > BITMAP_DIRECTORY_BYTES_MAX) {
    throw tooMuch(`${name}: a directory of bitmaps of ${lengthBytes} bytes`);
  }
  return { count, lengthBytes, offsetBytes: offset.high * 2 ** 32 + offset.low };
}
