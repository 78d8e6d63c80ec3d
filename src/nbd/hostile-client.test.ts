/** Goal: no client, however it behaves, hangs, crashes or grows the server, or harms another. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { connect } from './connect.ts';
import {
  COMMAND_BLOCK_STATUS,
  COMMAND_READ,
  COMMAND_WRITE,
  FLAG_FUA,
  OPTION_ABORT,
  OPTION_EXPORT_NAME,
  OPTION_EXTENDED_HEADERS,
  OPTION_GO,
  OPTION_INFO,
  OPTION_LIST,
  OPTION_SET_META_CONTEXT,
  OPTION_STARTTLS,
  OPTION_STRUCTURED_REPLY,
  REPLY_ACK,
  REPLY_ERROR_INVALID,
  REPLY_ERROR_POLICY,
  REPLY_ERROR_TOO_BIG,
  REPLY_ERROR_UNKNOWN,
  REPLY_ERROR_UNSUPPORTED,
} from './constants.ts';
import { EINVAL, ENOSPC, EOVERFLOW, EPERM } from './error-numbers.ts';
import {
  altered,
  askOption,
  env,
  greetedClient,
  MIB,
  optionReplies,
  type RawPeer,
  rawClient,
  readyClient,
  requestOf,
  serveDevice,
  smallMemory,
  takeSimple,
  u32,
} from './loopback.suite.ts';
import { encodeInfoRequest, encodeMetaRequest, optionBytes } from './option-codec.ts';
import type { NbdServer } from './server.ts';

/** Others are served as ever. */
async function stillServes(server: NbdServer): Promise<void> {
  const device = await connect(env, server.uri);
  await device.write(Uint8Array.of(7, 8, 9), 1000, 0);
  const target = new Uint8Array(3);
  await device.read(target, 1000);
  assert.deepEqual([...target], [7, 8, 9]);
  await device[Symbol.asyncDispose]();
}

/** An option's header that announces `lengthBytes`. */
function optionHeader(option: number, lengthBytes: number): Uint8Array {
  const bytes = optionBytes(option, new Uint8Array(0));
  bytes.set(u32(lengthBytes), 12);
  return bytes;
}

for (const lengthBytes of [256, 4096, 4097, 65_536]) {
  test(`an unknown name of ${lengthBytes} bytes is an error, and haggling goes on`, async () => {
    await using server = await serveDevice(new Map([['x', smallMemory()]]));
    const peer = await greetedClient(server);
    for (const option of [OPTION_GO, OPTION_INFO]) {
      const data = encodeInfoRequest({ name: 'n'.repeat(lengthBytes), infos: [3, 3, 9] });
      const [type] = await askOption(peer, option, data);
      const tooLong = lengthBytes > 60_000 ? REPLY_ERROR_TOO_BIG : REPLY_ERROR_INVALID;
      assert.equal(type, lengthBytes <= 4096 ? REPLY_ERROR_UNKNOWN : tooLong);
    }
    assert.deepEqual(await askOption(peer, OPTION_ABORT), [REPLY_ACK]);
    peer.send(optionBytes(OPTION_EXPORT_NAME, new Uint8Array(lengthBytes)));
    await peer.ended;
    peer.stream.destroy();
  });
}

for (const lengthBytes of [2 ** 31, 2 ** 32 - 1]) {
  for (const option of [OPTION_GO, OPTION_EXPORT_NAME, OPTION_LIST, 99]) {
    test(`option ${option} that announces ${lengthBytes} bytes ends the connection`, async () => {
      await using server = await serveDevice(smallMemory());
      const peer = await greetedClient(server);
      peer.send(optionHeader(option, lengthBytes));
      await peer.ended;
      peer.stream.destroy();
      await stillServes(server);
    });
  }
}

test('options in any order, often, and unknown ones are answered', async () => {
  await using server = await serveDevice(smallMemory());
  const peer = await greetedClient(server);
  const go = encodeInfoRequest({ name: 'no', infos: [] });
  const meta = encodeMetaRequest({ name: '', queries: ['base:allocation'] });
  for (let round = 0; round < 20; round += 1) {
    assert.deepEqual(await askOption(peer, 77), [REPLY_ERROR_UNSUPPORTED]);
    assert.deepEqual(await askOption(peer, OPTION_STARTTLS), [REPLY_ERROR_POLICY]);
    assert.deepEqual(await askOption(peer, OPTION_GO, Uint8Array.of(1)), [REPLY_ERROR_INVALID]);
    const early = await askOption(peer, OPTION_SET_META_CONTEXT, meta);
    assert.equal(early.at(-1), round === 0 ? REPLY_ERROR_INVALID : REPLY_ACK);
    assert.deepEqual(await askOption(peer, OPTION_STRUCTURED_REPLY), [REPLY_ACK]);
    assert.equal((await askOption(peer, OPTION_SET_META_CONTEXT, meta)).length, 2);
    assert.equal((await askOption(peer, OPTION_LIST)).length, 2);
    assert.equal((await askOption(peer, OPTION_LIST, Uint8Array.of(1)))[0], REPLY_ERROR_INVALID);
    assert.deepEqual(await askOption(peer, OPTION_GO, go), [REPLY_ERROR_UNKNOWN]);
  }
  peer.stream.destroy();
});

test('all options at once, in one chunk, are answered in order', async () => {
  await using server = await serveDevice(smallMemory());
  const peer = await rawClient(server);
  const go = encodeInfoRequest({ name: '', infos: [0, 1, 2, 3] });
  peer.send(
    [0, 0, 0, 3],
    optionBytes(OPTION_STRUCTURED_REPLY, new Uint8Array(0)),
    optionBytes(OPTION_INFO, go),
    optionBytes(OPTION_GO, go),
    requestOf({ command: 3, cookieLow: 5 }),
  );
  await peer.inbound.take(18);
  assert.equal((await optionReplies(peer)).at(-1), REPLY_ACK);
  assert.equal((await optionReplies(peer)).at(-1), REPLY_ACK);
  assert.equal((await optionReplies(peer)).at(-1), REPLY_ACK);
  assert.deepEqual(await takeSimple(peer), { error: 0, cookie: 5 });
  peer.stream.destroy();
});

const size = MIB;
type Case = [what: string, request: Parameters<typeof requestOf>[0], error: number];
const refused: Case[] = [
  ['a read past the end', { command: 0, offsetBytes: size - 1, lengthBytes: 2 }, EINVAL],
  ['a read far past the end', { command: 0, offsetBytes: 2 ** 53 - 1, lengthBytes: 2 }, EINVAL],
  ['trim past the end', { command: 4, offsetBytes: size, lengthBytes: 1 }, EINVAL],
  ['a write past the end', { command: 1, offsetBytes: 2 ** 53, lengthBytes: 0 }, ENOSPC],
  ['zeroes past the end', { command: 6, offsetBytes: 1, lengthBytes: size }, ENOSPC],
  ['an unknown command', { command: 8, lengthBytes: 1 }, EINVAL],
  ['a command far off', { command: 0xffff }, EINVAL],
  ['an unknown flag', { command: 0, flags: 1 << 15, lengthBytes: 1 }, EINVAL],
  ['a flag of another command', { command: 4, flags: 1 << 4, lengthBytes: 1 }, EINVAL],
  ['status without a context', { command: COMMAND_BLOCK_STATUS, lengthBytes: 1 }, EINVAL],
  ['a flush with a range', { command: 3, lengthBytes: 1 }, EINVAL],
];

for (const [what, request, error] of refused) {
  test(`${what} is refused, and the connection goes on`, async () => {
    await using server = await serveDevice(smallMemory(size));
    const peer = await readyClient(server);
    peer.send(requestOf({ ...request, cookieLow: 77 }));
    assert.deepEqual(await takeSimple(peer), { error, cookie: 77 });
    peer.send(requestOf({ command: 3, cookieLow: 78 }));
    assert.deepEqual(await takeSimple(peer), { error: 0, cookie: 78 });
    peer.stream.destroy();
  });
}

test('a read of 2^32-1 bytes of a huge device is refused without memory', async () => {
  await using server = await serveDevice(smallMemory(2 ** 40));
  const peer = await readyClient(server);
  peer.send(requestOf({ command: COMMAND_READ, lengthBytes: 2 ** 32 - 1, cookieLow: 1 }));
  assert.deepEqual(await takeSimple(peer), { error: EOVERFLOW, cookie: 1 });
  peer.stream.destroy();
});

test('a write to a read-only export is read past, not executed', async () => {
  const device = smallMemory();
  await using server = await serveDevice(new Map([['', { device, readOnly: true }]]));
  const peer = await readyClient(server);
  const inner = requestOf({ command: COMMAND_READ, lengthBytes: 4, cookieLow: 666 });
  const write = { command: COMMAND_WRITE, lengthBytes: inner.byteLength, cookieLow: 1 };
  peer.send(requestOf(write), inner, requestOf({ command: 3, cookieLow: 2 }));
  assert.deepEqual(await takeSimple(peer), { error: EPERM, cookie: 1 });
  assert.deepEqual(await takeSimple(peer), { error: 0, cookie: 2 });
  peer.stream.destroy();
});

test('a write that is too long is read past with its payload', async () => {
  await using server = await serveDevice(smallMemory(100 * MIB));
  const peer = await readyClient(server);
  const lengthBytes = 32 * MIB + 1;
  peer.send(requestOf({ command: COMMAND_WRITE, lengthBytes, cookieLow: 1 }));
  peer.send(new Uint8Array(lengthBytes), requestOf({ command: 3, cookieLow: 2 }));
  assert.deepEqual(await takeSimple(peer), { error: EINVAL, cookie: 1 });
  assert.deepEqual(await takeSimple(peer), { error: 0, cookie: 2 });
  peer.stream.destroy();
});

test('a write that announces 2^32-1 bytes ends the connection', async () => {
  await using server = await serveDevice(smallMemory());
  const peer = await readyClient(server);
  peer.send(requestOf({ command: COMMAND_WRITE, lengthBytes: 2 ** 32 - 1, flags: FLAG_FUA }));
  await peer.ended;
  peer.stream.destroy();
  await stillServes(server);
});

test('garbage for a request ends the connection; what came before it is answered', async () => {
  await using server = await serveDevice(smallMemory());
  const peer = await readyClient(server);
  peer.send(requestOf({ command: 3, cookieLow: 1 }), new Uint8Array(28).fill(0xaa));
  assert.deepEqual(await takeSimple(peer), { error: 0, cookie: 1 });
  await peer.ended;
  peer.stream.destroy();
  await stillServes(server);
});

test('status of the longest range in both forms answers, and stays in bounds', async () => {
  const huge = 2 ** 50;
  await using server = await serveDevice(smallMemory(huge));
  for (const replies of ['structured', 'extended'] as const) {
    await using client = await connect(env, server.uri, { replies });
    await client.write(Uint8Array.of(1), 5 * MIB, 0);
    const extents = await client.extents(huge, 0, 1000);
    assert.ok(extents.length >= 2);
    assert.equal(extents[0]!.kind, 'hole');
  }
});

test('a client that leaves in every phase leaks nothing and harms nobody', async () => {
  await using server = await serveDevice(smallMemory(4 * MIB));
  const whole = [
    [0, 0, 0, 3],
    [...optionBytes(OPTION_STRUCTURED_REPLY, new Uint8Array(0))],
    [...optionBytes(OPTION_GO, encodeInfoRequest({ name: '', infos: [3] }))],
    [...requestOf({ command: COMMAND_READ, lengthBytes: 100, cookieLow: 1 })],
    [...requestOf({ command: COMMAND_WRITE, lengthBytes: 200, cookieLow: 2 })],
    [...new Uint8Array(200)],
    [...requestOf({ command: COMMAND_READ, lengthBytes: MIB, cookieLow: 3 })],
  ].flat();
  for (let cut = 0; cut <= whole.length; cut += 3) {
    const peer = await rawClient(server);
    peer.send(whole.slice(0, cut));
    if (cut % 2 === 0) peer.stream.end();
    else peer.stream.destroy();
    peer.inbound.discard();
    await peer.ended;
    peer.stream.destroy();
  }
  await stillServes(server);
  await server.close();
  assert.equal(server.connectionCount, 0);
});

test('one that never reads its replies holds bounded memory and does not stop others', async () => {
  let answeredBytes = 0;
  const inner = smallMemory(64 * MIB);
  const device = altered(inner, {
    settlesAtOnce: true,
    read(target, offsetBytes) {
      answeredBytes += target.byteLength;
      return inner.read(target, offsetBytes);
    },
  });
  await using server = await serveDevice(device);
  const peer = await readyClient(server);
  peer.stream.pause();
  for (let at = 0; at < 500; at += 1) {
    peer.send(requestOf({ command: COMMAND_READ, lengthBytes: MIB, cookieLow: at }));
  }
  await stillServes(server);
  await stillServes(server);
  assert.ok(answeredBytes < 8 * MIB, `${answeredBytes} bytes were made ready for nobody`);
  peer.stream.destroy();
});

test('one that asks for more than may be held gets it bit by bit', async () => {
  const inner = smallMemory(64 * MIB);
  let pendingBytes = 0;
  let mostBytes = 0;
  const device = altered(inner, {
    async read(target, offsetBytes) {
      pendingBytes += target.byteLength;
      mostBytes = Math.max(mostBytes, pendingBytes);
      await new Promise((resolve) => setImmediate(resolve));
      pendingBytes -= target.byteLength;
      await inner.read(target, offsetBytes);
    },
  });
  await using server = await serveDevice(device);
  await using client = await connect(env, server.uri);
  const target = new Uint8Array(MIB);
  await Promise.all(Array.from({ length: 200 }, () => client.read(target, 0)));
  assert.ok(mostBytes <= 40 * MIB, `${mostBytes} bytes were held at once`);
});

test('stalled large writes leave room for others', async () => {
  await using server = await serveDevice(smallMemory(64 * MIB), { heldBytesMax: 64 * MIB });
  const stalled: RawPeer[] = [];
  for (let at = 0; at < 8; at += 1) {
    const peer = await readyClient(server);
    peer.send(requestOf({ command: COMMAND_WRITE, lengthBytes: 32 * MIB }), new Uint8Array(100));
    stalled.push(peer);
  }
  await stillServes(server);
  for (const peer of stalled) peer.stream.destroy();
  const device = await connect(env, server.uri);
  await device.write(new Uint8Array(32 * MIB), 0, 0);
  await device[Symbol.asyncDispose]();
});

test('more connections than the limit are closed at once, the others go on', async () => {
  await using server = await serveDevice(smallMemory(), { connectionsMax: 2 });
  const first = await greetedClient(server);
  const second = await greetedClient(server);
  const third = await rawClient(server);
  await third.ended;
  first.stream.destroy();
  await first.closed;
  assert.deepEqual(await askOption(second, OPTION_ABORT), [REPLY_ACK]);
  second.stream.destroy();
});

test('mutated sessions neither crash nor hang the server', async () => {
  await using server = await serveDevice(smallMemory());
  const options = [OPTION_STRUCTURED_REPLY, OPTION_EXTENDED_HEADERS];
  const session = (extended: boolean) =>
    [
      [0, 0, 0, 3],
      [...optionBytes(options[extended ? 1 : 0]!, new Uint8Array(0))],
      [...optionBytes(OPTION_LIST, new Uint8Array(0))],
      [
        ...optionBytes(
          OPTION_SET_META_CONTEXT,
          encodeMetaRequest({ name: '', queries: ['base:allocation'] }),
        ),
      ],
      [...optionBytes(OPTION_GO, encodeInfoRequest({ name: '', infos: [1, 3] }))],
      [...requestOf({ command: COMMAND_READ, lengthBytes: 700 }, extended)],
      [
        ...requestOf(
          { command: COMMAND_WRITE, lengthBytes: 40, flags: extended ? 32 : 0 },
          extended,
        ),
      ],
      [...new Uint8Array(40)],
      [...requestOf({ command: COMMAND_BLOCK_STATUS, lengthBytes: 5000 }, extended)],
      [...requestOf({ command: 6, lengthBytes: 5000 }, extended)],
      [...requestOf({ command: 2 }, extended)],
    ].flat();
  const mutation = fc.record({ at: fc.nat(10_000), byte: fc.nat(255), kind: fc.nat(2) });
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { maxLength: 4 }), fc.boolean(), async (list, extended) => {
      const bytes = session(extended);
      for (const { at, byte, kind } of list) {
        const place = at % bytes.length;
        if (kind === 0) bytes[place] = byte;
        else if (kind === 1) bytes.splice(place, 1 + (byte % 8));
        else bytes.splice(place, 0, byte, byte);
      }
      const peer = await rawClient(server);
      peer.send(bytes);
      peer.stream.end();
      peer.inbound.discard();
      await peer.ended;
      peer.stream.destroy();
    }),
    { numRuns: 400 },
  );
  await stillServes(server);
});
