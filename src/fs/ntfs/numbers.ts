/** Numbers of NTFS that do not fit in 53 bits, and references to records. */
import type { Fields } from '../fields.ts';

/** A number that only identifies: sixteen hexadecimal digits. */
export function hex64(fields: Fields, at: number): string {
  const half = (value: number) => value.toString(16).padStart(8, '0');
  return half(fields.high(at)) + half(fields.low(at));
}

/** A sequence number of the log. */
export function lsn64(fields: Fields, at: number): bigint {
  return (BigInt(fields.high(at)) << 32n) | BigInt(fields.low(at));
}

/** A record of $MFT, and how often it was used when this was written. */
export type Reference = { readonly record: number; readonly sequence: number };

export function referenceAt(fields: Fields, at: number): Reference {
  return {
    record: fields.u16(at + 4) * 2 ** 32 + fields.u32(at),
    sequence: fields.u16(at + 6),
  };
}

/** Of a $FILE_NAME, where the number of its characters is, and where they are. */
const NAME_LENGTH_AT = 0x40;
const NAME_AT = 0x42;

/** What the $FILE_NAME at `at` calls the file. */
export function fileNameAt(fields: Fields, at: number): string {
  return utf16(fields, at + NAME_AT, fields.u8(at + NAME_LENGTH_AT));
}

export function utf16(fields: Fields, at: number, characters: number): string {
  return new TextDecoder('utf-16le').decode(fields.take(at, characters * 2));
}
