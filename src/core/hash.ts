/** The two signatures of a chunk, both over its plain bytes: SHA-256 and CRC-32. */
import { hash } from 'node:crypto';
import { crc32 as zlibCrc32 } from 'node:zlib';

export const SHA256_BYTES = 32;

/** One-shot: a hash object per call would cost more than hashing 1 KiB. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return hash('sha256', bytes, 'buffer');
}

/** CRC-32 (ISO-HDLC, the one of zlib and Ethernet), as an unsigned number. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}

/** Whether the bytes have both signatures: the cheap one is looked at first. */
export function hasSignatures(bytes: Uint8Array, id: Uint8Array, checksum: number): boolean {
  return crc32(bytes) === checksum && equalBytes(sha256(bytes), id);
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Undefined unless `text` is exactly `lengthBytes` in lower-case hexadecimal. */
export function fromHex(text: string, lengthBytes: number): Uint8Array | undefined {
  if (text.length !== lengthBytes * 2 || !/^[0-9a-f]*$/.test(text)) return undefined;
  return new Uint8Array(Buffer.from(text, 'hex'));
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0;
}
