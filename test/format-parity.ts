/** Parity as docs/format.md describes it, for the reader that was written from there. */
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import { Cursor, hex, MAGIC, sha256 } from './format-bytes.ts';

const STRIPE = 4096;

/** In GF(2^8) with the polynomial 0x11d, by the definition. */
function times(a: number, b: number): number {
  let result = 0;
  for (let left = b; left > 0; left >>= 1) {
    if (left % 2 === 1) result ^= a;
    a = a < 128 ? a * 2 : (a * 2) ^ 0x11d;
  }
  return result;
}

function power(exponent: number): number {
  let result = 1;
  for (let left = exponent % 255; left > 0; left--) result = times(result, 2);
  return result;
}

/** Every byte of the object, and that all sums of its rows are zero. */
export function checkParity(object: Buffer, id: string, pack: Buffer): void {
  const trailer = new Cursor(object.subarray(-12));
  const headBytes = trailer.u32();
  assert.equal(trailer.u32(), crc32(object.subarray(-12, -8)));
  assert.equal(trailer.take(4).toString(), MAGIC);
  const head = object.subarray(0, headBytes);
  assert(head.equals(object.subarray(-12 - headBytes, -12)));
  const cursor = new Cursor(head);
  assert.equal(cursor.take(4).toString(), MAGIC);
  assert.deepEqual([cursor.u8(), cursor.u8(), cursor.u8(), cursor.u8()], [10, 1, 0, 0]);
  assert.equal(hex(cursor.take(32)), id);
  assert(cursor.take(32).equals(sha256(pack)));
  assert.equal(cursor.u64(), pack.length);
  assert.equal(cursor.u32(), STRIPE);
  const columns = cursor.u32();
  const [dataRows, parityRows] = [cursor.u8(), cursor.u8()];
  assert.deepEqual([cursor.u8(), cursor.u8()], [0, 0]);
  for (let at = 0; at < pack.length; at += STRIPE) {
    assert.equal(cursor.u32(), crc32(pack.subarray(at, at + STRIPE)));
  }
  const rowBytes = columns * STRIPE;
  const parity = object.subarray(headBytes, headBytes + parityRows * rowBytes);
  for (let at = 0; at < parity.length; at += STRIPE) {
    assert.equal(cursor.u32(), crc32(parity.subarray(at, at + STRIPE)));
  }
  assert.equal(cursor.u32(), crc32(head.subarray(0, -4)));
  assert.equal(cursor.left, 0);
  assert.equal(object.length, 2 * headBytes + parity.length + 12);
  const rows = Buffer.concat([pack, Buffer.alloc(dataRows * rowBytes - pack.length), parity]);
  const count = dataRows + parityRows;
  for (let j = 0; j < parityRows; j++) {
    const factors = Array.from({ length: count }, (_, row) => power(j * (count - 1 - row)));
    for (let at = 0; at < rowBytes; at++) {
      const sum = factors.reduce((all, f, row) => all ^ times(rows[row * rowBytes + at]!, f), 0);
      assert.equal(sum, 0, `column byte ${at}, sum ${j}`);
    }
  }
}
