/** ERROR: what went wrong, by a stable code; fatal ones end the session. */
import { ByteReader, ByteWriter } from '../../core/index.ts';
import { decoding } from '../errors.ts';
import { ERROR_CODE_BYTES_MAX, ERROR_TEXT_BYTES_MAX } from '../limits.ts';
import { getExtensions, putExtensions } from './extensions.ts';
import { getText, putText } from './text.ts';

export type ErrorMessage = {
  /** As in the errors of this program: `STORE_NO_SPACE`; the receiver acts by it. */
  readonly code: string;
  /** For people; without secrets and paths. */
  readonly text: string;
  readonly isFatal: boolean;
  /** The numbered message of the receiver that it is about; 0 if none. */
  readonly sequence: number;
};

export function encodeError({ code, text, isFatal, sequence }: ErrorMessage): Uint8Array {
  const writer = new ByteWriter();
  putText(writer, code, ERROR_CODE_BYTES_MAX);
  putText(writer, shortened(text), ERROR_TEXT_BYTES_MAX);
  writer.u8(isFatal ? 1 : 0);
  writer.varint(sequence);
  putExtensions(writer);
  return writer.view();
}

export function decodeError(body: Uint8Array): ErrorMessage {
  return decoding('ERROR', () => {
    const reader = new ByteReader(body);
    const code = getText(reader, ERROR_CODE_BYTES_MAX, 'the code of an error');
    const text = getText(reader, ERROR_TEXT_BYTES_MAX, 'the text of an error');
    const isFatal = (reader.u8() & 1) === 1;
    const sequence = reader.varint();
    getExtensions(reader, 'ERROR');
    reader.end();
    return { code, text, isFatal, sequence };
  });
}

/** Each UTF-16 unit takes at most three bytes. */
function shortened(text: string): string {
  const unitsMax = Math.floor(ERROR_TEXT_BYTES_MAX / 3);
  return text.length <= unitsMax ? text : `${text.slice(0, unitsMax - 1).toWellFormed()}…`;
}
