/**
 * The two signatures by which stored bytes are known, over their plain form: SHA-256 and CRC-32. An
 * encrypted repository stores both under keys, so that they tell nothing to whoever only stores
 * them: the id is an HMAC of the SHA-256, the CRC-32 is masked with an HMAC of that id.
 */
import { crc32, equalBytes, SHA256_BYTES, sha256, shortHmac } from '../core/index.ts';

/** 32 bytes each. Whoever has them can test a guess of the content against an id. */
export type Signing = { readonly idKey: Uint8Array; readonly checksumKey: Uint8Array };

export type Signatures = {
  readonly id: Uint8Array;
  readonly checksum: number;
  /** The plain SHA-256. */
  readonly hash: Uint8Array;
};

export type Signer = {
  /** The id of content with this SHA-256. */
  idOf(hash: Uint8Array): Uint8Array;
  /** The checksum of content with this id. */
  checksumOf(bytes: Uint8Array, id: Uint8Array): number;
  sign(bytes: Uint8Array): Signatures;
  /** Whether the bytes have this id: nobody makes others that have. */
  hasId(bytes: Uint8Array, id: Uint8Array): boolean;
  /** Whether the bytes have both signatures. */
  matches(bytes: Uint8Array, id: Uint8Array, checksum: number): boolean;
};

/** Without keys the id is the SHA-256 itself, and the checksum the CRC-32. */
export function signer(signing: Signing | undefined): Signer {
  if (signing === undefined) return plainSigner;
  const idOf = shortHmac(signing.idKey, SHA256_BYTES);
  const maskOf = shortHmac(signing.checksumKey, SHA256_BYTES);
  const masked = (bytes: Uint8Array, id: Uint8Array) =>
    (crc32(bytes) ^ firstWord(maskOf(id))) >>> 0;
  const hasId = (bytes: Uint8Array, id: Uint8Array) => equalBytes(idOf(sha256(bytes)), id);
  return {
    idOf,
    hasId,
    checksumOf: masked,
    sign(bytes) {
      const hash = sha256(bytes);
      const id = idOf(hash);
      return { id, checksum: masked(bytes, id), hash };
    },
    matches: (bytes, id, checksum) => masked(bytes, id) === checksum && hasId(bytes, id),
  };
}

const plainSigner: Signer = {
  idOf: (hash) => hash,
  hasId: (bytes, id) => equalBytes(sha256(bytes), id),
  checksumOf: (bytes) => crc32(bytes),
  sign(bytes) {
    const hash = sha256(bytes);
    return { id: hash, checksum: crc32(bytes), hash };
  },
  // The cheap one is looked at first.
  matches: (bytes, id, checksum) => crc32(bytes) === checksum && equalBytes(sha256(bytes), id),
};

function firstWord(bytes: Uint8Array): number {
  return bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24);
}
