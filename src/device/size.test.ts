/** Goal: sizes mean what people expect, and nothing else is taken for one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSize } from './size.ts';

test('units are powers of 1024', () => {
  assert.equal(parseSize('0'), 0);
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseSize('512M'), 512 * 2 ** 20);
  assert.equal(parseSize('1.5GiB'), 1.5 * 2 ** 30);
  assert.equal(parseSize('1t'), 2 ** 40);
  assert.equal(parseSize('64KB'), 65536);
  assert.equal(parseSize('7P'), 7 * 2 ** 50);
});

test('what is no size is refused with a hint', () => {
  for (const text of [
    '',
    'M',
    '-1',
    '1e3',
    '0x10',
    '1.5',
    '8P',
    '1X',
    ' 1',
    '1 M',
    '9007199254740992',
  ]) {
    assert.throws(() => parseSize(text), { code: 'DEVICE_SIZE' }, text);
  }
});

test('every safe integer is its own size', () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(String(bytes)), bytes)));
});
