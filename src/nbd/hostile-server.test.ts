/** Goal: from a server that lies, the client takes an error, never wrong bytes, and never hangs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DeviceError } from '../device/index.ts';
import { putU16, putU32 } from './big-endian.ts';
import {
  CHUNK_BLOCK_STATUS,
  CHUNK_ERROR,
  CHUNK_NONE,
  CHUNK_OFFSET_DATA,
  CHUNK_OFFSET_HOLE,
  REPLY_ACK,
  REPLY_INFO,
} from './constants.ts';
import { MIB, type RawPeer } from './loopback.suite.ts';
import {
  chunk,
  data,
  errorPayload,
  flagsOfAll,
  hole,
  type Manner,
  nothing,
  simple,
  withServer,
} from './lying-server.suite.ts';
import { encodeExportInfo, greeting, optionReplyBytes } from './option-codec.ts';
import type { Request } from './request-codec.ts';

const ones = (lengthBytes: number) => new Uint8Array(lengthBytes).fill(1);
const more = { flags: 0 };

/** Answers to a read of 100 bytes at 1000 that must not succeed. */
const lies: Record<string, (peer: RawPeer, request: Request) => void> = {
  'leaves a gap': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(99)))),
  'leaves a gap in the middle': (peer, request) =>
    peer.send(
      chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(49)), more),
      chunk(request, CHUNK_OFFSET_DATA, data(1050, ones(50))),
    ),
  'sends nothing at all': (peer, request) => peer.send(chunk(request, CHUNK_NONE)),
  'sends a byte twice': (peer, request) =>
    peer.send(
      chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(51)), more),
      chunk(request, CHUNK_OFFSET_DATA, data(1050, ones(50))),
    ),
  'sends the end twice': (peer, request) =>
    peer.send(
      chunk(request, CHUNK_OFFSET_DATA, data(1050, ones(50)), more),
      chunk(request, CHUNK_OFFSET_DATA, data(1040, ones(50)), more),
    ),
  'sends what lies before': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_DATA, data(999, ones(100)))),
  'sends what lies behind': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_DATA, data(1001, ones(100)))),
  'sends a hole that is too long': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_HOLE, hole(1000, 101))),
  'sends a hole of 4 GiB': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_HOLE, hole(1000, 2 ** 32 - 1))),
  'sends an empty hole': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_HOLE, hole(1000, 0))),
  'announces 4 GiB of data': (peer, request) =>
    peer.send(chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(9)), { lengthBytes: 2 ** 32 - 1 })),
  'announces 4 GiB of error': (peer, request) =>
    peer.send(chunk(request, CHUNK_ERROR, nothing, { lengthBytes: 2 ** 32 - 1 })),
  'reports error 0': (peer, request) => peer.send(chunk(request, CHUNK_ERROR, errorPayload(0))),
  'reports an unknown error': (peer, request) =>
    peer.send(chunk(request, CHUNK_ERROR, errorPayload(12345, 'why not'))),
  'reports an error after all data': (peer, request) =>
    peer.send(
      chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(100)), more),
      chunk(request, CHUNK_ERROR, errorPayload(5)),
    ),
  'cuts its error text': (peer, request) => {
    const payload = errorPayload(5);
    putU16(payload, 4, 7);
    peer.send(chunk(request, CHUNK_ERROR, payload));
  },
  'answers with a simple reply after all': (peer, request) => peer.send(simple(request), ones(100)),
  'uses an unknown chunk': (peer, request) => peer.send(chunk(request, 77, ones(4))),
  'uses an unknown error chunk': (peer, request) =>
    peer.send(chunk(request, 0x8077, errorPayload(5))),
  'uses a wrong magic number': (peer) => peer.send(ones(100)),
  'answers another request': (peer, request) =>
    peer.send(chunk({ ...request, cookieLow: 99 }, CHUNK_OFFSET_DATA, data(1000, ones(100)))),
  'answers a former request': (peer, request) =>
    peer.send(chunk({ ...request, cookieHigh: 7 }, CHUNK_OFFSET_DATA, data(1000, ones(100)))),
  'answers with a status': (peer, request) =>
    peer.send(chunk(request, CHUNK_BLOCK_STATUS, ones(12))),
  'closes instead': (peer) => peer.stream.end(),
  'breaks off in the data': (peer, request) => {
    peer.send(chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(50)), { lengthBytes: 108 }));
    peer.stream.end();
  },
};

for (const [what, answer] of Object.entries(lies)) {
  test(`a read fails if the server ${what}`, () =>
    withServer({ answer }, async (open) => {
      const device = await open();
      const target = new Uint8Array(300).fill(9);
      await assert.rejects(async () => device.read(target.subarray(100, 200), 1000), DeviceError);
      assert.ok(
        target.subarray(0, 100).every((byte) => byte === 9),
        'before the target',
      );
      assert.ok(
        target.subarray(200).every((byte) => byte === 9),
        'behind the target',
      );
      await device[Symbol.asyncDispose]();
    }));
}

test('a read in pieces, out of order, with holes, is put together', () =>
  withServer(
    {
      answer: (peer, request) =>
        peer.send(
          chunk(request, CHUNK_OFFSET_DATA, data(1090, ones(10)), more),
          chunk(request, CHUNK_OFFSET_DATA, data(1000, ones(10)), more),
          chunk(request, CHUNK_OFFSET_HOLE, hole(1010, 80), more),
          chunk(request, CHUNK_NONE),
        ),
    },
    async (open) => {
      const device = await open();
      const target = new Uint8Array(100).fill(9);
      await device.read(target, 1000);
      assert.deepEqual([...target], [...ones(10), ...new Uint8Array(80), ...ones(10)]);
      await device[Symbol.asyncDispose]();
    },
  ));

test('a second answer to one request ends the connection', () =>
  withServer(
    { answer: (peer, request) => peer.send(simple(request), simple(request)) },
    async (open) => {
      const device = await open();
      await device.write(ones(10), 0, 0);
      await assert.rejects(async () => device.write(ones(10), 0, 0), DeviceError);
      await device[Symbol.asyncDispose]();
    },
  ));

function sizeInfo(high: number, low: number): Uint8Array {
  const bytes = encodeExportInfo(0, flagsOfAll);
  putU32(bytes, 2, high);
  putU32(bytes, 6, low);
  return bytes;
}

const badExports: Record<string, Manner> = {
  'a size of 2^53': { exportInfo: sizeInfo(0x200000, 0) },
  'a size of 2^63': { exportInfo: sizeInfo(0x80000000, 0) },
  'a size of 2^64-1': { exportInfo: sizeInfo(0xffffffff, 0xffffffff) },
  'no flags': { exportInfo: encodeExportInfo(MIB, 0) },
  'blocks of 0 bytes': {
    blockSizes: { minimumBytes: 0, preferredBytes: 4096, maximumBytes: MIB },
  },
  'blocks of 3 bytes': {
    blockSizes: { minimumBytes: 3, preferredBytes: 4096, maximumBytes: MIB },
  },
  'blocks of 128 KiB at least': {
    blockSizes: { minimumBytes: 131_072, preferredBytes: 131_072, maximumBytes: MIB },
  },
  'no room for a block': {
    blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 1 },
  },
  'half a block at its end': {
    exportInfo: encodeExportInfo(MIB + 512, flagsOfAll),
    blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: MIB },
  },
};

for (const [what, manner] of Object.entries(badExports)) {
  test(`an export with ${what} is refused`, () =>
    withServer(manner, async (open) => {
      await assert.rejects(open(), { code: 'NBD_SIZE' });
    }));
}

const handshakes: Record<string, [code: string, (peer: RawPeer) => Promise<void>]> = {
  'is no NBD server': ['NBD_PROTOCOL', async (peer) => peer.send(ones(64))],
  'closes at once': ['NBD_CLOSED', async (peer) => peer.stream.end()],
  'says nothing': ['NBD_TIMEOUT', () => new Promise(() => {})],
  'closes after the greeting': [
    'NBD_CLOSED',
    async (peer) => {
      peer.send(greeting(3));
      peer.stream.end();
    },
  ],
  'speaks oldstyle': [
    'NBD_PROTOCOL',
    async (peer) => peer.send(greeting(3).fill(0, 8, 16), new Uint8Array(140)),
  ],
  'announces an option reply of 4 GiB': [
    'NBD_PROTOCOL',
    async (peer) => {
      const reply = optionReplyBytes(11, REPLY_ACK, nothing);
      putU32(reply, 16, 2 ** 32 - 1);
      peer.send(greeting(3), reply);
    },
  ],
  'answers another option': [
    'NBD_PROTOCOL',
    async (peer) => peer.send(greeting(3), optionReplyBytes(3, REPLY_ACK, nothing)),
  ],
  'never ends its replies': [
    'NBD_PROTOCOL',
    async (peer) => {
      peer.send(greeting(3));
      const reply = optionReplyBytes(11, REPLY_INFO, nothing);
      const many = Array.from({ length: 20_000 }, () => reply);
      peer.send(...many);
    },
  ],
};

for (const [what, [code, handshake]] of Object.entries(handshakes)) {
  test(`a server that ${what} is refused with ${code}`, () =>
    withServer({ handshake }, async (open) => {
      const connectTimeoutMs = code === 'NBD_TIMEOUT' ? 50 : 10_000;
      await assert.rejects(open({ connectTimeoutMs }), { code });
    }));
}

test('a server that stops answering is given up, and every call is told', () =>
  withServer({}, async (open) => {
    const device = await open({ answerTimeoutMs: 50 });
    const calls = Array.from({ length: 600 }, (_, at) =>
      assert.rejects(async () => device.read(new Uint8Array(64), at), DeviceError),
    );
    await Promise.all(calls);
    await assert.rejects(async () => device.flush(), { code: 'DEVICE_FLUSH_FAILED' });
    await device[Symbol.asyncDispose]();
  }));

test('a server without flush, FUA, zeroes and trim is used as far as it goes', async () => {
  const seen: number[] = [];
  await withServer(
    {
      structured: false,
      exportInfo: encodeExportInfo(MIB, 1),
      answer(peer, request) {
        seen.push(request.command);
        peer.send(simple(request), ones(request.command === 0 ? request.lengthBytes : 0));
      },
    },
    async (open) => {
      const device = await open();
      assert.equal(device.durable, false);
      await device.write(ones(5), 0, 1);
      await device.zero(5000, 0, 0);
      await device.trim(5000, 0, 0);
      await device.flush();
      assert.throws(() => device.zero(5, 0, 4), { code: 'DEVICE_UNSUPPORTED' });
      assert.deepEqual(await device.extents(100, 5, 9), [
        { offsetBytes: 5, lengthBytes: 100, kind: 'data' },
      ]);
      await device[Symbol.asyncDispose]();
    },
  );
  assert.deepEqual(seen.slice(0, 2), [1, 1]);
});

test('random bytes in place of replies never read as success', async () => {
  let reply: Uint8Array = nothing;
  const answer = (peer: RawPeer) => {
    peer.send(reply);
    peer.stream.end();
  };
  await withServer({ answer }, async (open) => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), fc.boolean(), async (tail, isMagic) => {
        reply = tail;
        if (isMagic && tail.byteLength > 4) putU32(reply, 0, 0x668e33ef);
        const device = await open();
        await assert.rejects(async () => device.read(new Uint8Array(100), 0), DeviceError);
        await device[Symbol.asyncDispose]();
      }),
      { numRuns: 200 },
    );
  });
});
