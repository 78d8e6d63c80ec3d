/** AUTHORITY_ABORT: the move does not happen; the side that had stopped may write again. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { ERROR_TEXT_BYTES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';
import { getText, putText } from './text.ts';

export type AuthorityAbort = {
  readonly volume: number;
  /** The authority that stays. */
  readonly authority: number;
  /** For people. */
  readonly reason: string;
};

export function encodeAuthorityAbort({ volume, authority, reason }: AuthorityAbort): Uint8Array {
  const writer = new ByteWriter(64);
  writer.varint(volume);
  writer.varint(authority);
  putText(writer, reason, ERROR_TEXT_BYTES_MAX);
  putExtensions(writer);
  return writer.view();
}

export function decodeAuthorityAbort(body: Uint8Array): AuthorityAbort {
  return decoding('AUTHORITY_ABORT', () => {
    const reader = new ByteReader(body);
    const volume = reader.varint();
    const authority = reader.varint();
    const reason = getText(reader, ERROR_TEXT_BYTES_MAX, 'the reason of an abort');
    getExtensions(reader, 'AUTHORITY_ABORT');
    reader.end();
    return { volume, authority, reason };
  });
}
