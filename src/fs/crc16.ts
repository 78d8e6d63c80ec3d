/** CRC-16 (the reflected polynomial 0x8005) of group descriptors without metadata_csum. */

const POLYNOMIAL = 0xa001;

/** Short structures only: bit by bit. */
export function crc16(crc: number, bytes: Uint8Array): number {
  let sum = crc;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ ((sum & 1) === 0 ? 0 : POLYNOMIAL);
  }
  return sum;
}
