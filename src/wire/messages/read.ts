/** READ: a range of a volume that somebody waits for; BLOCK_DATA or BLOCK_REFERENCE answer it. */
import { ByteReader, ByteWriter, FormatError } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { READ_BYTES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type Read = {
  /** Chosen by the sender; the answers repeat it. */
  readonly request: number;
  readonly volume: number;
  /** The state that is wanted; 0: the newest whole one. */
  readonly epoch: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Under which priority the answer travels. */
  readonly priority: number;
};

export function encodeRead(read: Read): Uint8Array {
  const writer = new ByteWriter(48);
  writer.varint(read.request);
  writer.varint(read.volume);
  writer.varint(read.epoch);
  writer.varint(read.offsetBytes);
  writer.varint(read.lengthBytes);
  writer.u8(read.priority);
  putExtensions(writer);
  return writer.view();
}

export function decodeRead(body: Uint8Array): Read {
  return decoding('READ', () => {
    const reader = new ByteReader(body);
    const request = reader.varint();
    const volume = reader.varint();
    const epoch = reader.varint();
    const offsetBytes = reader.varint();
    const lengthBytes = reader.count(READ_BYTES_MAX, 'the length of a read');
    const priority = reader.u8();
    getExtensions(reader, 'READ');
    reader.end();
    if (lengthBytes === 0) throw new FormatError('it asks for nothing');
    if (!Number.isSafeInteger(offsetBytes + lengthBytes)) throw new FormatError('it ends nowhere');
    return { request, volume, epoch, offsetBytes, lengthBytes, priority };
  });
}
