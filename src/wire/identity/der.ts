/** DER, as much of it as a certificate needs: X.690, sections 8 and 10. */

const TAG_INTEGER = 0x02;
const TAG_BIT_STRING = 0x03;
const TAG_OCTET_STRING = 0x04;
const TAG_OBJECT_IDENTIFIER = 0x06;
const TAG_UTF8_STRING = 0x0c;
const TAG_GENERALIZED_TIME = 0x18;
const TAG_UTC_TIME = 0x17;
const TAG_SEQUENCE = 0x30;
const TAG_SET = 0x31;

export function tagged(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const length = content.byteLength;
  const head =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >>> 8, length & 255];
  if (length >= 0x10000) throw new RangeError(`${length} bytes are no part of a certificate`);
  return Uint8Array.from([tag, ...head, ...content]);
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tagged(TAG_SEQUENCE, ...parts);
}

export function setOf(part: Uint8Array): Uint8Array {
  return tagged(TAG_SET, part);
}

/** A positive number, big-endian, without leading zeroes. */
export function integer(bytes: Uint8Array): Uint8Array {
  return tagged(TAG_INTEGER, ...(bytes[0]! >= 0x80 ? [Uint8Array.of(0)] : []), bytes);
}

export function bitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return tagged(TAG_BIT_STRING, Uint8Array.of(unusedBits), bytes);
}

export function octetString(bytes: Uint8Array): Uint8Array {
  return tagged(TAG_OCTET_STRING, bytes);
}

export function utf8String(text: string): Uint8Array {
  return tagged(TAG_UTF8_STRING, new TextEncoder().encode(text));
}

export const booleanTrue = Uint8Array.of(0x01, 0x01, 0xff);

/** `1.2.840` and the like; the numbers are below 2^28. */
export function objectIdentifier(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [40 * first + second];
  for (const number of rest) {
    const digits = [number & 127];
    for (let high = number >>> 7; high > 0; high >>>= 7) digits.unshift((high & 127) | 128);
    bytes.push(...digits);
  }
  return tagged(TAG_OBJECT_IDENTIFIER, Uint8Array.from(bytes));
}

/** RFC 5280, section 4.1.2.5: two digits of the year until 2049, four from then on. */
export function time(atMs: number): Uint8Array {
  const digits = `${new Date(atMs).toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
  const isLate = Number(digits.slice(0, 4)) >= 2050;
  const text = new TextEncoder().encode(isLate ? digits : digits.slice(2));
  return tagged(isLate ? TAG_GENERALIZED_TIME : TAG_UTC_TIME, text);
}
