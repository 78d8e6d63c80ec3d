/** Goal: a message that goes in one piece of memory is the same, however often it is sent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../core/index.ts';
import { HEADER_BYTES } from './header.ts';
import { headerOf, wholeOf } from './message-stream.ts';
import { BLOCK_DATA } from './messages/index.ts';

test('header and body in one piece are those of a message in parts', () => {
  const memory = new Uint8Array(new SharedArrayBuffer(5_000)).fill(7);
  const body = memory.subarray(100, 4_000);
  const fields = { type: BLOCK_DATA, flags: 1, priority: 3, sequence: 2 ** 33 };
  const { type, flags, priority, sequence } = fields;
  const header = headerOf(type, flags, priority, sequence, { parts: [body] });
  for (const lastChecksum of [undefined, crc32(body)]) {
    const message = { ...fields, bodyBytes: body.byteLength, parts: [body], lastChecksum };
    assert.deepEqual(Buffer.from(wholeOf(message)), Buffer.concat([header, body]));
  }
  assert(
    memory.subarray(0, 100 - HEADER_BYTES).every((byte) => byte === 7),
    'before its room',
  );
});
