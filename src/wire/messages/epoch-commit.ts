/** EPOCH_COMMIT: all of an epoch was sent; whoever has all of it makes it the volume's state. */
import { ByteReader, ByteWriter, SHA256_BYTES } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type EpochCommit = {
  readonly volume: number;
  readonly epoch: number;
  /** Messages of this epoch; lanes may let this one overtake some of them. */
  readonly messageCount: number;
  /** Entries and references in them. */
  readonly recordCount: number;
  /** The volume's digest, or zeroes where the sender does not keep one for every epoch. */
  readonly digest: Uint8Array;
};

export function encodeEpochCommit(commit: EpochCommit): Uint8Array {
  const writer = new ByteWriter(80);
  writer.varint(commit.volume);
  writer.varint(commit.epoch);
  writer.varint(commit.messageCount);
  writer.varint(commit.recordCount);
  writer.put(commit.digest);
  putExtensions(writer);
  return writer.view();
}

export function decodeEpochCommit(body: Uint8Array): EpochCommit {
  return decoding('EPOCH_COMMIT', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const epoch = reader.varint();
    const messageCount = reader.varint();
    const recordCount = reader.varint();
    const digest = reader.take(SHA256_BYTES).slice();
    getExtensions(reader, 'EPOCH_COMMIT');
    reader.end();
    return { volume, epoch, messageCount, recordCount, digest };
  });
}
