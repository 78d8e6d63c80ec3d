/** How a patch names the content that it stands on. */
import { PARENT_REFERENCE_BYTES } from '../../codec/index.ts';
import { crc32, sha256 } from '../../core/index.ts';

/** CRC-32, and the beginning of the SHA-256: it finds, and proves nothing. */
export function referenceOf(bytes: Uint8Array): Uint8Array {
  const reference = new Uint8Array(PARENT_REFERENCE_BYTES);
  new DataView(reference.buffer).setUint32(0, crc32(bytes), true);
  reference.set(sha256(bytes).subarray(0, PARENT_REFERENCE_BYTES - 4), 4);
  return reference;
}
