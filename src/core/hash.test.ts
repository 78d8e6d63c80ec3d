/** Goal: the signatures are the published ones, and hexadecimal text is strict. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, equalBytes, fromHex, SHA256_BYTES, sha256, toHex } from './hash.ts';

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

test('SHA-256 and CRC-32 give the values of their specifications', () => {
  assert.equal(
    toHex(sha256(text('abc'))), // FIPS 180-4, example of one block.
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
  assert.equal(crc32(text('123456789')), 0xcbf43926); // The check value of CRC-32/ISO-HDLC.
  assert.equal(crc32(text('6789'), crc32(text('12345'))), 0xcbf43926);
});

test('only exact lower-case hexadecimal of the right length is taken', () => {
  const bytes = sha256(text(''));
  assert.deepEqual(fromHex(toHex(bytes), SHA256_BYTES), new Uint8Array(bytes));
  assert.equal(fromHex(toHex(bytes).toUpperCase(), SHA256_BYTES), undefined);
  assert.equal(fromHex(toHex(bytes).slice(2), SHA256_BYTES), undefined);
  assert.equal(fromHex(`${toHex(bytes).slice(1)}g`, SHA256_BYTES), undefined);
});

test('bytes are equal by content and length', () => {
  assert.ok(equalBytes(text('ab'), text('ab')));
  assert.ok(!equalBytes(text('ab'), text('abc')));
  assert.ok(!equalBytes(text('ab'), text('aa')));
});
