/** Goal: slices and read-only views keep the contract and stay inside their part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { confirmed } from './confirmed.ts';
import { delayed, deviceSuite, readOnlyDeviceSuite } from './device.suite.ts';
import { DeviceError, FUA } from './device.ts';
import { MEMORY_SLAB_BYTES } from './limits.ts';
import { memory } from './memory.ts';
import { readOnly } from './read-only.ts';
import { slice } from './slice.ts';
import { WriteGate } from './write-gate.ts';

for (const slow of [false, true]) {
  const label = slow ? ' over a device that answers later' : '';
  const later = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));

  deviceSuite({
    name: `slice${label}`,
    make: async (content) => {
      const base = memory('base', 2 * MEMORY_SLAB_BYTES);
      const offsetBytes = MEMORY_SLAB_BYTES - 5000; // Across the border of two slabs.
      await base.write(new Uint8Array(base.sizeBytes).fill(0x33), 0, 0);
      await base.write(content, offsetBytes, 0);
      const below = slow ? delayed(base, later) : base;
      const device = slice(below, { offsetBytes, lengthBytes: content.byteLength });
      return { device, close: () => expectUntouched(base, offsetBytes, content.byteLength) };
    },
  });

  deviceSuite({
    name: `confirmed device${label}`,
    make: async (content) => {
      const base = memory('base', content.byteLength);
      await base.write(content, 0, 0);
      const device = confirmed(slow ? delayed(base, later) : base, async () => undefined);
      return { device, close: () => base[Symbol.asyncDispose]() };
    },
  });

  deviceSuite({
    name: `write gate${label}`,
    make: async (content) => {
      const base = memory('base', content.byteLength);
      await base.write(content, 0, 0);
      const device = new WriteGate(slow ? delayed(base, later) : base);
      return { device, close: () => base[Symbol.asyncDispose]() };
    },
  });

  readOnlyDeviceSuite({
    name: `read-only view${label}`,
    make: async (content) => {
      const base = memory('base', content.byteLength);
      await base.write(content, 0, 0);
      return {
        device: readOnly(slow ? delayed(base, later) : base),
        close: () => base[Symbol.asyncDispose](),
      };
    },
  });
}

/** The base is still open, and around the slice it is as it was. */
async function expectUntouched(
  base: ReturnType<typeof memory>,
  offsetBytes: number,
  lengthBytes: number,
): Promise<void> {
  const bytes = new Uint8Array(base.sizeBytes);
  await base.read(bytes, 0);
  bytes.fill(0x33, offsetBytes, offsetBytes + lengthBytes);
  assert.ok(Buffer.compare(bytes, new Uint8Array(base.sizeBytes).fill(0x33)) === 0);
}

test('a slice that passes the end of its base is refused', () => {
  const base = memory('base', 100);
  assert.throws(() => slice(base, { offsetBytes: 50, lengthBytes: 51 }), { code: 'DEVICE_RANGE' });
  assert.equal(slice(base, { offsetBytes: 100, lengthBytes: 0 }).sizeBytes, 0);
});

test('a flush and a forced write wait for the confirmation, other writes do not', async () => {
  const base = memory('base', 8192);
  const waiting: PromiseWithResolvers<void>[] = [];
  const device = confirmed(base, () => {
    const answer = Promise.withResolvers<void>();
    waiting.push(answer);
    return answer.promise;
  });
  const settled: string[] = [];
  const bytes = new Uint8Array(4096).fill(7);
  await device.write(bytes, 0, 0);
  assert.equal(waiting.length, 0);
  const forced = Promise.resolve(device.write(bytes, 4096, FUA)).then(() => settled.push('forced'));
  const flushed = Promise.resolve(device.flush()).then(
    () => assert.fail('a flush that nobody confirmed'),
    (error: Error) => settled.push(error.message),
  );
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual([settled, waiting.length], [[], 2]);
  waiting[0]!.resolve();
  waiting[1]!.reject(new Error('too late'));
  await Promise.all([forced, flushed]);
  assert.deepEqual(settled.sort(), ['forced', 'too late']);
});

test('a gate that refuses answers those who wait, and all that come later', async () => {
  const gate = new WriteGate(memory('base', 100));
  await gate.close();
  const waiting = gate.write(Uint8Array.of(1), 0, 0);
  const error = new DeviceError('DEVICE_READ_ONLY', 'written elsewhere', { hint: 'See there.' });
  gate.refuse(error);
  await assert.rejects(async () => waiting, error);
  for (const call of [() => gate.zero(1, 0, 0), () => gate.trim(1, 0, 0), () => gate.flush()]) {
    await assert.rejects(async () => call(), error);
  }
  await gate.read(new Uint8Array(1), 0);
});

test('all who close a gate during a write hear that it has settled', async () => {
  const base = memory('base', 100);
  const slow = Promise.withResolvers<void>();
  base.write = () => slow.promise;
  const gate = new WriteGate(base);
  const written = gate.write(Uint8Array.of(1), 0, 0);
  const closed = [gate.close(), gate.close()];
  slow.resolve();
  await Promise.all([written, ...closed]);
  gate.open();
});

test('what was done is acknowledged only once that may be', async () => {
  let wait: PromiseWithResolvers<void> | undefined;
  const base = memory('base', 100);
  const gate = new WriteGate(base, () => wait?.promise);
  await gate.write(Uint8Array.of(1), 0, 0);
  wait = Promise.withResolvers();
  const order: string[] = [];
  const done = Promise.resolve(gate.write(Uint8Array.of(2), 0, 0)).then(() => order.push('write'));
  order.push('waits');
  const { resolve } = wait;
  wait = undefined;
  resolve();
  await done;
  assert.deepEqual(order, ['waits', 'write']);
});
