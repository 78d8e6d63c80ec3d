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
  /** The volume that it is about, as the receiver has numbered it; the others go on. */
  readonly volume?: number | undefined;
};

/** May be skipped: it is then about all of them. */
const TAG_VOLUME = 1;
const known = new Set([TAG_VOLUME]);

export function encodeError({ code, text, isFatal, sequence, volume }: ErrorMessage): Uint8Array {
  const writer = new ByteWriter();
  putText(writer, code, ERROR_CODE_BYTES_MAX);
  putText(writer, shortened(text), ERROR_TEXT_BYTES_MAX);
  writer.u8(isFatal ? 1 : 0);
  writer.varint(sequence);
  putExtensions(writer, volume === undefined ? [] : [{ tag: TAG_VOLUME, bytes: varint(volume) }]);
  return writer.view();
}

export function decodeError(body: Uint8Array): ErrorMessage {
  return decoding('ERROR', () => {
    const reader = new ByteReader(body);
    const code = getText(reader, ERROR_CODE_BYTES_MAX, 'the code of an error');
    const text = getText(reader, ERROR_TEXT_BYTES_MAX, 'the text of an error');
    const isFatal = (reader.u8() & 1) === 1;
    const sequence = reader.varint();
    const [found] = getExtensions(reader, 'ERROR', known);
    reader.end();
    const volume = found && { volume: new ByteReader(found.bytes).varint() };
    return { code, text, isFatal, sequence, ...volume };
  });
}

function varint(value: number): Uint8Array {
  const writer = new ByteWriter(8);
  writer.varint(value);
  return writer.view();
}

/** Each UTF-16 unit takes at most three bytes. */
function shortened(text: string): string {
  const unitsMax = Math.floor(ERROR_TEXT_BYTES_MAX / 3);
  return text.length <= unitsMax ? text : `${text.slice(0, unitsMax - 1).toWellFormed()}…`;
}
