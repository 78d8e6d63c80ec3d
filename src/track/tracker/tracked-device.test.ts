/** Goal: a tracked device is a device as any other. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeEnv } from '../../core/index.ts';
import { delayed, deviceSuite } from '../../device/device.suite.ts';
import { memory } from '../../device/index.ts';
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
