/** Goal: requests survive the wire however it is cut, and nothing else is taken for one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { COMMAND_WRITE, FLAG_PAYLOAD_LENGTH } from './constants.ts';
import {
  ADMIT,
  emptyRequest,
  getRequest,
  HANG_UP,
  payloadBytes,
  putRequest,
  type Request,
  RequestDecoder,
  type RequestSink,
  requestBytes,
  SKIP,
  WAIT,
} from './request-codec.ts';
import { SlabPool } from './slabs.ts';

const plain = { noNullPrototype: true } as const;

const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffffffff);
const requests = fc.record(
  {
    flags: u16,
    command: fc.oneof(fc.nat(8), u16),
    cookieHigh: u32,
    cookieLow: u32,
    offsetBytes: fc.maxSafeNat(),
    lengthBytes: u32,
  },
  plain,
);

test('a header is read as it was written, in both lengths', () => {
  fc.assert(
    fc.property(requests, fc.boolean(), fc.nat(9), (request, extended, at) => {
      const bytes = new Uint8Array(64);
      const end = putRequest(bytes, at, request, extended);
      assert.equal(end, at + requestBytes(extended));
      const read = emptyRequest();
      assert.ok(getRequest(bytes, at, read, extended));
      assert.deepEqual(read, request);
      assert.ok(!getRequest(bytes, at, read, !extended));
    }),
  );
});

type Seen = { request: Request; payload: string | undefined };

/** Admits as told by `verdicts`, and remembers what it was given. */
class Recorder implements RequestSink {
  readonly seen: Seen[] = [];
  readonly pool = new SlabPool();
  readonly #verdict: (request: Request, count: number) => number;
  badMagics = 0;
  #asked = 0;

  constructor(verdict: (request: Request, count: number) => number = () => ADMIT) {
    this.#verdict = verdict;
  }

  admit(request: Request): number {
    this.#asked += 1;
    return this.#verdict(request, this.#asked);
  }

  onRequest(...[request, payload, slab]: Parameters<RequestSink['onRequest']>): void {
    const text = payload === undefined ? undefined : Buffer.from(payload).toString('hex');
    this.seen.push({ request: { ...request }, payload: text });
    if (slab !== undefined) this.pool.release(slab);
  }

  onBadMagic(): void {
    this.badMagics += 1;
  }
}

const streams = fc
  .tuple(fc.boolean(), fc.array(fc.tuple(requests, fc.nat(300)), { maxLength: 12 }))
  .map(([extended, list]) => {
    const parts: Uint8Array[] = [];
    const expected: Seen[] = [];
    list.forEach(([drawn, size], index) => {
      const isWrite = index % 2 === 0;
      const command = isWrite ? COMMAND_WRITE : drawn.command === 1 ? 0 : drawn.command;
      const flags = isWrite
        ? drawn.flags | FLAG_PAYLOAD_LENGTH
        : drawn.flags & ~FLAG_PAYLOAD_LENGTH;
      const request = { ...drawn, command, flags, lengthBytes: isWrite ? size : drawn.lengthBytes };
      const header = new Uint8Array(requestBytes(extended));
      putRequest(header, 0, request, extended);
      const data = Buffer.alloc(payloadBytes(request, extended), index + 1);
      parts.push(header, data);
      const payload = data.byteLength === 0 ? undefined : data.toString('hex');
      expected.push({ request, payload });
    });
    return { extended, bytes: Buffer.concat(parts), expected };
  });

/** Feeds `bytes` cut at random places, waiting and feeding again where the sink says so. */
function feedCut(decoder: RequestDecoder, bytes: Uint8Array, cuts: readonly number[]): void {
  let at = 0;
  for (const cut of [...cuts, bytes.byteLength]) {
    const end = Math.min(bytes.byteLength, at + cut);
    const lent = bytes.slice(at, end);
    let used = 0;
    for (let turn = 0; turn < 100 && (used < lent.byteLength || decoder.isParked); turn += 1) {
      used += decoder.feed(lent.subarray(used));
    }
    lent.fill(0xee); // What was lent is not looked at again.
    at = end;
  }
}

test('how the bytes are cut, and when the sink waits, changes nothing', () => {
  fc.assert(
    fc.property(
      streams,
      fc.array(fc.nat(200)),
      fc.integer({ min: 1, max: 4 }),
      ({ extended, bytes, expected }, cuts, patience) => {
        const sink = new Recorder((_, count) => (count % patience === 0 ? ADMIT : WAIT));
        const decoder = new RequestDecoder(extended, sink.pool, sink);
        feedCut(decoder, bytes, cuts);
        assert.deepEqual(sink.seen, expected);
        assert.equal(decoder.isMidway, false);
      },
    ),
  );
});

test('a payload that is read past is not taken for requests', () => {
  fc.assert(
    fc.property(streams, fc.array(fc.nat(200)), ({ extended, bytes, expected }, cuts) => {
      const sink = new Recorder(() => SKIP);
      feedCut(new RequestDecoder(extended, sink.pool, sink), bytes, cuts);
      assert.deepEqual(
        sink.seen,
        expected.map(({ request }) => ({ request, payload: undefined })),
      );
    }),
  );
});

test('after a wrong magic number, or a hang-up, nothing more is delivered', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 28, maxLength: 200 }), (garbage) => {
      garbage[0] = 0;
      const sink = new Recorder();
      const decoder = new RequestDecoder(false, sink.pool, sink);
      assert.equal(decoder.feed(garbage), garbage.byteLength);
      assert.equal(decoder.feed(garbage), garbage.byteLength);
      assert.deepEqual([sink.seen.length, sink.badMagics], [0, 1]);
    }),
  );
  const sink = new Recorder(() => HANG_UP);
  const decoder = new RequestDecoder(false, sink.pool, sink);
  const header = new Uint8Array(28);
  putRequest(header, 0, emptyRequest(), false);
  decoder.feed(header);
  decoder.feed(header);
  assert.equal(sink.seen.length, 0);
});
