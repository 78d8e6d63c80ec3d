/** The CRC-32 of joined bytes out of those of its parts: what was read once is not read again. */

import { crc32 } from '../core/index.ts';

/** Bits are reversed: the highest one stands for x^0, the next one for x^1. */
const POLYNOMIAL = 0xedb88320;
const X = 0x40000000;

/** Of the bytes behind each other. */
export function joinedChecksum(first: number, second: number, secondBytes: number): number {
  return (shifted(first, secondBytes) ^ second) >>> 0;
}

/** Of what follows the first part in the whole, which is so long: the same, solved for `second`. */
export function restChecksum(first: number, whole: number, restBytes: number): number {
  return joinedChecksum(first, whole, restBytes);
}

/** Bytes that go one behind the other, and the CRC-32 of the last part if that is known already. */
export type Parts = {
  readonly parts: readonly Uint8Array[];
  readonly lastChecksum?: number | undefined;
};

/** Of what the checksum `before` is of, and the parts behind it. */
export function checksumOfParts(before: number, { parts, lastChecksum }: Parts): number {
  let checksum = before;
  for (const [index, part] of parts.entries()) {
    const isKnown = lastChecksum !== undefined && index === parts.length - 1;
    if (isKnown) checksum = joinedChecksum(checksum, lastChecksum, part.byteLength);
    else checksum = crc32(part, checksum);
  }
  return checksum;
}

/** As if so many zero bytes followed: times x^8 for each of them, modulo the polynomial. */
function shifted(checksum: number, lengthBytes: number): number {
  let result = checksum;
  let power = 3; // x^(2^3) for the lowest bit of the length.
  for (let rest = lengthBytes; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = product(powers[power]!, result);
    power = (power + 1) % powers.length;
  }
  return result;
}

function product(a: number, b: number): number {
  let result = 0;
  for (let left = a; left !== 0; left <<= 1) {
    if (left < 0) result ^= b;
    b = (b & 1) === 0 ? b >>> 1 : (b >>> 1) ^ POLYNOMIAL;
  }
  return result;
}

/** x^(2^n); x^(2^32) is x again. */
const powers = new Int32Array(32);
powers[0] = X;
for (let n = 1; n < powers.length; n += 1) powers[n] = product(powers[n - 1]!, powers[n - 1]!);
