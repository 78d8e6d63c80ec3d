/** GOODBYE: the last message of an orderly end; what was not acknowledged stays to be resumed. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { ERROR_TEXT_BYTES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';
import { getText, putText } from './text.ts';

export type Goodbye = {
  /** For people: "stopped by the administrator". */
  readonly reason: string;
  /** When to come again; 0: whenever. */
  readonly againAfterMs: number;
};

export function encodeGoodbye({ reason, againAfterMs }: Goodbye): Uint8Array {
  const writer = new ByteWriter(64);
  putText(writer, reason, ERROR_TEXT_BYTES_MAX);
  writer.varint(againAfterMs);
  putExtensions(writer);
  return writer.view();
}

export function decodeGoodbye(body: Uint8Array): Goodbye {
  return decoding('GOODBYE', () => {
    const reader = new ByteReader(body);
    const reason = getText(reader, ERROR_TEXT_BYTES_MAX, 'the reason of a goodbye');
    const againAfterMs = reader.varint();
    getExtensions(reader, 'GOODBYE');
    reader.end();
    return { reason, againAfterMs };
  });
}
