/** Short texts in messages: UTF-8 behind a varint, bounded, and valid or refused. */
import { type ByteReader, type ByteWriter, FormatError } from '../../core/index.ts';
import { limitError } from '../errors.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function putText(writer: ByteWriter, text: string, bytesMax: number): void {
  const bytes = encoder.encode(text);
  if (bytes.byteLength > bytesMax) {
    throw limitError(`a text of ${bytes.byteLength} bytes, at most ${bytesMax} are allowed`);
  }
  writer.varint(bytes.byteLength);
  writer.put(bytes);
}

export function getText(reader: ByteReader, bytesMax: number, what: string): string {
  const bytes = reader.take(reader.count(bytesMax, `the length of ${what}`));
  try {
    return decoder.decode(bytes);
  } catch {
    throw new FormatError(`${what} is no UTF-8`);
  }
}
