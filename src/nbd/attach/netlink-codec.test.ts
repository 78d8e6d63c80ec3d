/** Goal: what the kernel gets is laid out as it wants it, and nothing that it says can break us. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  attribute,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  find,
  numberOf,
  sockets,
  u32,
  u64,
  words,
  wordsOf,
} from './netlink-codec.ts';

test('the request for a family is the one that other programs send', () => {
  const head = { type: 0x10, sequence: 1, command: 3 };
  const bytes = Buffer.from(encodeMessage(head, [words(2, 'nbd')]));
  assert.equal(
    bytes.toString('hex'),
    '1c0000001000050001000000000000000301000008000200' + '6e626400',
  );
});

test('sockets are nested twice, each with its descriptor', () => {
  const hex = Buffer.from(sockets([7, 300])).toString('hex');
  assert.equal(hex, '1c000780' + '0c0001800800010007000000' + '0c000180080001002c010000');
});

test('attributes come out as they went in, padding aside', () => {
  const one = fc.record({ type: fc.nat(0x3fff), value: fc.uint8Array({ maxLength: 40 }) });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 10 }), fc.nat(0xffff), (wanted, sequence) => {
      const head = { type: 30, sequence, command: 1 };
      const parts = wanted.map(({ type, value }) => attribute(type, value));
      const [message, ...more] = decodeMessages(encodeMessage(head, parts));
      assert.deepEqual(more, []);
      assert.equal(message!.sequence, sequence);
      const found = message!.attributes.map(({ type, value }) => ({ type, value: [...value] }));
      assert.deepEqual(
        found,
        wanted.map(({ type, value }) => ({ type, value: [...value] })),
      );
    }),
  );
});

test('numbers and names are read back; what is missing or of another kind is not', () => {
  const attributes = decodeAttributes(Buffer.concat([u32(1, 0xfffffffe), words(2, 'group')]));
  assert.equal(numberOf(find(attributes, 1)), 0xfffffffe);
  assert.equal(wordsOf(find(attributes, 2)), 'group');
  assert.equal(numberOf(find(attributes, 3)), undefined);
  assert.equal(numberOf(new Uint8Array(8)), undefined);
  assert.equal(Buffer.from(u64(1, 2 ** 40 + 5)).readBigUInt64LE(4), 2n ** 40n + 5n);
});

test('an acknowledgement has error 0, a refusal the number of its error', () => {
  const bytes = Buffer.alloc(36);
  bytes.writeUInt32LE(36, 0);
  bytes.writeUInt16LE(2, 4);
  bytes.writeUInt32LE(9, 8);
  assert.deepEqual(
    decodeMessages(bytes).map(({ error, sequence }) => [error, sequence]),
    [[0, 9]],
  );
  bytes.writeInt32LE(-16, 16);
  assert.equal(decodeMessages(bytes)[0]!.error, 16);
});

test('any bytes are decoded without an exception, inside their bounds', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), fc.boolean(), (noise, isSized) => {
      if (isSized && noise.byteLength >= 4) {
        new DataView(noise.buffer, noise.byteOffset).setUint32(0, noise.byteLength, true);
      }
      for (const { attributes } of decodeMessages(noise)) {
        let bytes = 0;
        for (const { value } of attributes) bytes += 4 + value.byteLength;
        assert.ok(bytes <= noise.byteLength);
      }
    }),
    { numRuns: 2000 },
  );
});
