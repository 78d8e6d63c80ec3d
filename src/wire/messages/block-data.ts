/** BLOCK_DATA: a frame of records and where each belongs; also runs of zeroes, and of no change. */

import { FRAME_STORED_MAX, restChecksum } from '../../codec/index.ts';
import { ByteReader, ByteWriter, crc32 } from '../../core/index.ts';
import { decoding, limitError } from '../errors.ts';
import { type Entry, getEntries, putEntries } from './entries.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type BlockData = {
  readonly volume: number;
  readonly epoch: number;
  /** The READ that this answers; 0 if nobody asked. */
  readonly request: number;
  /** Those with a record stand in the order of the frame's records. */
  readonly entries: readonly Entry[];
  /** As `codec` makes it, unchanged; empty if no entry has a record. */
  readonly frame: Uint8Array;
  /** CRC-32 of the frame, where that is known without reading it. */
  readonly frameChecksum?: number | undefined;
};

/** Two parts, so that the frame is not copied. */
export function encodeBlockData(data: BlockData): [Uint8Array, Uint8Array] {
  if (data.frame.byteLength > FRAME_STORED_MAX) {
    throw limitError(`a frame of ${data.frame.byteLength} bytes`);
  }
  const writer = new ByteWriter(64 + 40 * data.entries.length);
  writer.varint(data.volume);
  writer.varint(data.epoch);
  writer.varint(data.request);
  putExtensions(writer);
  putEntries(writer, data.entries);
  return [writer.view(), data.frame];
}

/** The frame and the hashes are views of `body`; `checksum` is that of the body. */
export function decodeBlockData(body: Uint8Array, checksum?: number): BlockData {
  return decoding('BLOCK_DATA', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const epoch = reader.varint();
    const request = reader.varint();
    getExtensions(reader, 'BLOCK_DATA');
    const entries = getEntries(reader);
    if (reader.remaining > FRAME_STORED_MAX) throw limitError('a frame that is too long');
    const headBytes = reader.position;
    const frame = reader.take(reader.remaining);
    const data = { volume, epoch, request, entries, frame };
    if (checksum === undefined) return data;
    const head = crc32(body.subarray(0, headBytes));
    return { ...data, frameChecksum: restChecksum(head, checksum, frame.byteLength) };
  });
}
