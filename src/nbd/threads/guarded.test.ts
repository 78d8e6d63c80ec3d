/** Goal: a guarded device is a device, a failed flush fails all, small writes undo no others. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delayed, deviceSuite } from '../../device/device.suite.ts';
import { type Device, DeviceError, FUA, memory } from '../../device/index.ts';
import { connect } from '../connect.ts';
import { Connections } from '../connections.ts';
import { altered, env, freshAddress, smallMemory } from '../loopback.suite.ts';
import { formatUri } from '../uri.ts';
import { guarded, newDeviceMemory } from './guarded.ts';
import { smallWriters } from './small-writers.suite.ts';

const turn = () => new Promise(setImmediate);

for (const [name, dress] of [
  ['at once', (device: Device) => device],
  ['later', (device: Device) => delayed(device, turn)],
] as const) {
  deviceSuite({
    name: `guarded, answering ${name}`,
    runs: 20,
    async make(content) {
      const device = memory('test', content.byteLength);
      await device.write(content, 0, 0);
      const guard = guarded(dress(device), newDeviceMemory(), 0);
      return { device: guard, close: () => device[Symbol.asyncDispose]() };
    },
  });
}

/** Fails its next flush only, as the kernel reports a lost page once per descriptor. */
function failingOnce(): Device {
  let hasFailed = false;
  return altered(smallMemory(), {
    flush() {
      if (hasFailed) return undefined;
      hasFailed = true;
      throw new DeviceError('DEVICE_IO', 'a page was lost', { hint: 'This is a test.' });
    },
  });
}

for (const [name, flush] of [
  ['a flush', (device: Device) => device.flush()],
  ['the flush of a write with FUA', (device: Device) => device.write(new Uint8Array(9), 0, FUA)],
  ['the flush of a trim with FUA', (device: Device) => device.trim(9, 0, FUA)],
] as const) {
  test(`after ${name} failed on one thread every flush fails on all`, async () => {
    const shared = newDeviceMemory();
    const one = guarded(failingOnce(), shared, 0);
    const two = guarded(smallMemory(), shared, 1);
    await two.flush();
    await assert.rejects(async () => flush(one), { code: 'DEVICE_IO' });
    for (const device of [one, two]) {
      await assert.rejects(async () => device.flush(), { code: 'DEVICE_FLUSH_FAILED' });
      const forced = async () => device.write(new Uint8Array(1), 0, FUA);
      await assert.rejects(forced, { code: 'DEVICE_FLUSH_FAILED' });
      await device.write(new Uint8Array(1), 0, 0);
    }
    const later = guarded(smallMemory(), shared, 2);
    await assert.rejects(async () => later.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  });
}

test('a flush that began before another failed does not say that all is well', async () => {
  const shared = newDeviceMemory();
  const gate = Promise.withResolvers<void>();
  const slow = guarded(altered(smallMemory(), { flush: () => gate.promise }), shared, 0);
  const answer = slow.flush();
  await assert.rejects(async () => guarded(failingOnce(), shared, 1).flush());
  gate.resolve();
  await assert.rejects(async () => answer, { code: 'DEVICE_FLUSH_FAILED' });
});

/** Two servers' worth of connections over one device, as two threads would have them. */
async function pretendThreads(device: Device) {
  const shared = newDeviceMemory();
  const threads = [0, 1].map(
    (thread) =>
      new Connections(env, {
        exports: new Map([['', device]]),
        guard: (fitting) => guarded(fitting, shared, thread),
      }),
  );
  let next = 0;
  const listener = await env.net.listen(freshAddress(), (stream) => {
    void threads[next++ % 2]!.serve(stream);
  });
  const uri = formatUri({ address: listener.address, tls: false, exportName: '' });
  return {
    address: listener.address,
    client: () => connect(env, uri, { connections: 1 }),
    async [Symbol.asyncDispose]() {
      await Promise.all(threads.map((thread) => thread.close(5_000)));
      await listener.close();
    },
  };
}

test('clients of 512 bytes on blocks of 4 KiB lose nothing to each other', async () => {
  const base = memory('blocks', 64 * 1024);
  const blockSizes = { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 1024 * 1024 };
  await using threads = await pretendThreads(delayed(altered(base, { blockSizes }), turn));
  const last = await smallWriters(threads, { sectors: 16, rounds: 40 });
  const content = new Uint8Array(16 * 512);
  await base.read(content, 0);
  const found = last.map((_, sector) => content[sector * 512]!);
  assert.deepEqual([...found], [...last]);
});

test('when the last client of all threads leaves without a word, the device is flushed', async () => {
  const flushed = Promise.withResolvers<void>();
  let count = 0;
  const flush = () => {
    count += 1;
    flushed.resolve();
  };
  await using threads = await pretendThreads(altered(smallMemory(), { flush }));
  const one = await threads.client();
  const two = await threads.client();
  await one.write(new Uint8Array(1), 0, 0);
  await two.write(new Uint8Array(1), 0, 0);
  assert.equal(count, 0);
  await Promise.all([one, two].map((client) => client[Symbol.asyncDispose]()));
  await flushed.promise;
});
