/** Goal: a tracked device is a device as any other. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeEnv } from '../../core/index.ts';
import { delayed, deviceSuite } from '../../device/device.suite.ts';
import { type Device, DeviceError, memory } from '../../device/index.ts';
import { tracked } from './tracked-device.ts';
import { Tracker } from './tracker.ts';

const later = () => new Promise((resolve) => setImmediate(resolve));

for (const slow of [false, true]) {
  deviceSuite({
    name: `tracked${slow ? ' over a device that answers later' : ''}`,
    runs: 30,
    make: async (content) => {
      const directory = await mkdtemp(join(tmpdir(), 'tracked-'));
      const memoryDevice = memory('base', content.byteLength);
      await memoryDevice.write(content, 0, 0);
      const base = slow ? delayed(memoryDevice, later) : memoryDevice;
      const { sizeBytes } = base;
      const identify = async () => undefined;
      const options = { directory, volume: 'vm', sizeBytes, identify };
      const tracker = await Tracker.open(nodeEnv(), options);
      return {
        device: tracked({ base, tracker }),
        async close() {
          await tracker[Symbol.asyncDispose]();
          await rm(directory, { recursive: true });
        },
      };
    },
  });
}

test('nothing is acknowledged before what was written is durable', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'tracked-'));
  const base = memory('base', 65_536);
  const identify = async () => undefined;
  const options = { directory, volume: 'vm', sizeBytes: base.sizeBytes, identify };
  const tracker = await Tracker.open(nodeEnv(), options);
  const device = tracked({ base: failing(base), tracker });
  {
    await using cut = device.cut();
    const holding = { snapshot: 's', digest: 'd' };
    const refused = { code: 'DEVICE_FLUSH_FAILED' };
    await assert.rejects(device.acknowledge('repository', cut, holding), refused);
    assert.equal(tracker.cursor('repository'), undefined);
  }
  await tracker[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

/** The same, but that it cannot be flushed. */
function failing(base: Device): Device {
  return new Proxy(base, {
    get(target, key) {
      if (key === 'flush') return () => refuse();
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function refuse(): never {
  throw new DeviceError('DEVICE_FLUSH_FAILED', 'it cannot be flushed', { hint: 'None.' });
}
