/** The envelope around every small object: what it is, how long, and a checksum over all of it. */
import { isAscii } from 'node:buffer';
import { ByteReader, crc32, FormatError } from '../core/index.ts';
import { damagedObject, StoreError } from './errors.ts';

/** `BFRY`, little-endian. */
export const MAGIC = 0x59524642;
export const FORMAT_VERSION = 1;
/** What only newer programs understand says so: log entries of new types, later checkpoints. */
export const SECOND_VERSION = 2;
/** Checkpoints whose snapshots are a table. */
export const THIRD_VERSION = 3;
const HEAD_BYTES = 16;
const VERSION_AT = 5;
const TAIL_BYTES = 4;

/** The numbers are part of the format. */
export const objectKinds = {
  superblock: 1,
  log: 2,
  session: 3,
  checkpoint: 4,
  segment: 5,
  pack: 6,
  key: 7,
  writer: 9,
  parity: 10,
} as const;
export type ObjectKind = keyof typeof objectKinds;

/** The newest version of each kind that can be read here. */
const newest: Readonly<Partial<Record<ObjectKind, number>>> = {
  log: SECOND_VERSION,
  checkpoint: THIRD_VERSION,
};

/** Magic, kind, version, zero, payload length; payload; CRC-32 of everything before it. */
export function seal(
  kind: ObjectKind,
  payload: Uint8Array,
  version: number = FORMAT_VERSION,
): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + payload.byteLength + TAIL_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint8(4, objectKinds[kind]);
  view.setUint8(VERSION_AT, version);
  view.setUint32(8, payload.byteLength, true);
  bytes.set(payload, HEAD_BYTES);
  const end = HEAD_BYTES + payload.byteLength;
  view.setUint32(end, crc32(bytes.subarray(0, end)), true);
  return bytes;
}

/** The payload, a view of `bytes`; STORE_DAMAGED names `key`. */
export function unseal(kind: ObjectKind, bytes: Uint8Array, key: string): Uint8Array {
  try {
    return open(kind, bytes);
  } catch (error) {
    if (error instanceof FormatError) throw damagedObject(key, error.message, error);
    throw error;
  }
}

function open(kind: ObjectKind, bytes: Uint8Array): Uint8Array {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC) throw new FormatError('it does not begin like one of ours');
  const end = bytes.byteLength - TAIL_BYTES;
  if (end < HEAD_BYTES) throw new FormatError(`it is only ${bytes.byteLength} bytes long`);
  const found = reader.u8();
  const version = reader.u8();
  reader.u16();
  const length = reader.u53();
  if (length !== end - HEAD_BYTES) {
    throw new FormatError(`it declares ${length} bytes, ${end - HEAD_BYTES} are there`);
  }
  const payload = reader.take(length);
  if (reader.u32() !== crc32(bytes.subarray(0, end)))
    throw new FormatError('its checksum is wrong');
  if (version > (newest[kind] ?? FORMAT_VERSION)) throw newer(version);
  if (found !== objectKinds[kind]) throw new FormatError(`it is of kind ${found}, not a ${kind}`);
  return payload;
}

/** Of an object that `unseal` has found whole. */
export function versionOf(bytes: Uint8Array): number {
  return bytes[VERSION_AT]!;
}

function newer(version: number): StoreError {
  return new StoreError('STORE_VERSION', `the repository has format ${version}, newer than mine`, {
    hint: 'Use a newer Blockferry with this repository.',
  });
}

/** JSON in an envelope: for what is small and what a person may have to read. */
export function sealJson(kind: ObjectKind, value: unknown, version?: number): Uint8Array {
  return seal(kind, new TextEncoder().encode(JSON.stringify(value)), version);
}

export function unsealJson(kind: ObjectKind, bytes: Uint8Array, key: string): unknown {
  return parseJson(unseal(kind, bytes, key), key);
}

/** Most of our JSON is plain ASCII, which is decoded several times faster as what it is. */
function textOf(payload: Uint8Array): string {
  if (!isAscii(payload)) return new TextDecoder('utf-8', { fatal: true }).decode(payload);
  return Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('latin1');
}

export function parseJson(payload: Uint8Array, key: string): unknown {
  try {
    return JSON.parse(textOf(payload));
  } catch (cause) {
    throw damagedObject(key, 'its JSON does not parse', cause);
  }
}
