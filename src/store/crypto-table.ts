/**
 * The table of a sealed pack: what a host needs stands in clear, the lengths of records do not, and
 * one tag proves all of it, bound to the pack.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import {
  compress,
  decompress,
  FRAME_RAW_MAX,
  FRAME_SEAL_BYTES,
  FRAME_STORED_MAX,
  NONCE_TABLE,
  nonceOf,
  PARENT_REFERENCE_BYTES,
  PATCH_PARENTS_MAX,
  type PackKey,
} from '../codec/index.ts';
import { ByteReader, ByteWriter, FormatError, SHA256_BYTES } from '../core/index.ts';
import { PACK_TABLE_BYTES_MAX } from './limits.ts';
import type { PackSeal } from './pack-seal.ts';
import { checkRecord, PackTable, readFrames } from './pack-table.ts';

/** Stands where a plain table has its compression algorithm. */
const SEALED = 0x80;
const TAG_BYTES = 16;
const COMPRESSION = { algorithm: 'zstd', level: 3 } as const;

export function encodeSealedTable(
  table: PackTable,
  dataBytes: number,
  pack: PackKey,
): { stored: Uint8Array; rawBytes: number } {
  const raw = clearColumns(table);
  const shown = compress(raw, COMPRESSION);
  const secret = secretColumns(table);
  const writer = new ByteWriter(shown.stored.byteLength + secret.byteLength + 64);
  writer.u8(SEALED);
  writer.u8(shown.algorithm);
  writer.u32(shown.stored.byteLength);
  writer.put(shown.stored);
  const cipher = createCipheriv('aes-256-gcm', pack.key, nonceOf(NONCE_TABLE, 0));
  cipher.setAAD(boundTo(pack, dataBytes, writer.view()));
  writer.put(cipher.update(secret));
  cipher.final();
  writer.put(cipher.getAuthTag());
  return { stored: writer.view(), rawBytes: raw.byteLength };
}

function clearColumns(table: PackTable): Uint8Array {
  const { count } = table;
  const writer = new ByteWriter(count * 44 + 256);
  writer.varint(count);
  writer.varint(table.frameFirst.length);
  for (const [frame, first] of table.frameFirst.entries()) {
    const next = table.frameFirst[frame + 1] ?? count;
    writer.varint(next - first);
    writer.varint(table.frameBytes[frame]!);
    writer.put(table.frameHash[frame]!);
  }
  writer.put(table.kinds.subarray(0, count));
  writer.put(table.depths.subarray(0, count));
  writer.put(table.touched.subarray(0, count));
  for (let at = 0; at < count; at++) writer.u32(table.checksums[at]!);
  writer.put(table.ids.subarray(0, count * SHA256_BYTES));
  for (let at = 0; at < count; at++) {
    if (table.depths[at] === 0) continue;
    const parents = table.parentsOf(at) ?? [];
    writer.u8(parents.length);
    for (const parent of parents) writer.put(parent);
  }
  return writer.view();
}

/** Algorithm, raw length, and the compressed lengths of records. */
function secretColumns(table: PackTable): Uint8Array {
  const lengths = new ByteWriter(table.count * 3 + 16);
  for (let at = 0; at < table.count; at++) lengths.varint(table.rawBytes[at]!);
  const { algorithm, stored } = compress(lengths.view(), COMPRESSION);
  const writer = new ByteWriter(stored.byteLength + 8);
  writer.u8(algorithm);
  writer.u32(lengths.length);
  writer.put(stored);
  return writer.view();
}

type Place = {
  readonly rawBytes: number;
  readonly dataBytes: number;
  /** Undefined: the table is read without its key, and lengths stay unknown. */
  readonly pack: PackKey | undefined;
  readonly seal: PackSeal;
};

/** FormatError, CodecError. */
export function decodeSealedTable(stored: Uint8Array, place: Place): PackTable {
  const reader = new ByteReader(stored);
  if (reader.u8() !== SEALED) throw new FormatError('its table is not sealed');
  const algorithm = reader.u8();
  const shown = reader.take(reader.u32());
  const secretAt = reader.position;
  if (place.rawBytes > PACK_TABLE_BYTES_MAX) {
    throw new FormatError(`a table of ${place.rawBytes} bytes`);
  }
  const secret = openSecret(stored, secretAt, place);
  const table = readClear(decompress(algorithm, shown, place.rawBytes), place);
  if (secret !== undefined) readLengths(secret, table);
  return table;
}

function openSecret(
  stored: Uint8Array,
  secretAt: number,
  { pack, dataBytes }: Place,
): Uint8Array | undefined {
  const end = stored.byteLength - TAG_BYTES;
  if (end < secretAt) throw new FormatError('its table ends too soon');
  if (pack === undefined) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', pack.key, nonceOf(NONCE_TABLE, 0));
  decipher.setAAD(boundTo(pack, dataBytes, stored.subarray(0, secretAt)));
  decipher.setAuthTag(stored.subarray(end));
  const secret = decipher.update(stored.subarray(secretAt, end));
  try {
    decipher.final();
  } catch {
    throw new FormatError('its table is not what was sealed for this pack');
  }
  return secret;
}

function readClear(raw: Uint8Array, { dataBytes, seal }: Place): PackTable {
  const reader = new ByteReader(raw);
  const table = new PackTable(seal);
  const count = readFrames(reader, dataBytes, (first, offset) => {
    const storedBytes = reader.count(FRAME_STORED_MAX + FRAME_SEAL_BYTES, 'a frame');
    table.addFrame(first, offset, storedBytes, new Uint8Array(reader.take(SHA256_BYTES)));
    return storedBytes;
  });
  readColumns(reader, table, count);
  reader.end();
  return table;
}

function readColumns(reader: ByteReader, table: PackTable, count: number): void {
  const kinds = reader.take(count);
  const depths = reader.take(count);
  const touched = reader.take(count);
  const checksums: number[] = [];
  for (let at = 0; at < count; at++) checksums.push(reader.u32());
  for (let at = 0; at < count; at++) {
    checkRecord(kinds[at]!, depths[at]!, touched[at]!);
    const ordinal = table.add(kinds[at]!, reader.take(SHA256_BYTES), checksums[at]!, 0);
    table.depths[ordinal] = depths[at]!;
    table.touched[ordinal] = touched[at]!;
  }
  for (let at = 0; at < count; at++) {
    if (depths[at] === 0) continue;
    const parentCount = reader.u8();
    if (parentCount === 0 || parentCount > PATCH_PARENTS_MAX) {
      throw new FormatError(`a patch has ${parentCount} parents`);
    }
    const parents: Uint8Array[] = [];
    for (let n = 0; n < parentCount; n++) parents.push(reader.take(PARENT_REFERENCE_BYTES));
    table.setParents(at, parents);
  }
}

function readLengths(secret: Uint8Array, table: PackTable): void {
  const head = new ByteReader(secret);
  const algorithm = head.u8();
  const rawBytes = head.u32();
  if (rawBytes > PACK_TABLE_BYTES_MAX) throw new FormatError(`${rawBytes} bytes of lengths`);
  const reader = new ByteReader(decompress(algorithm, head.take(head.remaining), rawBytes));
  for (let at = 0; at < table.count; at++) {
    table.rawBytes[at] = reader.count(FRAME_RAW_MAX, 'a record');
  }
  reader.end();
}

/** The pack's id, where its frames end, and what stands in clear. */
function boundTo({ packId }: PackKey, dataBytes: number, clear: Uint8Array): Uint8Array {
  const writer = new ByteWriter(packId.byteLength + clear.byteLength + 8);
  writer.put(packId);
  writer.u53(dataBytes);
  writer.put(clear);
  return writer.view();
}
