/** AUTHORITY_COMMIT: the other side has taken over, under a new authority, for good. */
import { ByteReader, ByteWriter, SHA256_BYTES } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type AuthorityCommit = {
  readonly volume: number;
  /** Greater than every authority before; the old side refuses writes from now on. */
  readonly authority: number;
  /** The epoch that it begins after, and its digest, as the taking side computed it. */
  readonly epoch: number;
  readonly digest: Uint8Array;
};

export function encodeAuthorityCommit(commit: AuthorityCommit): Uint8Array {
  const writer = new ByteWriter(80);
  writer.varint(commit.volume);
  writer.varint(commit.authority);
  writer.varint(commit.epoch);
  writer.put(commit.digest);
  putExtensions(writer);
  return writer.view();
}

export function decodeAuthorityCommit(body: Uint8Array): AuthorityCommit {
  return decoding('AUTHORITY_COMMIT', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const authority = reader.varint();
    const epoch = reader.varint();
    const digest = reader.take(SHA256_BYTES).slice();
    getExtensions(reader, 'AUTHORITY_COMMIT');
    reader.end();
    return { volume, authority, epoch, digest };
  });
}
