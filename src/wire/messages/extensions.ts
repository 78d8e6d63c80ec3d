/** What later versions may add to a message: tagged records that others skip by their length. */
import type { ByteReader, ByteWriter } from '../../core/index.ts';
import { limitError, WireError } from '../errors.ts';
import { EXTENSIONS_BYTES_MAX, EXTENSIONS_MAX } from '../limits.ts';

/** A tag with this bit must be understood; without it the record may be skipped. */
export const TAG_MANDATORY = 0x80;

export type Extension = { readonly tag: number; readonly bytes: Uint8Array };

const none: readonly Extension[] = [];
const nothingKnown: ReadonlySet<number> = new Set();

/** Their whole length as a varint, then each as tag, varint, bytes. */
export function putExtensions(writer: ByteWriter, extensions: readonly Extension[] = none): void {
  let lengthBytes = 0;
  for (const { bytes } of extensions)
    lengthBytes += 1 + varintBytes(bytes.byteLength) + bytes.length;
  if (lengthBytes > EXTENSIONS_BYTES_MAX || extensions.length > EXTENSIONS_MAX) {
    throw limitError(`${extensions.length} extensions of ${lengthBytes} bytes are too many`);
  }
  writer.varint(lengthBytes);
  for (const { tag, bytes } of extensions) {
    writer.u8(tag);
    writer.varint(bytes.byteLength);
    writer.put(bytes);
  }
}

/** Those that are `known`; an unknown one is skipped, or refused if it is mandatory. */
export function getExtensions(
  reader: ByteReader,
  message: string,
  known: ReadonlySet<number> = nothingKnown,
): readonly Extension[] {
  const lengthBytes = reader.count(EXTENSIONS_BYTES_MAX, 'the length of all extensions');
  if (lengthBytes === 0) return none;
  const end = reader.position + lengthBytes;
  const found: Extension[] = [];
  let count = 0;
  while (reader.position < end) {
    count += 1;
    if (count > EXTENSIONS_MAX)
      throw limitError(`${message} has over ${EXTENSIONS_MAX} extensions`);
    const tag = reader.u8();
    const bytes = reader.take(reader.count(end - reader.position, 'an extension'));
    if (known.has(tag)) found.push({ tag, bytes });
    else if ((tag & TAG_MANDATORY) !== 0) throw unsupported(message, tag);
  }
  if (reader.position !== end) throw limitError(`the extensions of ${message} do not add up`);
  return found;
}

function unsupported(message: string, tag: number): WireError {
  return new WireError('WIRE_UNSUPPORTED', `${message} has the mandatory extension ${tag}`, {
    hint: 'The peer needs a feature that this version does not have; update this side.',
  });
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) count += 1;
  return count;
}
