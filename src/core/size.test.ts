/** Goal: sizes mean what people expect, and nothing else is taken for one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSize } from './size.ts';

test('units are powers of 1024, in any case, with or without iB or B', () => {
  assert.equal(parseSize('0'), 0);
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseSize('512B'), 512);
  assert.equal(parseSize('512M'), 512 * 2 ** 20);
  assert.equal(parseSize('64kib'), 65536);
  assert.equal(parseSize('64KB'), 65536);
  assert.equal(parseSize('1t'), 2 ** 40);
  assert.equal(parseSize('7P'), 7 * 2 ** 50);
});

test('a fraction is fine if the bytes are whole', () => {
  assert.equal(parseSize('1.5GiB'), 1.5 * 2 ** 30);
  assert.equal(parseSize('0.0009765625K'), undefined, 'more than nine decimals');
  assert.equal(parseSize('0.5K'), 512);
  assert.equal(parseSize('1.5'), undefined);
});

test('a space around, or before the unit, does not matter', () => {
  assert.equal(parseSize(' 64K '), 65536);
  assert.equal(parseSize('1 TiB'), 2 ** 40);
});

test('what is no size, or too large for an exact number, is none', () => {
  const others = [
    '',
    'M',
    '-1',
    '+1',
    '1e3',
    '0x10',
    '1X',
    '64 Q',
    '1  M',
    '1_000',
    '1,5K',
    'lots',
  ];
  for (const text of [...others, '8P', '9007199254740992']) {
    assert.equal(parseSize(text), undefined, text);
  }
});

test('every safe integer is its own size', () => {
  fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(String(bytes)), bytes)));
});
