/** Goal: messages come out as they went in, however the bytes were cut; lies are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hasCode } from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import { limitError } from './errors.ts';
import { HEADER_BYTES, type Header, putHeader } from './header.ts';
import { MessageDecoder } from './message-decoder.ts';

type Sent = { type: number; flags: number; priority: number; sequence: number; body: Uint8Array };

function encoded({ body, ...fields }: Sent): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.byteLength);
  putHeader(bytes, 0, { ...fields, bodyBytes: body.byteLength }, { parts: [body] });
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

function collector(bodyBytesMax = 2 ** 21) {
  const seen: Sent[] = [];
  const pool = new BufferPool();
  const decoder = new MessageDecoder(pool, {
    admit(header: Header) {
      if (header.bodyBytes > bodyBytesMax) throw limitError('too long');
      return header.type >= 16;
    },
    onMessage({ type, flags, priority, sequence }, body, buffer) {
      seen.push({ type, flags, priority, sequence, body: body.slice() });
      if (buffer !== undefined) pool.giveBack(buffer.fill(0xdb));
    },
  });
  return { seen, decoder };
}

const message = fc.record(
  {
    type: fc.nat(255),
    flags: fc.nat(3),
    priority: fc.nat(4),
    sequence: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    body: fc.uint8Array({ maxLength: 100 }),
  },
  { noNullPrototype: true },
);

test('what was sent comes out, whole, in order, however it was cut', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 20 }), cuts, (messages, sizes) => {
      const bytes = Buffer.concat(messages.map(encoded));
      const { seen, decoder } = collector();
      for (let at = 0, turn = 0; at < bytes.byteLength; turn += 1) {
        const view = Uint8Array.from(bytes.subarray(at, at + sizes[turn % sizes.length]!));
        at += view.byteLength;
        decoder.feed(view);
        view.fill(0xee);
      }
      assert.deepEqual(seen, messages);
      assert.equal(decoder.isMidway, false);
    }),
  );
});

test('a flipped bit anywhere is noticed before anything is delivered', () => {
  const bytes = encoded({
    ...{ type: 17, flags: 0, priority: 2, sequence: 5 },
    body: Uint8Array.of(1, 2, 3, 4, 5),
  });
  for (let bit = 0; bit < 8 * bytes.byteLength; bit += 1) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    const { seen, decoder } = collector();
    try {
      decoder.feed(damaged);
      assert.ok(decoder.isMidway, 'a longer body is waited for');
    } catch (error) {
      assert.ok(hasCode(error, 'WIRE_FORMAT') || hasCode(error, 'WIRE_LIMIT'), String(error));
    }
    assert.deepEqual(seen, []);
  }
});

test('a length beyond the limit is refused with the header, before memory is taken', () => {
  const bytes = encoded({
    type: 17,
    flags: 0,
    priority: 2,
    sequence: 1,
    body: new Uint8Array(101),
  });
  const { decoder } = collector(100);
  assert.throws(
    () => decoder.feed(bytes.subarray(0, HEADER_BYTES)),
    (error) => hasCode(error, 'WIRE_LIMIT'),
  );
});

test('a header has its golden bytes', () => {
  const bytes = new Uint8Array(HEADER_BYTES);
  const header = { type: 17, flags: 1, priority: 2, sequence: 2 ** 33 + 5, bodyBytes: 3 };
  putHeader(bytes, 0, header, { parts: [Uint8Array.of(1), Uint8Array.of(2, 3)] });
  assert.equal(Buffer.from(bytes).toString('hex'), '38bba13503000000110102000500000002000000');
});
