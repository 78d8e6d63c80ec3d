/**
 * Sealed frames: AES-256-GCM under the key of their pack, their number in it as nonce. A part may
 * stay in clear, for a host that has no key; it is authenticated all the same.
 */
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { ByteReader, FormatError } from '../core/index.ts';
import { damaged } from './errors.ts';
import { FRAME_STORED_MAX } from './limits.ts';

/** A pack's random id, and the key that is derived from it. */
export type PackKey = { readonly packId: Uint8Array; readonly key: Uint8Array };

/** Which frame of which pack: no two frames have the same place, ever. */
export type FramePlace = { readonly pack: PackKey; readonly number: number };

/** `FRSL`, little-endian. */
const MAGIC = 0x4c535246;
const HEAD_BYTES = 12;
const TAG_BYTES = 16;
const NONCE_BYTES = 12;

/** What sealing adds to a frame. */
export const FRAME_SEAL_BYTES = HEAD_BYTES + TAG_BYTES;

/** Where the part in clear begins. */
export const FRAME_SEAL_AT = HEAD_BYTES;

/** The first word of a nonce keeps what one pack key seals apart. */
export const NONCE_FRAME = 0;
export const NONCE_TABLE = 1;

/**
 * Seals in place: `target` holds, from FRAME_SEAL_AT on, `clearBytes` that stay as they are and
 * `secretBytes` that become ciphertext. Returns the length of the whole. Once per place.
 */
export function sealFrame(
  target: Uint8Array,
  { clearBytes, secretBytes }: { clearBytes: number; secretBytes: number },
  { pack, number }: FramePlace,
): number {
  const secretAt = HEAD_BYTES + clearBytes;
  const end = secretAt + secretBytes;
  const length = end + TAG_BYTES;
  assert(length <= target.byteLength && length <= FRAME_STORED_MAX + FRAME_SEAL_BYTES);
  const head = new DataView(target.buffer, target.byteOffset, HEAD_BYTES);
  head.setUint32(0, MAGIC, true);
  head.setUint32(4, length, true);
  head.setUint32(8, clearBytes, true);
  const cipher = createCipheriv('aes-256-gcm', pack.key, nonceOf(NONCE_FRAME, number));
  cipher.setAAD(boundTo(pack, target.subarray(0, secretAt)));
  target.set(cipher.update(target.subarray(secretAt, end)), secretAt);
  cipher.final();
  target.set(cipher.getAuthTag(), end);
  return length;
}

/** The two parts; the clear one is a view of `bytes`. CODEC_DAMAGED unless all of it is genuine. */
export function openFrame(
  bytes: Uint8Array,
  { pack, number }: FramePlace,
): { clear: Uint8Array; secret: Uint8Array } {
  const { clear, secretAt, end } = partsOf(bytes);
  const decipher = createDecipheriv('aes-256-gcm', pack.key, nonceOf(NONCE_FRAME, number));
  decipher.setAAD(boundTo(pack, bytes.subarray(0, secretAt)));
  decipher.setAuthTag(bytes.subarray(end, end + TAG_BYTES));
  const secret = decipher.update(bytes.subarray(secretAt, end));
  try {
    decipher.final();
  } catch {
    // What OpenSSL says of it says nothing more.
    throw damaged('a frame is not what was sealed there');
  }
  return { clear, secret };
}

/** The part in clear, as whoever has no key sees it: nothing proves it. */
export function clearPart(bytes: Uint8Array): Uint8Array {
  return partsOf(bytes).clear;
}

function partsOf(bytes: Uint8Array): { clear: Uint8Array; secretAt: number; end: number } {
  try {
    const reader = new ByteReader(bytes);
    if (reader.u32() !== MAGIC) throw new FormatError('no sealed frame begins here');
    const length = reader.u32();
    if (length !== bytes.byteLength || length > FRAME_STORED_MAX + FRAME_SEAL_BYTES) {
      throw new FormatError(`it declares ${length} bytes, ${bytes.byteLength} are there`);
    }
    const end = length - TAG_BYTES;
    const clearBytes = reader.u32();
    const secretAt = HEAD_BYTES + clearBytes;
    if (secretAt > end) throw new FormatError('its parts do not add up');
    return { clear: bytes.subarray(HEAD_BYTES, secretAt), secretAt, end };
  } catch (error) {
    if (error instanceof FormatError) throw damaged(`a frame does not parse: ${error.message}`);
    throw error;
  }
}

export function nonceOf(domain: number, number: number): Uint8Array {
  assert(Number.isSafeInteger(number) && number >= 0);
  const nonce = new Uint8Array(NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  view.setUint32(0, domain, true);
  view.setBigUint64(4, BigInt(number), true);
  return nonce;
}

/** The pack's id, then what stands in clear. */
function boundTo({ packId }: PackKey, clear: Uint8Array): Uint8Array {
  const bound = new Uint8Array(packId.byteLength + clear.byteLength);
  bound.set(packId);
  bound.set(clear, packId.byteLength);
  return bound;
}
