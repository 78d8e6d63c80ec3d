/** The zero test: is a range nothing but zero bytes? */

const zeroes = Buffer.alloc(64 * 1024);

/** Compares in the C library, at memory speed; stops at the first block that differs. */
export function isZero(bytes: Uint8Array): boolean {
  // Most data differs in its first bytes: looking at them first spares the call.
  const head = Math.min(16, bytes.byteLength);
  for (let at = 0; at < head; at++) if (bytes[at] !== 0) return false;
  for (let at = head; at < bytes.byteLength; at += zeroes.byteLength) {
    const end = Math.min(bytes.byteLength, at + zeroes.byteLength);
    if (zeroes.compare(bytes, at, end, 0, end - at) !== 0) return false;
  }
  return true;
}

/** Margins are looked at in steps of a disk sector. */
const MARGIN_STEP_BYTES = 512;

/** The part between the zero margins: `bytes.subarray(from, to)` is all that is not zero. */
export function withoutZeroMargins(bytes: Uint8Array): { from: number; to: number } {
  let from = 0;
  let to = bytes.byteLength;
  while (from + MARGIN_STEP_BYTES <= to) {
    if (!isZero(bytes.subarray(from, from + MARGIN_STEP_BYTES))) break;
    from += MARGIN_STEP_BYTES;
  }
  while (to - MARGIN_STEP_BYTES >= from) {
    if (!isZero(bytes.subarray(to - MARGIN_STEP_BYTES, to))) break;
    to -= MARGIN_STEP_BYTES;
  }
  return { from, to };
}
