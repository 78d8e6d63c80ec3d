/** CRC-32C as ext4 and jbd2 keep it: started with all ones, continued, and never inverted. */

/** Castagnoli's polynomial, reflected (RFC 3720, appendix B.4). */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

export const CRC_START = 0xffffffff;

/** Table k advances a byte by k more bytes of zeroes: eight bytes at a time need eight of them. */
const tables: readonly Uint32Array[] = makeTables();

function makeTables(): Uint32Array[] {
  const first = new Uint32Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) === 0 ? 0 : POLYNOMIAL);
    first[byte] = crc;
  }
  const all = [first];
  for (let slice = 1; slice < SLICES; slice++) {
    const before = all[slice - 1]!;
    all.push(before.map((crc) => (crc >>> 8) ^ first[crc & 0xff]!));
  }
  return all;
}

/** Goes on from `crc` with `bytes`. */
export function crc32c(crc: number, bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
    ...[Uint32Array, Uint32Array, Uint32Array, Uint32Array],
    ...[Uint32Array, Uint32Array, Uint32Array, Uint32Array],
  ];
  let sum = crc;
  let at = 0;
  for (const end = bytes.byteLength - (bytes.byteLength % SLICES); at < end; at += SLICES) {
    sum ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    sum =
      t7[sum & 0xff]! ^
      t6[(sum >>> 8) & 0xff]! ^
      t5[(sum >>> 16) & 0xff]! ^
      t4[sum >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.byteLength; at++) sum = (sum >>> 8) ^ t0[(sum ^ bytes[at]!) & 0xff]!;
  return sum >>> 0;
}

/** Goes on from `crc` with a number of 32 bits, as it lies on a disk of that byte order. */
export function crc32cOfU32(crc: number, value: number, order: 'big' | 'little'): number {
  let sum = crc;
  for (let index = 0; index < 4; index++) {
    const shift = 8 * (order === 'little' ? index : 3 - index);
    sum = (sum >>> 8) ^ tables[0]![(sum ^ (value >>> shift)) & 0xff]!;
  }
  return sum >>> 0;
}

/** Of a structure that holds its own checksum: those bytes count as zero. */
export function crc32cWithout(
  crc: number,
  bytes: Uint8Array,
  { at, lengthBytes }: { readonly at: number; readonly lengthBytes: number },
): number {
  const before = crc32c(crc, bytes.subarray(0, at));
  const over = crc32c(before, new Uint8Array(lengthBytes));
  return crc32c(over, bytes.subarray(at + lengthBytes));
}
