/** The object beside a pack from which damaged stripes of the pack are computed again. */
import { ERASURE_ROWS_MAX } from '../codec/index.ts';
import {
  ByteReader,
  ByteWriter,
  crc32,
  equalBytes,
  FormatError,
  fromHex,
  hasCode,
  SHA256_BYTES,
  toHex,
} from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { FORMAT_VERSION, MAGIC, objectKinds } from './envelope.ts';
import { damagedObject, missingObject, StoreError } from './errors.ts';
import {
  PACK_BYTES_MAX,
  PACK_ID_BYTES,
  PARITY_DATA_ROWS_MAX,
  PARITY_PERCENT_MAX,
  STRIPE_BYTES,
} from './limits.ts';
import { getAround } from './read-around.ts';

/**
 * The pack, filled up with zeroes, is `dataRows` rows of `columns` stripes; `parityRows` rows of as
 * many follow. Stripes of one column make up for each other: neighbours are in different ones.
 */
export type ParityShape = {
  readonly packBytes: number;
  readonly columns: number;
  readonly dataRows: number;
  readonly parityRows: number;
};

export type ParityFile = {
  readonly packId: string;
  /** SHA-256 of the whole pack. */
  readonly packHash: Uint8Array;
  readonly shape: ParityShape;
  /** CRC-32 of each stripe of the pack, the last one as short as it is, then of parity. */
  readonly sums: Uint32Array;
  /** The parity rows. */
  readonly parity: Uint8Array;
};

const FIXED_BYTES = 8 + PACK_ID_BYTES + SHA256_BYTES + 8 + 4 + 4 + 1 + 1 + 2;
const TRAILER_BYTES = 12;

/** A full pack with as much parity as there may be, and what is around it. */
const PARITY_BYTES_MAX = PACK_BYTES_MAX;

export function parityKey(packId: string): string {
  return `parity/${packId.slice(0, 2)}/${packId}`;
}

export function parityShape(packBytes: number, percent: number): ParityShape {
  const stripes = Math.ceil(packBytes / STRIPE_BYTES);
  const columns = Math.ceil(stripes / PARITY_DATA_ROWS_MAX);
  const dataRows = Math.ceil(stripes / columns);
  return { packBytes, columns, dataRows, parityRows: Math.ceil((dataRows * percent) / 100) };
}

/** Bytes of all rows: the pack, zeroes, parity. */
export function rowsBytes({ columns, dataRows, parityRows }: ParityShape): number {
  return (dataRows + parityRows) * columns * STRIPE_BYTES;
}

/** Where parity begins among them. */
export function parityAt({ columns, dataRows }: ParityShape): number {
  return dataRows * columns * STRIPE_BYTES;
}

/** The stripes of all rows that have a checksum, in its order: zeroes behind the pack have none. */
export function* stripesOf(shape: ParityShape): Generator<{ at: number; lengthBytes: number }> {
  for (let at = 0; at < shape.packBytes; at += STRIPE_BYTES) {
    yield { at, lengthBytes: Math.min(STRIPE_BYTES, shape.packBytes - at) };
  }
  for (let at = parityAt(shape); at < rowsBytes(shape); at += STRIPE_BYTES) {
    yield { at, lengthBytes: STRIPE_BYTES };
  }
}

function stripeCount({ packBytes, columns, parityRows }: ParityShape): number {
  return Math.ceil(packBytes / STRIPE_BYTES) + columns * parityRows;
}

/** Head, parity, head again, and where that one begins: no single damage takes both heads. */
export function encodeParity(file: ParityFile): Uint8Array {
  const head = encodeHead(file);
  const writer = new ByteWriter(2 * head.byteLength + file.parity.byteLength + TRAILER_BYTES);
  writer.put(head);
  writer.put(file.parity);
  writer.put(head);
  const from = writer.length;
  writer.u32(head.byteLength);
  writer.u32(crc32(writer.view().subarray(from)));
  writer.u32(MAGIC);
  return writer.view();
}

function encodeHead({ packId, packHash, shape, sums }: ParityFile): Uint8Array {
  const writer = new ByteWriter(FIXED_BYTES + 4 * sums.length + 4);
  writer.u32(MAGIC);
  writer.u8(objectKinds.parity);
  writer.u8(FORMAT_VERSION);
  writer.u16(0);
  writer.put(fromHex(packId, PACK_ID_BYTES)!);
  writer.put(packHash);
  writer.u53(shape.packBytes);
  writer.u32(STRIPE_BYTES);
  writer.u32(shape.columns);
  writer.u8(shape.dataRows);
  writer.u8(shape.parityRows);
  writer.u16(0);
  for (const sum of sums) writer.u32(sum);
  writer.u32(crc32(writer.view()));
  return writer.view();
}

/** STORE_MISSING; STORE_DAMAGED if neither head is whole. Parity itself may be damaged. */
export async function readParity(objects: ObjectStore, packId: string): Promise<ParityFile> {
  const key = parityKey(packId);
  let bytes: Uint8Array;
  try {
    bytes = await getAround(objects, key, PARITY_BYTES_MAX);
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND')) throw missingObject(key, error);
    if (hasCode(error, 'OBJECT_RANGE')) throw damagedObject(key, 'it is too long', error);
    throw error;
  }
  return parseParity(bytes, packId);
}

/** As `readParity`. */
export function parseParity(bytes: Uint8Array, packId: string): ParityFile {
  let failure: unknown;
  for (const at of [0, secondHead(bytes)]) {
    try {
      return parseAt(bytes, at, packId);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      failure ??= error;
    }
  }
  throw damagedObject(parityKey(packId), (failure as FormatError).message, failure);
}

function secondHead(bytes: Uint8Array): number {
  if (bytes.byteLength < TRAILER_BYTES) return 0;
  const reader = new ByteReader(bytes.subarray(-TRAILER_BYTES));
  const headBytes = reader.u32();
  return Math.max(0, bytes.byteLength - TRAILER_BYTES - headBytes);
}

function parseAt(bytes: Uint8Array, at: number, packId: string): ParityFile {
  const reader = new ByteReader(bytes.subarray(at));
  if (reader.u32() !== MAGIC || reader.u8() !== objectKinds.parity) {
    throw new FormatError('it does not begin like parity');
  }
  const version = reader.u8();
  reader.u16();
  const id = reader.take(PACK_ID_BYTES);
  const packHash = reader.take(SHA256_BYTES).slice();
  const packBytes = reader.u53();
  const stripeBytes = reader.u32();
  const columns = reader.u32();
  const [dataRows, parityRows] = [reader.u8(), reader.u8()];
  reader.u16();
  const shape = { packBytes, columns, dataRows, parityRows };
  checkShape(shape, stripeBytes);
  const count = stripeCount(shape);
  if (count * 4 + 4 > reader.remaining) throw new FormatError('it is cut');
  const sums = Uint32Array.from({ length: count }, () => reader.u32());
  const headBytes = FIXED_BYTES + count * 4;
  if (reader.u32() !== crc32(bytes.subarray(at, at + headBytes))) {
    throw new FormatError('its checksum is wrong');
  }
  if (version > FORMAT_VERSION) {
    throw new StoreError('STORE_VERSION', `${parityKey(packId)} has format ${version}`, {
      hint: 'Use a newer Blockferry with this repository.',
    });
  }
  if (toHex(id) !== packId) throw new FormatError('it is that of another pack');
  const parity = new Uint8Array(rowsBytes(shape) - parityAt(shape));
  parity.set(bytes.subarray(headBytes + 4, headBytes + 4 + parity.byteLength));
  return { packId, packHash, shape, sums, parity };
}

/** What `parityShape` may give: whoever forges one gets no more memory than a pack's rows take. */
function checkShape({ packBytes, columns, dataRows, parityRows }: ParityShape, stripe: number) {
  const rowBytes = columns * STRIPE_BYTES;
  const fits =
    stripe === STRIPE_BYTES &&
    packBytes > 0 &&
    packBytes <= PACK_BYTES_MAX &&
    dataRows + parityRows <= ERASURE_ROWS_MAX &&
    parityRows > 0 &&
    parityRows <= Math.ceil((dataRows * PARITY_PERCENT_MAX) / 100) &&
    columns <= Math.ceil(packBytes / STRIPE_BYTES) &&
    dataRows * rowBytes >= packBytes &&
    (dataRows - 1) * rowBytes < packBytes;
  if (!fits) throw new FormatError('its numbers do not add up');
}

/** STORE_DAMAGED unless every byte of the object is as it was written; for check. */
export async function checkParity(objects: ObjectStore, packId: string): Promise<number> {
  const key = parityKey(packId);
  const bytes = await objects.get(key, PARITY_BYTES_MAX);
  const file = parseParity(bytes, packId);
  if (!equalBytes(encodeParity(file), bytes)) throw damagedObject(key, 'its ends differ');
  const first = file.sums.length - file.parity.byteLength / STRIPE_BYTES;
  for (let at = 0; at < file.parity.byteLength; at += STRIPE_BYTES) {
    const sum = file.sums[first + at / STRIPE_BYTES];
    if (crc32(file.parity.subarray(at, at + STRIPE_BYTES)) !== sum) {
      throw damagedObject(key, `stripe ${at / STRIPE_BYTES} is not as it was written`);
    }
  }
  return bytes.byteLength;
}
