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
