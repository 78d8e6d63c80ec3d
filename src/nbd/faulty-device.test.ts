/** Goal: a device that fails or hangs costs a request its answer, and nobody anything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceError } from '../device/index.ts';
import { connect } from './connect.ts';
import { altered, env, MIB, serveDevice, smallMemory } from './loopback.suite.ts';

const BAD_AT = 8192;
const isBad = (offsetBytes: number) => offsetBytes === BAD_AT;

test('a device that hangs leaves one request unanswered; the connection goes on', async () => {
  const inner = smallMemory();
  const content = new Uint8Array(MIB).fill(5);
  await inner.write(content, 0, 0);
  const reached = Promise.withResolvers<void>();
  const device = altered(inner, {
    read(target, offsetBytes) {
      if (!isBad(offsetBytes)) return inner.read(target, offsetBytes);
      reached.resolve();
      return new Promise(() => {});
    },
  });
  const server = await serveDevice(device);
  const client = await connect(env, server.uri, { reconnectTimeoutMs: 0 });
  let isAnswered = false;
  const hanging = Promise.resolve(client.read(new Uint8Array(4096), BAD_AT)).finally(() => {
    isAnswered = true;
  });
  const lost = assert.rejects(hanging, { code: 'DEVICE_CLOSED' });
  await reached.promise;
  for (let turn = 0; turn < 300; turn += 1) {
    const target = new Uint8Array(4096);
    await client.read(target, 65_536 + turn * 512);
    assert.ok(target.every((byte) => byte === 5));
  }
  await client.write(content.subarray(0, 4096), 0, 0);
  await client.flush();
  // What only reads does not wait for a read, even of the same bytes.
  await client.extents(MIB, 0, 10);
  const other = await connect(env, server.uri, { reconnectTimeoutMs: 0 });
  await other.read(new Uint8Array(4096), 0);
  assert.equal(isAnswered, false);
  await other[Symbol.asyncDispose]();
  await server.close(50);
  await lost;
  await client[Symbol.asyncDispose]();
});

test('a device that fails costs each such request an error, and the connection goes on', async () => {
  const inner = smallMemory();
  const fail = (offsetBytes: number) => {
    if (!isBad(offsetBytes)) return;
    throw new DeviceError('DEVICE_IO', 'the medium is damaged', { hint: 'Replace it.' });
  };
  for (const pace of ['at once', 'later'] as const) {
    const pause = async () => void (pace === 'later' && (await Promise.resolve()));
    const device = altered(inner, {
      async read(target, offsetBytes) {
        await pause();
        fail(offsetBytes);
        await inner.read(target, offsetBytes);
      },
      write(source, offsetBytes, flags) {
        fail(offsetBytes);
        return inner.write(source, offsetBytes, flags);
      },
    });
    await using server = await serveDevice(device);
    for (const replies of ['simple', 'structured', 'extended'] as const) {
      await using client = await connect(env, server.uri, { replies, reconnectTimeoutMs: 0 });
      const bytes = new Uint8Array(4096).fill(9);
      for (let turn = 0; turn < 20; turn += 1) {
        const calls = [
          assert.rejects(async () => client.read(bytes.slice(), BAD_AT), { code: 'DEVICE_IO' }),
          assert.rejects(async () => client.write(bytes, BAD_AT, 0), { code: 'DEVICE_IO' }),
          client.write(bytes, 65_536, 0),
        ];
        await Promise.all(calls);
      }
      const target = new Uint8Array(4096);
      await client.read(target, 65_536);
      assert.deepEqual(target, bytes);
    }
  }
});
