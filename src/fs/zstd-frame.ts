/** How long a zstd frame is (RFC 8878, section 3.1.1): what follows it in a cluster is no frame. */
import { damaged } from './errors.ts';

const MAGIC = 0xfd2fb528;
/** Bytes of the frame content size by the two bits of the flag. */
const SIZE_BYTES = [0, 2, 4, 8] as const;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;

/** The length of the frame at the beginning of `bytes`; bounded by them. */
export function zstdFrameBytes(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < 6 || view.getUint32(0, true) !== MAGIC) throw damaged('no zstd frame');
  const descriptor = bytes[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >>> 6;
  const sizeBytes = sizeFlag === 0 && isSingleSegment ? 1 : SIZE_BYTES[sizeFlag]!;
  let at = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_BYTES[descriptor & 3]! + sizeBytes;
  for (;;) {
    if (at + 3 > bytes.byteLength) throw damaged('a zstd frame without an end');
    const head = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    const type = (head >>> 1) & 3;
    if (type === BLOCK_RESERVED) throw damaged('a zstd block of an unknown type');
    at += 3 + (type === BLOCK_RLE ? 1 : head >>> 3);
    if ((head & 1) !== 0) break;
  }
  const end = at + ((descriptor & 4) !== 0 ? 4 : 0);
  if (end > bytes.byteLength) throw damaged('a zstd frame without an end');
  return end;
}
