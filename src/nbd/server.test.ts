/** Goal: through the server and the client a device is what it is without them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delayed, deviceSuite, readOnlyDeviceSuite } from '../device/device.suite.ts';
import { type Device, DeviceError, type DeviceErrorCode, FUA } from '../device/index.ts';
import { connect, list } from './connect.ts';
import type { Export } from './exports.ts';
import {
  altered,
  env,
  MIB,
  readyClient,
  requestOf,
  serveDevice,
  smallMemory,
  takeSimple,
} from './loopback.suite.ts';

async function filled(content: Uint8Array): Promise<Device> {
  const device = smallMemory(content.byteLength);
  await device.write(content, 0, 0);
  // A block of zeroes is a hole, so that there are holes to be told.
  await device.trim(4096, 4096, 0);
  return device;
}

/** The same requests in all three styles, on devices that answer at once and later. */
for (const replies of ['simple', 'structured', 'extended'] as const) {
  for (const pace of ['at once', 'later'] as const) {
    deviceSuite({
      name: `NBD, ${replies} replies, device answers ${pace}`,
      runs: 25,
      async make(content) {
        const inner = await filled(content);
        const slow = delayed(inner, () => new Promise((resolve) => setImmediate(resolve)));
        const server = await serveDevice(pace === 'later' ? slow : inner);
        const device = await connect(env, server.uri, { replies });
        assert.equal(device.replies, replies);
        return {
          device,
          async close() {
            await device[Symbol.asyncDispose]();
            await server.close();
          },
        };
      },
    });
  }
}

readOnlyDeviceSuite({
  name: 'NBD, a read-only export',
  runs: 25,
  async make(content) {
    const device: Export = { device: await filled(content), readOnly: true };
    const server = await serveDevice(new Map([['', device]]));
    const client = await connect(env, server.uri);
    return {
      device: client,
      async close() {
        await client[Symbol.asyncDispose]();
        await server.close();
      },
    };
  },
});

test('exports are listed, described, and found by name; an unknown one is refused', async () => {
  const table = new Map<string, Export>([
    ['first', { device: smallMemory(4096), description: 'a small one' }],
    ['zweite Platte ü', { device: smallMemory(8192), readOnly: true }],
  ]);
  await using server = await serveDevice(table);
  assert.deepEqual(await list(env, server.uri), ['first', 'zweite Platte ü']);
  await using first = await connect(env, server.uriOf('first'));
  assert.equal(first.description, 'a small one');
  assert.equal(first.sizeBytes, 4096);
  await using second = await connect(env, server.uriOf('zweite Platte ü'));
  assert.deepEqual([second.sizeBytes, second.readOnly], [8192, true]);
  await assert.rejects(connect(env, server.uriOf('third')), { code: 'NBD_UNKNOWN_EXPORT' });
  await assert.rejects(connect(env, server.uri), { code: 'NBD_UNKNOWN_EXPORT' });
});

test('a lookup function is asked for each client', async () => {
  const asked: string[] = [];
  await using server = await serveDevice({
    find(name) {
      asked.push(name);
      return name === 'yes' ? Promise.resolve(smallMemory()) : undefined;
    },
    list: () => ['yes'],
  });
  await using device = await connect(env, server.uriOf('yes'), { replies: 'simple' });
  assert.equal(device.sizeBytes, MIB);
  await assert.rejects(connect(env, server.uriOf('no')), { code: 'NBD_UNKNOWN_EXPORT' });
  assert.deepEqual(new Set(asked), new Set(['yes', 'no']));
});

test('TCP works as unix sockets do', async () => {
  await using server = await serveDevice(smallMemory(), {
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
  });
  await using device = await connect(env, server.uri);
  await device.write(Uint8Array.of(1, 2, 3), 5, FUA);
  const target = new Uint8Array(5);
  await device.read(target, 4);
  assert.deepEqual([...target], [0, 1, 2, 3, 0]);
});

const codes: Record<string, DeviceErrorCode> = {
  DEVICE_NO_SPACE: 'DEVICE_NO_SPACE',
  DEVICE_IO: 'DEVICE_IO',
  DEVICE_SHRUNK: 'DEVICE_IO',
  DEVICE_READ_ONLY: 'DEVICE_READ_ONLY',
  DEVICE_UNSUPPORTED: 'DEVICE_UNSUPPORTED',
  DEVICE_CLOSED: 'DEVICE_CLOSED',
};

for (const [code, seen] of Object.entries(codes)) {
  test(`a device's ${code} reaches the client as ${seen}, and the connection goes on`, async () => {
    const fail = () => {
      throw new DeviceError(code as DeviceErrorCode, '/secret/path is broken', { hint: 'None.' });
    };
    const device = altered(smallMemory(), {
      read: fail,
      write: async () => fail(),
      zero: fail,
      trim: async () => fail(),
      extents: fail,
    });
    await using server = await serveDevice(device);
    for (const replies of ['simple', 'structured', 'extended'] as const) {
      await using client = await connect(env, server.uri, { replies });
      const isExpected = (error: unknown) => {
        assert.ok(error instanceof DeviceError);
        assert.equal(error.code, seen);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      };
      const bytes = new Uint8Array(512);
      await assert.rejects(async () => client.read(bytes, 0), isExpected);
      await assert.rejects(async () => client.write(bytes, 0, 0), isExpected);
      await assert.rejects(async () => client.zero(512, 0, 0), isExpected);
      await assert.rejects(async () => client.trim(512, 0, 0), isExpected);
      if (replies !== 'simple') {
        await assert.rejects(async () => client.extents(512, 0, 9), isExpected);
      }
      await client.flush();
    }
  });
}

test('a flush on one connection covers the writes of all, and failed ones stay failed', async () => {
  let flushes = 0;
  let mayFlush = true;
  const device = altered(smallMemory(), {
    durable: true,
    async flush() {
      flushes += 1;
      if (!mayFlush) throw new DeviceError('DEVICE_IO', 'no', { hint: 'None.' });
    },
  });
  await using server = await serveDevice(device);
  await using client = await connect(env, server.uri, { connections: 4 });
  assert.equal(server.connectionCount, 4);
  await Promise.all(
    Array.from({ length: 64 }, (_, at) => client.write(Uint8Array.of(at), at * 512, 0)),
  );
  await client.flush();
  assert.equal(flushes, 1);
  mayFlush = false;
  await assert.rejects(async () => client.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  mayFlush = true;
  await assert.rejects(async () => client.flush(), { code: 'DEVICE_FLUSH_FAILED' });
});

test('requests longer than the server takes are split, also far ones and all at once', async () => {
  await using server = await serveDevice(smallMemory(100 * MIB));
  await using client = await connect(env, server.uri);
  const source = new Uint8Array(70 * MIB + 5);
  for (let at = 0; at < source.byteLength; at += 4093) source[at] = at % 251;
  await client.write(source, 11, 0);
  const target = new Uint8Array(source.byteLength);
  await client.read(target, 11);
  assert.ok(Buffer.from(target.buffer).equals(source));
});

test('512-byte clients use a 4 KiB device without harming the neighbours', async () => {
  const inner = smallMemory();
  const strict = altered(
    delayed(inner, () => new Promise((resolve) => setImmediate(resolve))),
    {
      blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 8192 },
      async read(target, offsetBytes) {
        assert.equal((target.byteLength | offsetBytes) % 4096, 0);
        assert.ok(target.byteLength <= 8192);
        await new Promise((resolve) => setImmediate(resolve));
        return inner.read(target, offsetBytes);
      },
      async write(source, offsetBytes, flags) {
        assert.equal((source.byteLength | offsetBytes) % 4096, 0);
        await new Promise((resolve) => setImmediate(resolve));
        return inner.write(source, offsetBytes, flags);
      },
    },
  );
  await using server = await serveDevice(strict);
  await using polite = await connect(env, server.uri);
  assert.equal(polite.blockSizes.minimumBytes, 4096);
  // One that does not look at block sizes: EXPORT_NAME tells none.
  const rude = await readyClient(server);
  const count = 64;
  for (let at = 0; at < count; at += 1) {
    const request = { command: 1, cookieLow: at, offsetBytes: at * 512, lengthBytes: 512 };
    rude.send(requestOf(request), new Uint8Array(512).fill(at + 1));
  }
  for (let at = 0; at < count; at += 1) assert.equal((await takeSimple(rude)).error, 0);
  rude.stream.destroy();
  const seen = new Uint8Array(count * 512);
  await inner.read(seen, 0);
  for (let at = 0; at < seen.byteLength; at += 1) assert.equal(seen[at], Math.floor(at / 512) + 1);
});

test('overlapping writes take effect in the order in which they came', async () => {
  const inner = smallMemory();
  let pending = 0;
  let mostPending = 0;
  // The first of each pair is slower than the second.
  const device = altered(inner, {
    async write(source, offsetBytes, flags) {
      pending += 1;
      mostPending = Math.max(mostPending, pending);
      for (let turn = source[0]! % 2 === 0 ? 20 : 1; turn > 0; turn -= 1) {
        await new Promise((resolve) => setImmediate(resolve));
      }
      pending -= 1;
      return inner.write(source, offsetBytes, flags);
    },
  });
  await using server = await serveDevice(device);
  await using client = await connect(env, server.uri);
  const writes: Promise<void>[] = [];
  for (let round = 0; round < 40; round += 1) {
    for (let place = 0; place < 3; place += 1) {
      const source = new Uint8Array(700).fill(round + 1);
      writes.push(Promise.resolve(client.write(source, place * 8192, 0)));
    }
  }
  await Promise.all(writes);
  const seen = new Uint8Array(700);
  for (let place = 0; place < 3; place += 1) {
    await inner.read(seen, place * 8192);
    assert.ok(seen.every((byte) => byte === 40));
  }
  assert.equal(mostPending, 3, 'what does not overlap is not held up');
});

test('the device is flushed when a client says goodbye and when the last one is lost', async () => {
  let flushes = 0;
  const flushed: (() => void)[] = [];
  const device = altered(smallMemory(), {
    flush() {
      flushes += 1;
      flushed.pop()?.();
    },
  });
  const nextFlush = () => new Promise<void>((resolve) => flushed.push(resolve));
  await using server = await serveDevice(device);
  const first = await connect(env, server.uri);
  const second = await readyClient(server);
  let flush = nextFlush();
  await first[Symbol.asyncDispose]();
  await flush;
  assert.equal(flushes, 1);
  flush = nextFlush();
  second.stream.destroy();
  await flush;
  assert.equal(flushes, 2);
});

test('closing answers what is in flight, and cuts off what never ends', async () => {
  const gate = Promise.withResolvers<void>();
  let reached = Promise.withResolvers<void>();
  const inner = smallMemory();
  const device = altered(inner, {
    async read(target, offsetBytes) {
      reached.resolve();
      if (offsetBytes === 0) await gate.promise;
      else await new Promise(() => {});
      await inner.read(target, offsetBytes);
    },
  });
  const server = await serveDevice(device);
  const client = await connect(env, server.uri);
  const answered = client.read(new Uint8Array(4096), 0);
  await reached.promise;
  reached = Promise.withResolvers<void>();
  const closing = server.close();
  gate.resolve();
  await answered;
  await client[Symbol.asyncDispose]();
  await closing;
  assert.equal(server.connectionCount, 0);
  const stuckServer = await serveDevice(device);
  const stuck = await connect(env, stuckServer.uri, { reconnectTimeoutMs: 0 });
  const lost = assert.rejects(async () => stuck.read(new Uint8Array(4096), 4096), {
    code: 'DEVICE_CLOSED',
  });
  await reached.promise;
  await stuckServer.close(50);
  await lost;
  await stuck[Symbol.asyncDispose]();
});

test('contexts of an export are offered beside base:allocation', async () => {
  const dirty = {
    name: 'ferry:dirty/7',
    status: (lengthBytes: number) => [
      { lengthBytes: Math.min(1000, lengthBytes), flags: 1 },
      { lengthBytes: Math.max(0, lengthBytes - 1000), flags: 0 },
    ],
  };
  await using server = await serveDevice(
    new Map([['', { device: smallMemory(), contexts: [dirty] }]]),
  );
  await using client = await connect(env, server.uri, { contexts: ['ferry:dirty/7', 'x:y'] });
  assert.deepEqual(client.contexts, ['base:allocation', 'ferry:dirty/7']);
  assert.deepEqual(await client.status('ferry:dirty/7', 4096, 0), [
    { lengthBytes: 1000, flags: 1 },
    { lengthBytes: 3096, flags: 0 },
  ]);
  await assert.rejects(client.status('x:y', 4096, 0), { code: 'DEVICE_UNSUPPORTED' });
});

test('answers that come out of order reach those who asked', async () => {
  const inner = smallMemory();
  const content = Uint8Array.from({ length: MIB }, (_, at) => (at >> 9) % 251);
  await inner.write(content, 0, 0);
  const device = altered(inner, {
    async read(target, offsetBytes) {
      for (let turn = (offsetBytes / 512) % 7; turn > 0; turn -= 1) await Promise.resolve();
      await inner.read(target, offsetBytes);
    },
  });
  await using server = await serveDevice(device);
  for (const replies of ['simple', 'structured', 'extended'] as const) {
    await using client = await connect(env, server.uri, { replies });
    const reads = Array.from({ length: 500 }, async (_, at) => {
      const target = new Uint8Array(700);
      await client.read(target, at * 512);
      assert.deepEqual(target, content.slice(at * 512, at * 512 + 700));
    });
    await Promise.all(reads);
  }
});
