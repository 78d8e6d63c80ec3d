/** Goal: option data survives the wire; data whose lengths do not fit exactly is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeContext,
  decodeInfoRequest,
  decodeMetaRequest,
  decodeServerName,
  encodeContext,
  encodeInfoRequest,
  encodeMetaRequest,
  encodeServerName,
  nameOf,
} from './option-codec.ts';

const plain = { noNullPrototype: true } as const;

const text = fc.string({ unit: 'grapheme', maxLength: 60 }).filter((s) => !s.includes('\0'));
const infoRequests = fc.record({ name: text, infos: fc.array(fc.nat(0xffff)) }, plain);
const metaRequests = fc.record({ name: text, queries: fc.array(text, { maxLength: 20 }) }, plain);

test('info and meta requests are read as they were written', () => {
  fc.assert(
    fc.property(infoRequests, metaRequests, (info, meta) => {
      assert.deepEqual(decodeInfoRequest(encodeInfoRequest(info)), info);
      assert.deepEqual(decodeMetaRequest(encodeMetaRequest(meta)), meta);
    }),
  );
});

test('names and contexts are read as they were written', () => {
  fc.assert(
    fc.property(text, fc.nat(0xffffffff), (name, id) => {
      assert.equal(decodeServerName(encodeServerName(name)), name);
      if (name !== '') assert.deepEqual(decodeContext(encodeContext(id, name)), { id, name });
    }),
  );
});

test('one byte more or less is refused', () => {
  fc.assert(
    fc.property(infoRequests, metaRequests, (info, meta) => {
      for (const [bytes, decode] of [
        [encodeInfoRequest(info), decodeInfoRequest],
        [encodeMetaRequest(meta), decodeMetaRequest],
      ] as const) {
        assert.equal(decode(bytes.subarray(0, -1)), undefined);
        assert.equal(decode(Uint8Array.from([...bytes, 0])), undefined);
      }
    }),
  );
});

test('any bytes decode to something or to undefined, without a throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeInfoRequest(bytes);
      decodeMetaRequest(bytes);
      decodeServerName(bytes);
      decodeContext(bytes);
    }),
  );
});

test('names are UTF-8 of at most 4,096 bytes without a zero', () => {
  assert.equal(nameOf(Buffer.from('é')), 'é');
  assert.equal(nameOf(Buffer.alloc(4096, 'x'))?.length, 4096);
  assert.equal(nameOf(Buffer.alloc(4097, 'x')), undefined);
  assert.equal(nameOf(Uint8Array.of(0xff)), undefined);
  assert.equal(nameOf(Uint8Array.of(65, 0, 66)), undefined);
});

test('more queries than the limit are refused, as is a count without queries', () => {
  const queries = Array.from({ length: 65 }, () => 'a');
  assert.equal(decodeMetaRequest(encodeMetaRequest({ name: '', queries })), undefined);
  assert.equal(decodeMetaRequest(Uint8Array.of(0, 0, 0, 0, 255, 255, 255, 255)), undefined);
});
