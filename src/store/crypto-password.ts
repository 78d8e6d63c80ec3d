/** Wraps the master key under a password: scrypt (RFC 7914), then AES-256-GCM. */
import { createCipheriv, createDecipheriv, scryptSync } from 'node:crypto';
import { FormatError } from '../core/index.ts';
import { KDF_MEMORY_BYTES_MAX, KDF_STEPS_MAX } from './limits.ts';

/** N = 2^logN, as RFC 7914 names its parameters. */
export type KdfParameters = { readonly logN: number; readonly r: number; readonly p: number };

/** 64 MiB and about a third of a second: what a guess costs too. */
export const defaultKdf: KdfParameters = { logN: 16, r: 8, p: 2 };

export const KDF_SALT_BYTES = 32;
const KEY_BYTES = 32;
const TAG_BYTES = 16;

/** Each salt gives another key, which is used once: the nonce may be the same. */
const NONCE = new Uint8Array(12);

export type Wrapping = {
  readonly kdf: KdfParameters;
  readonly salt: Uint8Array;
  /** Authenticated with the wrapped key: whose it is. */
  readonly bound: Uint8Array;
};

/** FormatError if deriving with these would cost more than any honest writer asks for. */
export function checkKdf({ logN, r, p }: KdfParameters): void {
  const steps = 2 ** logN * r * p;
  // As OpenSSL counts it: two blocks more than RFC 7914 asks for.
  const memoryBytes = 128 * r * (2 ** logN + p + 2);
  // RFC 7914 has no N of 2^(16 r) and more.
  const isLogN = logN >= 1 && logN <= 30 && logN < 16 * r;
  if (!isLogN || r < 1 || p < 1 || steps > KDF_STEPS_MAX) {
    throw new FormatError(`scrypt with 2^${logN}, ${r}, ${p} is beyond the limit`);
  }
  if (memoryBytes > KDF_MEMORY_BYTES_MAX) {
    throw new FormatError(`scrypt would take ${memoryBytes} bytes of memory`);
  }
}

export function wrapKey(master: Uint8Array, password: string, wrapping: Wrapping): Uint8Array {
  const cipher = createCipheriv('aes-256-gcm', derive(password, wrapping), NONCE);
  cipher.setAAD(wrapping.bound);
  const ciphertext = cipher.update(master);
  cipher.final();
  return new Uint8Array(Buffer.concat([ciphertext, cipher.getAuthTag()]));
}

/** Undefined if the password is another one, or the bytes are not what was wrapped. */
export function unwrapKey(
  wrapped: Uint8Array,
  password: string,
  wrapping: Wrapping,
): Uint8Array | undefined {
  const decipher = createDecipheriv('aes-256-gcm', derive(password, wrapping), NONCE);
  decipher.setAAD(wrapping.bound);
  decipher.setAuthTag(wrapped.subarray(-TAG_BYTES));
  const master = decipher.update(wrapped.subarray(0, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return new Uint8Array(master);
}

/** Keyboards spell one letter in several ways: the composed form (NFC) counts. */
function derive(password: string, { kdf, salt }: Wrapping): Uint8Array {
  checkKdf(kdf);
  const { logN, r, p } = kdf;
  const maxmem = KDF_MEMORY_BYTES_MAX + 1024 * 1024;
  return scryptSync(password.normalize('NFC'), salt, KEY_BYTES, { N: 2 ** logN, r, p, maxmem });
}
