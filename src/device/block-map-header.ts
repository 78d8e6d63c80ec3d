/** The header of the map of a kept layer: what the layer lies over. */
import { ByteReader, ByteWriter, crc32, FormatError, hasCode } from '../core/index.ts';
import { DeviceError } from './device.ts';
import { COPY_BLOCK_BYTES, IDENTITY_BYTES_MAX } from './limits.ts';

/*
 * Layout, little-endian:
 *   0   8  "FERRYCOW"
 *   8   2  version, 2
 *   10  4  bytes per block, 4096
 *   14  8  size of the base in bytes
 *   22  v  varint length and bytes of the base's identity (UTF-8)
 *   4092 4 CRC-32 of the 4092 bytes before; what is between is zero
 *
 * Written once, before the map has its name.
 */
const MAGIC = 'FERRYCOW';
const VERSION = 2;
export const HEADER_BYTES = 4096;

export type MapHeader = {
  /** The file, for messages. */
  readonly path: string;
  /** What the layer lies over; a map of another one is refused. */
  readonly identity: string;
  readonly sizeBytes: number;
};

export function encodeHeader({ identity, sizeBytes }: MapHeader): Uint8Array {
  const identityBytes = new TextEncoder().encode(identity);
  if (identityBytes.byteLength > IDENTITY_BYTES_MAX) {
    throw new DeviceError('DEVICE_LAYER', `an identity of ${identityBytes.byteLength} bytes`, {
      hint: `Use a digest: at most ${IDENTITY_BYTES_MAX} bytes are kept.`,
    });
  }
  const writer = new ByteWriter(HEADER_BYTES);
  writer.put(new TextEncoder().encode(MAGIC));
  writer.u16(VERSION);
  writer.u32(COPY_BLOCK_BYTES);
  writer.u53(sizeBytes);
  writer.varint(identityBytes.byteLength);
  writer.put(identityBytes);
  writer.put(new Uint8Array(HEADER_BYTES - 4 - writer.length));
  writer.u32(crc32(writer.view()));
  return writer.view();
}

export function checkHeader(header: Uint8Array, { path, identity, sizeBytes }: MapHeader): void {
  const other = readHeader(header, path);
  if (other.identity === identity && other.sizeBytes === sizeBytes) return;
  throw new DeviceError(
    'DEVICE_LAYER',
    `${path} belongs to ${other.identity} (${other.sizeBytes} bytes), ` +
      `not to ${identity} (${sizeBytes} bytes)`,
    { hint: 'Continue it over its own base, or start a new layer elsewhere.' },
  );
}

function readHeader(header: Uint8Array, path: string): { identity: string; sizeBytes: number } {
  try {
    const reader = new ByteReader(header);
    const magic = new TextDecoder('latin1').decode(reader.take(MAGIC.length));
    if (magic !== MAGIC) throw new FormatError('it does not begin like a map of a layer');
    const version = reader.u16();
    if (header.byteLength < HEADER_BYTES) throw new FormatError('the header is cut short');
    const crc = new ByteReader(header.subarray(HEADER_BYTES - 4)).u32();
    if (crc !== crc32(header.subarray(0, HEADER_BYTES - 4)))
      throw new FormatError('a wrong CRC-32');
    if (version !== VERSION) throw otherVersion(path, version);
    const blockBytes = reader.u32();
    if (blockBytes !== COPY_BLOCK_BYTES) throw new FormatError(`blocks of ${blockBytes} bytes`);
    const sizeBytes = reader.u53();
    const lengthBytes = reader.count(IDENTITY_BYTES_MAX, 'the length of the identity');
    const identity = new TextDecoder().decode(reader.take(lengthBytes));
    return { identity, sizeBytes };
  } catch (error) {
    if (!hasCode(error, 'FORMAT_INVALID')) throw error;
    throw damagedMap(path, (error as FormatError).message, error);
  }
}

function otherVersion(path: string, version: number): DeviceError {
  return new DeviceError('DEVICE_LAYER', `${path} has version ${version}, not ${VERSION}`, {
    hint:
      'Commit it with the version of ferry that made it, ' +
      'or remove its directory to drop what was written.',
  });
}

export function damagedMap(path: string, why: string, cause?: unknown): DeviceError {
  return new DeviceError('DEVICE_LAYER', `${path} is damaged: ${why}`, {
    hint:
      'Nothing tells any more what was written through this layer; ' +
      'put back a copy of the file, or remove its directory to drop all of it.',
    cause,
  });
}
