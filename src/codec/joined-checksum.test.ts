/** Goal: checksums of parts come to that of the whole, and the other way round. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32 } from '../core/index.ts';
import { joinedChecksum, restChecksum } from './joined-checksum.ts';

test('what parts come to is what reading all of it gives', () =>
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 3000 }), (a, b) => {
      const whole = crc32(b, crc32(a));
      assert.equal(joinedChecksum(crc32(a), crc32(b), b.byteLength), whole);
      assert.equal(restChecksum(crc32(a), whole, b.byteLength), crc32(b));
    }),
  ));

test('long parts too, of each length around a power of two', () => {
  const first = Uint8Array.from([1, 2, 3]);
  const second = new Uint8Array(2 ** 20 + 1).map((_, at) => (at * at) % 253);
  for (let length = 1; length <= 2 ** 20; length *= 2) {
    for (const lengthBytes of [length - 1, length, length + 1]) {
      const part = second.subarray(0, lengthBytes);
      const joined = joinedChecksum(crc32(first), crc32(part), lengthBytes);
      assert.equal(joined, crc32(part, crc32(first)), `${lengthBytes} bytes`);
    }
  }
});
