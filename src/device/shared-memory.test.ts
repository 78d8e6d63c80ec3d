/** Goal: memory of several threads is a device like any other, and one region is one content. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceSuite } from './device.suite.ts';
import { MEMORY_SLAB_BYTES } from './limits.ts';
import { memoryRegion, sharedMemory } from './shared-memory.ts';

deviceSuite({
  name: 'shared memory',
  async make(content) {
    const device = sharedMemory('test', memoryRegion('test', content.byteLength));
    await device.write(content, 0, 0);
    return { device, close: () => device[Symbol.asyncDispose]() };
  },
});

test('what one device of a region writes the others read, and see as data', async () => {
  const region = memoryRegion('both', 3 * MEMORY_SLAB_BYTES + 1);
  const [one, two] = [sharedMemory('one', region), sharedMemory('two', region)];
  await one.write(Uint8Array.of(7), MEMORY_SLAB_BYTES, 0);
  const target = new Uint8Array(1);
  await two.read(target, MEMORY_SLAB_BYTES);
  assert.deepEqual([...target], [7]);
  assert.deepEqual(two.extents(region.sizeBytes, 0, 10), [
    { offsetBytes: 0, lengthBytes: MEMORY_SLAB_BYTES, kind: 'hole' },
    { offsetBytes: MEMORY_SLAB_BYTES, lengthBytes: MEMORY_SLAB_BYTES, kind: 'data' },
    { offsetBytes: 2 * MEMORY_SLAB_BYTES, lengthBytes: MEMORY_SLAB_BYTES + 1, kind: 'hole' },
  ]);
  await two.trim(MEMORY_SLAB_BYTES, MEMORY_SLAB_BYTES, 0);
  await one.read(target, MEMORY_SLAB_BYTES);
  assert.deepEqual([...target], [0]);
  assert.equal((one.extents(region.sizeBytes, 0, 10) as unknown[]).length, 1);
});

test('what the host cannot give is refused when it is asked for', () => {
  assert.throws(() => memoryRegion('huge', 2 ** 52), { code: 'DEVICE_SIZE' });
});
