/** The bytes around a pack's frames: header, chunk table, footer. */
import { CodecError } from '../codec/index.ts';
import { ByteReader, ByteWriter, crc32, equalBytes, FormatError, fromHex } from '../core/index.ts';
import { ObjectError, type ObjectStore, type RangeUse } from '../objects/index.ts';
import { FORMAT_VERSION, MAGIC, objectKinds } from './envelope.ts';
import { damagedObject, missingObject, StoreError } from './errors.ts';
import { healing } from './healing.ts';
import { PACK_BYTES_MAX, PACK_ID_BYTES, PACK_TABLE_BYTES_MAX } from './limits.ts';
import type { PackSeal } from './pack-seal.ts';
import { PACK_HEADER_BYTES, type PackTable } from './pack-table.ts';
import type { SealedObjects } from './sealer.ts';

export { PACK_ID_BYTES } from './limits.ts';
export const PACK_FOOTER_BYTES = 28;

/** One read from the end fetches footer and table of all but very full packs. */
const TAIL_READ_BYTES = 96 * 1024;

export function packKey(id: string): string {
  return `packs/${id.slice(0, 2)}/${id}`;
}

export function encodePackHeader(id: string): Uint8Array {
  const writer = new ByteWriter(PACK_HEADER_BYTES);
  writer.u32(MAGIC);
  writer.u8(objectKinds.pack);
  writer.u8(FORMAT_VERSION);
  writer.u16(0);
  writer.put(fromHex(id, PACK_ID_BYTES)!);
  writer.u32(crc32(writer.view()));
  return writer.view();
}

/** FormatError unless these are the first bytes of the pack with this id. */
export function checkPackHeader(bytes: Uint8Array, id: string): void {
  if (!equalBytes(bytes, encodePackHeader(id))) {
    throw new FormatError('its header is not that of this pack');
  }
}

/** Table and footer, to be appended after the frames, which end at `dataBytes`. */
export function encodePackTail(table: PackTable, dataBytes: number): Uint8Array {
  const { stored, rawBytes } = table.seal.encodeTable(table, dataBytes);
  const writer = new ByteWriter(stored.byteLength + PACK_FOOTER_BYTES);
  writer.put(stored);
  writer.u53(dataBytes);
  writer.u32(stored.byteLength);
  writer.u32(rawBytes);
  writer.u32(crc32(stored));
  writer.u32(crc32(writer.view().subarray(stored.byteLength)));
  writer.u32(MAGIC);
  return writer.view();
}

type Footer = { dataBytes: number; storedBytes: number; rawBytes: number; checksum: number };

function parseFooter(bytes: Uint8Array): Footer {
  const reader = new ByteReader(bytes);
  const footer = {
    dataBytes: reader.u53(),
    storedBytes: reader.u32(),
    rawBytes: reader.u32(),
    checksum: reader.u32(),
  };
  const checksum = reader.u32();
  if (reader.u32() !== MAGIC) throw new FormatError('it does not end like a pack');
  if (checksum !== crc32(bytes.subarray(0, 20))) {
    throw new FormatError("its footer's checksum is wrong");
  }
  if (footer.storedBytes > PACK_TABLE_BYTES_MAX) throw new FormatError('its table is too long');
  return footer;
}

/** Reads a pack's chunk table; STORE_MISSING or STORE_DAMAGED name the pack. */
export async function readPackTable(objects: SealedObjects, id: string): Promise<PackTable> {
  const key = packKey(id);
  try {
    return await healing(objects, key, () => read(objects, key, objects.sealer.pack(id)));
  } catch (error) {
    if (error instanceof ObjectError && error.code === 'OBJECT_NOT_FOUND') {
      throw missingObject(key, error);
    }
    if (error instanceof FormatError || error instanceof CodecError) {
      throw damagedObject(key, error.message, error);
    }
    throw error;
  }
}

async function read(objects: ObjectStore, key: string, seal: PackSeal): Promise<PackTable> {
  const size = await objects.size(key);
  if (size < PACK_HEADER_BYTES + PACK_FOOTER_BYTES || size > PACK_BYTES_MAX) {
    throw new FormatError(`it is ${size} bytes long`);
  }
  let tail = new Uint8Array(Math.min(size, TAIL_READ_BYTES));
  await objects.getRange(key, tail, size - tail.byteLength);
  const footer = parseFooter(tail.subarray(-PACK_FOOTER_BYTES));
  const wanted = footer.storedBytes + PACK_FOOTER_BYTES;
  if (wanted > tail.byteLength && wanted <= size) {
    tail = new Uint8Array(wanted);
    await objects.getRange(key, tail, size - wanted);
  }
  return parseTable(tail, footer, size, seal);
}

/** From the end of a pack of `size` bytes: all of the table, if they add up. */
function parseTable(tail: Uint8Array, footer: Footer, size: number, seal: PackSeal): PackTable {
  const wanted = footer.storedBytes + PACK_FOOTER_BYTES;
  if (footer.dataBytes + wanted !== size) throw new FormatError('its parts do not add up');
  const stored = tail.subarray(tail.byteLength - wanted, -PACK_FOOTER_BYTES);
  if (crc32(stored) !== footer.checksum) throw new FormatError("its table's checksum is wrong");
  return seal.decodeTable(stored, footer.rawBytes, footer.dataBytes);
}

/** Reads a frame's bytes; a pack that is gone is STORE_MISSING. */
export async function readFrame(
  objects: ObjectStore,
  packId: string,
  target: Uint8Array,
  offsetBytes: number,
  use?: RangeUse,
): Promise<void> {
  const key = packKey(packId);
  try {
    await objects.getRange(key, target, offsetBytes, use);
  } catch (error) {
    if (!(error instanceof ObjectError)) throw error;
    if (error.code === 'OBJECT_NOT_FOUND') throw missingObject(key, error);
    if (error.code !== 'OBJECT_RANGE') throw error;
    throw new StoreError('STORE_DAMAGED', `${key} is shorter than its table says`, {
      hint: 'Run `ferry check --read-data` to see what is affected.',
      cause: error,
    });
  }
}

/** The table of a pack that is here as a whole; FormatError, CodecError. */
export function parsePack(bytes: Uint8Array, id: string, seal: PackSeal): PackTable {
  if (bytes.byteLength < PACK_HEADER_BYTES + PACK_FOOTER_BYTES) throw new FormatError('it is cut');
  checkPackHeader(bytes.subarray(0, PACK_HEADER_BYTES), id);
  const footer = parseFooter(bytes.subarray(-PACK_FOOTER_BYTES));
  return parseTable(bytes, footer, bytes.byteLength, seal);
}
