/** Goal: requests are decoded exactly or not at all; replies are laid out as in linux/fuse.h. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeRequest,
  encodeAttributes,
  encodeDirectory,
  encodeEntry,
  encodeFileSystem,
  encodeInit,
  encodeOffset,
  encodeOpened,
  encodeStatus,
  encodeWritten,
  uniqueOf,
} from './fuse-codec.ts';
import { OP_FALLOCATE, OP_INIT, OP_LOOKUP, OP_LSEEK, OP_READ, OP_WRITE } from './fuse-constants.ts';
import { requestBytes } from './fuse-request.fixture.ts';

const to = { uniqueLow: 0x11223344, uniqueHigh: 0x55667788 };

test('a request that a kernel really sent is understood', () => {
  const bytes = Buffer.from(
    `680000001a0000000200000000000000${'00'.repeat(24)}` +
      `070000002d00000000000200fbffff73fd050000${'00'.repeat(44)}`,
    'hex',
  );
  const request = decodeRequest(bytes)!;
  assert.equal(request.opcode, OP_INIT);
  assert.deepEqual([request.uniqueLow, request.uniqueHigh, request.node], [2, 0, 0]);
  assert.deepEqual(request.version, { major: 7, minor: 45 });
  assert.equal(request.readAheadBytes, 128 * 1024);
  assert.equal(request.flags, 0x73fffffb);
});

test('a read, a write, an allocation and a seek come out as they went in', () => {
  const safe = fc.maxSafeNat();
  fc.assert(
    fc.property(safe, safe, fc.uint8Array({ maxLength: 300 }), (offsetBytes, node, payload) => {
      for (const opcode of [OP_READ, OP_WRITE, OP_FALLOCATE, OP_LSEEK]) {
        const wish = { opcode, node, offsetBytes, lengthBytes: payload.byteLength, payload, ...to };
        const request = decodeRequest(requestBytes({ ...wish, flags: 3 }))!;
        assert.equal(request.opcode, opcode);
        assert.equal(request.node, node);
        assert.equal(request.offsetBytes, offsetBytes);
        assert.deepEqual(uniqueOf(requestBytes(wish)), to);
        if (opcode !== OP_LSEEK) assert.equal(request.lengthBytes, payload.byteLength);
        if (opcode === OP_FALLOCATE || opcode === OP_LSEEK) assert.equal(request.flags, 3);
        if (opcode === OP_WRITE) assert.deepEqual([...request.payload], [...payload]);
      }
    }),
  );
});

test('bytes that are no whole request are refused, whatever they are, without an exception', () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  fc.assert(
    fc.property(bytes, fc.nat(60), fc.boolean(), (noise, opcode, isSized) => {
      const view = new DataView(noise.buffer, noise.byteOffset, noise.byteLength);
      if (isSized && noise.byteLength >= 8) {
        view.setUint32(0, noise.byteLength, true);
        view.setUint32(4, opcode, true);
      }
      const request = decodeRequest(noise);
      if (request === undefined) return;
      assert.equal(view.getUint32(0, true), noise.byteLength);
      assert.ok(noise.byteLength >= 40);
      assert.ok(request.payload.byteLength <= noise.byteLength - 40);
    }),
    { numRuns: 2000 },
  );
});

test('a request that is one byte too short or too long is refused', () => {
  for (const opcode of [OP_READ, OP_WRITE, OP_FALLOCATE, OP_LSEEK, OP_LOOKUP]) {
    const bytes = requestBytes({ opcode, lengthBytes: 8, payload: new Uint8Array(8), name: 'a' });
    assert.notEqual(decodeRequest(bytes), undefined);
    assert.equal(decodeRequest(bytes.subarray(0, -1)), undefined);
    assert.equal(decodeRequest(Buffer.concat([bytes, Uint8Array.of(0)])), undefined);
  }
  const lying = requestBytes({ opcode: OP_WRITE, lengthBytes: 9, payload: new Uint8Array(8) });
  assert.equal(decodeRequest(lying), undefined, 'the payload is shorter than it says');
  const openEnded = requestBytes({ opcode: OP_LOOKUP, name: 'ab' });
  openEnded[openEnded.byteLength - 1] = 65;
  assert.equal(decodeRequest(openEnded), undefined, 'a name without its end');
});

test('every reply begins with its length, its error and the number of its request', () => {
  const attributes = {
    ...{ node: 2, sizeBytes: 5 * 2 ** 40, mode: 0o100600, links: 1 },
    ...{ modifiedMs: 1_700_000_000_123, userId: 7, groupId: 8 },
  };
  const init = { readAheadBytes: 1, flags: 2, backgroundMax: 64, writeBytesMax: 1 << 20 };
  // The sizes of the structures in linux/fuse.h.
  const replies: readonly (readonly [Uint8Array, number, number])[] = [
    [encodeStatus(to, 5), 0, -5],
    [encodeInit(to, init), 64, 0],
    [encodeAttributes(to, attributes, 1), 104, 0],
    [encodeEntry(to, attributes, 1), 128, 0],
    [encodeOpened(to), 16, 0],
    [encodeWritten(to, 9), 8, 0],
    [encodeOffset(to, 2 ** 52 + 1), 8, 0],
    [encodeFileSystem(to, 4097), 80, 0],
  ];
  for (const [reply, bodyBytes, error] of replies) {
    const view = new DataView(reply.buffer, reply.byteOffset);
    assert.equal(reply.byteLength, 16 + bodyBytes);
    assert.equal(view.getUint32(0, true), reply.byteLength);
    assert.equal(view.getInt32(4, true), error);
    assert.deepEqual(uniqueOf(reply), to);
  }
  const entry = new DataView(encodeEntry(to, attributes, 1).buffer, 16);
  assert.equal(entry.getBigUint64(48, true), BigInt(attributes.sizeBytes));
  assert.equal(entry.getBigUint64(64, true), 1_700_000_000n);
  assert.equal(entry.getUint32(40 + 48, true), 123_000_000);
  assert.equal(entry.getUint32(40 + 60, true), 0o100600);
  const offset = new DataView(encodeOffset(to, 2 ** 52 + 1).buffer, 16);
  assert.equal(offset.getBigUint64(0, true), 2n ** 52n + 1n);
});

test('a directory is listed in whole entries, and goes on where it stopped', () => {
  const names = ['.', '..', 'disk', 'ü'.repeat(100)];
  const entries = names.map((name, index) => ({ node: index + 1, type: 8, name }));
  fc.assert(
    fc.property(fc.integer({ min: 232, max: 4096 }), (lengthBytes) => {
      const found: string[] = [];
      for (let first = 0; ; ) {
        const reply = encodeDirectory(to, entries, first, lengthBytes);
        assert.ok(reply.byteLength <= 16 + lengthBytes);
        if (reply.byteLength === 16) break;
        const view = new DataView(reply.buffer);
        for (let at = 16; at < reply.byteLength; ) {
          const nameBytes = view.getUint32(at + 16, true);
          found.push(new TextDecoder().decode(reply.subarray(at + 24, at + 24 + nameBytes)));
          first = view.getUint32(at + 8, true);
          at += Math.ceil((24 + nameBytes) / 8) * 8;
        }
      }
      assert.deepEqual(found, names);
    }),
  );
});
