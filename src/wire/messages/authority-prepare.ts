/** AUTHORITY_PREPARE: the writing side has stopped, and offers the other one to go on. */
import { ByteReader, ByteWriter, SHA256_BYTES } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { getExtensions, putExtensions } from './extensions.ts';

export type AuthorityPrepare = {
  readonly volume: number;
  /** The authority that is given up. */
  readonly authority: number;
  /** The last epoch written under it. */
  readonly epoch: number;
  /** The volume's digest at that epoch: without an equal one there is no switch. */
  readonly digest: Uint8Array;
};

export function encodeAuthorityPrepare(prepare: AuthorityPrepare): Uint8Array {
  const writer = new ByteWriter(80);
  writer.varint(prepare.volume);
  writer.varint(prepare.authority);
  writer.varint(prepare.epoch);
  writer.put(prepare.digest);
  putExtensions(writer);
  return writer.view();
}

export function decodeAuthorityPrepare(body: Uint8Array): AuthorityPrepare {
  return decoding('AUTHORITY_PREPARE', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const authority = reader.varint();
    const epoch = reader.varint();
    const digest = reader.take(SHA256_BYTES).slice();
    getExtensions(reader, 'AUTHORITY_PREPARE');
    reader.end();
    return { volume, authority, epoch, digest };
  });
}
