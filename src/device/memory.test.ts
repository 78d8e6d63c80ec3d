/** Goal: a memory device keeps the contract, and takes memory only for what was written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceSuite } from './device.suite.ts';
import { NO_HOLE } from './device.ts';
import { MEMORY_SLAB_BYTES } from './limits.ts';
import { memory } from './memory.ts';

deviceSuite({
  name: 'memory',
  make: async (content) => {
    const device = memory('suite', content.byteLength);
    await device.write(content, 0, 0);
    return { device, close: () => device[Symbol.asyncDispose]() };
  },
});

const slab = MEMORY_SLAB_BYTES;

test('a terabyte costs nothing until it is written, and what is cleared is given back', async () => {
  await using device = memory('large', 2 ** 40);
  const far = 2 ** 39 + 3;
  await device.write(new Uint8Array(2 * slab).fill(7), far, 0);
  const first = Math.floor(far / slab) * slab;
  assert.deepEqual(await device.extents(2 ** 40, 0, 10), [
    { offsetBytes: 0, lengthBytes: first, kind: 'hole' },
    { offsetBytes: first, lengthBytes: 3 * slab, kind: 'data' },
    { offsetBytes: first + 3 * slab, lengthBytes: 2 ** 40 - first - 3 * slab, kind: 'hole' },
  ]);
  await device.zero(2 ** 40, 0, NO_HOLE);
  assert.equal((await device.extents(2 ** 40, 0, 10)).length, 3);
  await device.trim(2 ** 40, 0, 0);
  assert.deepEqual(await device.extents(2 ** 40, 0, 10), [
    { offsetBytes: 0, lengthBytes: 2 ** 40, kind: 'hole' },
  ]);
  const target = new Uint8Array(16).fill(1);
  await device.read(target, far);
  assert.deepEqual(target, new Uint8Array(16));
});

test('clearing across slabs clears just the range', async () => {
  await using device = memory('slabs', 4 * slab);
  await device.write(new Uint8Array(4 * slab).fill(7), 0, 0);
  await device.zero(2 * slab + 2, slab - 1, 0);
  const target = new Uint8Array(4 * slab);
  await device.read(target, 0);
  const expected = new Uint8Array(4 * slab).fill(7).fill(0, slab - 1, 3 * slab + 1);
  assert.ok(Buffer.compare(target, expected) === 0);
});

test('a disposed one answers DEVICE_CLOSED', async () => {
  const device = memory('gone', 10);
  await device[Symbol.asyncDispose]();
  assert.throws(() => device.read(new Uint8Array(1), 0), { code: 'DEVICE_CLOSED' });
  assert.throws(() => device.flush(), { code: 'DEVICE_CLOSED' });
});

test('answers come at once', () => {
  const device = memory('now', 10);
  assert.equal(device.write(Uint8Array.of(5), 1, 0), undefined);
  const target = new Uint8Array(1);
  assert.equal(device.read(target, 1), undefined);
  assert.equal(target[0], 5);
});
