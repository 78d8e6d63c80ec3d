/** Hashes and checksums: SHA-256 and CRC-32, and SHA-256 under a key. */
import assert from 'node:assert/strict';
import { createHmac, hash, timingSafeEqual } from 'node:crypto';
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

/** A hash's block; what HMAC pads its key to (RFC 2104). */
const SHA256_BLOCK_BYTES = 64;

/**
 * HMAC-SHA-256 of many short messages of one length: two one-shot hashes, a tenth of the time of an
 * HMAC object each.
 */
export function shortHmac(
  key: Uint8Array,
  messageBytes: number,
): (message: Uint8Array) => Uint8Array {
  assert(key.byteLength === SHA256_BYTES);
  const inner = new Uint8Array(SHA256_BLOCK_BYTES + messageBytes).fill(0x36, 0, SHA256_BLOCK_BYTES);
  const outer = new Uint8Array(SHA256_BLOCK_BYTES + SHA256_BYTES).fill(0x5c, 0, SHA256_BLOCK_BYTES);
  for (const [at, byte] of key.entries()) {
    inner[at]! ^= byte;
    outer[at]! ^= byte;
  }
  return (message) => {
    assert(message.byteLength === messageBytes);
    inner.set(message, SHA256_BLOCK_BYTES);
    outer.set(sha256(inner), SHA256_BLOCK_BYTES);
    return sha256(outer);
  };
}

/** HMAC-SHA-256 of the parts, one after the other. */
export function hmac(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return mac.digest();
}

/** Compares in a time that does not depend on where the difference is. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** Whether `text` is exactly `lengthBytes` in lower-case hexadecimal. */
export function isHex(text: string, lengthBytes: number): boolean {
  return text.length === lengthBytes * 2 && /^[0-9a-f]*$/.test(text);
}

/** Undefined unless `text` is exactly `lengthBytes` in lower-case hexadecimal. */
export function fromHex(text: string, lengthBytes: number): Uint8Array | undefined {
  if (!isHex(text, lengthBytes)) return undefined;
  return new Uint8Array(Buffer.from(text, 'hex'));
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0;
}
