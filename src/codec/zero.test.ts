/** Goal: the zero test and the compressibility probe say what a look at every byte says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { looksIncompressible } from './probe.ts';
import { isZero, withoutZeroMargins } from './zero.ts';

test('zeroes are zero, at every length around the block of comparison', () => {
  for (const length of [0, 1, 15, 16, 17, 4096, 65535, 65536, 65537, 131072, 200_000]) {
    assert.equal(isZero(new Uint8Array(length)), true, `${length}`);
  }
});

test('one byte that is not zero is found wherever it is', () => {
  for (const length of [1, 16, 17, 65536, 65537, 131_089]) {
    const bytes = new Uint8Array(length);
    for (const at of [0, 1, 15, 16, 17, 4095, 65535, 65536, 65551, 131_072, length - 1]) {
      if (at >= length) continue;
      bytes[at] = 1;
      assert.equal(isZero(bytes), false, `${at} of ${length}`);
      bytes[at] = 0;
    }
  }
});

test('a view into other bytes is judged by itself', () => {
  const bytes = new Uint8Array(100_000).fill(1);
  bytes.fill(0, 10, 90_000);
  assert.equal(isZero(bytes.subarray(10, 90_000)), true);
  assert.equal(isZero(bytes.subarray(9, 90_000)), false);
  assert.equal(isZero(bytes.subarray(10, 90_001)), false);
});

test('random bytes look incompressible; text, zeroes and short pieces do not', () => {
  const random = new Uint8Array(65536);
  let state = 7;
  for (let at = 0; at < random.byteLength; at++) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + at;
    random[at] = state >>> 21;
  }
  assert.equal(looksIncompressible(random), true);
  assert.equal(looksIncompressible(random.subarray(0, 4095)), false);
  assert.equal(looksIncompressible(new Uint8Array(65536)), false);
  const text = Buffer.from('all kinds of words, and some more of them. '.repeat(2000));
  assert.equal(looksIncompressible(text), false);
});

test('what lies outside the part without zero margins is zero, and the part is short', () => {
  for (const length of [0, 1, 511, 512, 513, 4096, 65536, 65537]) {
    for (const [first, last] of [
      [0, length - 1],
      [length >> 1, length >> 1],
      [600, 700],
      [length - 1, length - 1],
    ] as const) {
      const bytes = new Uint8Array(length);
      if (first < length) bytes[first] = 1;
      if (last >= 0 && last < length) bytes[last] = 1;
      const { from, to } = withoutZeroMargins(bytes);
      assert(from >= 0 && from <= to && to <= length);
      assert(isZero(bytes.subarray(0, from)) && isZero(bytes.subarray(to)));
      if (last < length) assert(to - from <= last - first + 1 + 2 * 512);
    }
  }
});
