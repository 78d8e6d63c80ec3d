/** Tells bytes that were cut or mixed up on their way from what was written, by checksums alone. */
import { crc32 } from '../core/index.ts';
import { MAGIC } from './envelope.ts';
import { PACK_FOOTER_BYTES } from './pack-file.ts';

/** `FRAM`, little-endian; docs/format.md, Frames. */
const FRAME_MAGIC = 0x4d415246;
const FRAME_HEAD_BYTES = 12;
const ENVELOPE_BYTES_MIN = 20;

/** Undefined where nothing in the bytes tells. */
export function isWhole(key: string, bytes: Uint8Array): boolean | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (key.startsWith('index/')) return isEnvelope(view, bytes);
  if (!key.startsWith('packs/') || bytes.byteLength < PACK_FOOTER_BYTES) return undefined;
  if (view.getUint32(0, true) === FRAME_MAGIC) {
    const lengthBytes = view.getUint32(8, true);
    // A range that begins like a frame and is none: the end of a pack, or a piece of one.
    if (bytes.byteLength < FRAME_HEAD_BYTES || lengthBytes !== bytes.byteLength) {
      return isTail(view, bytes);
    }
    return crc32(bytes.subarray(8)) === view.getUint32(4, true);
  }
  return isTail(view, bytes);
}

function isEnvelope(view: DataView, bytes: Uint8Array): boolean {
  if (bytes.byteLength < ENVELOPE_BYTES_MIN || view.getUint32(0, true) !== MAGIC) return false;
  const end = bytes.byteLength - 4;
  return crc32(bytes.subarray(0, end)) === view.getUint32(end, true);
}

/** Table and footer, and maybe some of the frames before; those are not verified here. */
function isTail(view: DataView, bytes: Uint8Array): boolean | undefined {
  const footer = bytes.byteLength - PACK_FOOTER_BYTES;
  if (view.getUint32(footer + 24, true) !== MAGIC) return undefined;
  if (crc32(bytes.subarray(footer, footer + 20)) !== view.getUint32(footer + 20, true))
    return false;
  const storedBytes = view.getUint32(footer + 8, true);
  if (storedBytes > footer) return undefined;
  const table = bytes.subarray(footer - storedBytes, footer);
  return crc32(table) === view.getUint32(footer + 16, true);
}
