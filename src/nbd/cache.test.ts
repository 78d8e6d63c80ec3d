/** Goal: a CACHE request has a range at hand, wherever it lies, and is in nobody's way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from './connect.ts';
import { altered, env, MIB, serveDevice, smallMemory } from './loopback.suite.ts';

test('CACHE reads ahead, also at the server behind the server, and holds up no write', async () => {
  const inner = smallMemory();
  const read: number[][] = [];
  const gate = Promise.withResolvers<void>();
  const device = altered(inner, {
    async read(target, offsetBytes) {
      read.push([target.byteLength, offsetBytes]);
      await gate.promise;
      await inner.read(target, offsetBytes);
    },
  });
  await using far = await serveDevice(device);
  await using middle = await connect(env, far.uri);
  await using near = await serveDevice(middle);
  await using client = await connect(env, near.uri);
  assert.ok(client.features.cache);
  const cached = client.cache(8192, 4096);
  await client.write(new Uint8Array(4096).fill(3), 4096, 0);
  assert.deepEqual(read, [[8192, 4096]]);
  gate.resolve();
  await cached;
  assert.throws(() => client.cache(1, MIB), { code: 'DEVICE_RANGE' });
});
