/** Goal: changes live in the layer alone, the base stays as it is, and no write is lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { copyOnWrite } from './copy-on-write.ts';
import { delayed, deviceSuite } from './device.suite.ts';
import { anyBlockSizes, type Device, DeviceError, FAST_ZERO } from './device.ts';
import { memory } from './memory.ts';
import { readOnly } from './read-only.ts';

const BLOCK = 4096;

async function baseWith(content: Uint8Array): Promise<Device> {
  const base = memory('base', content.byteLength);
  await base.write(content, 0, 0);
  return base;
}

/** A layer may hold anything where nothing was marked. */
async function dirtyLayer(sizeBytes: number): Promise<Device> {
  return baseWith(new Uint8Array(sizeBytes).fill(0xbb));
}

/** A layer that cannot zero fast, as a file on a medium without holes. */
function slowZero(layer: Device): Device {
  return {
    ...delayed(layer, async () => undefined),
    zero: (length, offsetBytes, flags) => {
      if ((flags & FAST_ZERO) === 0) return layer.zero(length, offsetBytes, flags);
      throw new DeviceError('DEVICE_UNSUPPORTED', 'not fast', { hint: 'None.' });
    },
  };
}

const tick = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve));
let random = 1;
/** Zero to three turns later, always the same way. */
const sometimes = async (): Promise<void> => {
  random = (random * 48271) % 2147483647;
  for (let left = random % 4; left > 0; left--) await tick();
};

const layers: Record<string, (layer: Device) => Device> = {
  'copy-on-write': (layer) => layer,
  'copy-on-write into a layer that cannot zero fast': slowZero,
  'copy-on-write into a layer that answers later': (layer) => delayed(layer, sometimes),
};

for (const [name, wrap] of Object.entries(layers)) {
  deviceSuite({
    name,
    make: async (content) => {
      const base = await baseWith(content);
      const below = name.endsWith('later') ? delayed(base, sometimes) : base;
      const device = copyOnWrite({
        base: readOnly(below),
        layer: wrap(await dirtyLayer(content.byteLength)),
      });
      const close = async (): Promise<void> => {
        const bytes = new Uint8Array(content.byteLength);
        await base.read(bytes, 0);
        assert.deepEqual(bytes, content, 'the base must not change');
      };
      return { device, close };
    },
  });
}

type Part = { readonly offset: number; readonly length: number; readonly kind: 'write' | 'zero' };
const part: fc.Arbitrary<Part> = fc.record({
  offset: fc.integer({ min: 0, max: 2 * BLOCK }),
  length: fc.constantFrom(1, 100, BLOCK, BLOCK + 1),
  kind: fc.constantFrom('write', 'zero'),
});

test('writes that overlap in blocks but not in bytes all survive, in whatever order things end', () =>
  fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(part, { minLength: 2, maxLength: 4 }),
      async (scheduler, parts) => {
        const content = new Uint8Array(4 * BLOCK).fill(0x11);
        const delay = (): Promise<unknown> => scheduler.schedule(Promise.resolve());
        const device = copyOnWrite({
          base: delayed(await baseWith(content), delay),
          layer: delayed(await dirtyLayer(content.byteLength), delay),
        });
        const owners = new Map<number, Set<number>>();
        const started = parts.map(async ({ offset, length, kind }, index) => {
          const value = kind === 'zero' ? 0 : 0x80 + index;
          for (let i = offset; i < offset + length; i++) {
            owners.set(i, (owners.get(i) ?? new Set()).add(value));
          }
          if (kind === 'zero') await device.zero(length, offset, 0);
          else await device.write(new Uint8Array(length).fill(value), offset, 0);
        });
        const target = new Uint8Array(content.byteLength);
        await scheduler.waitFor(Promise.all(started).then(() => device.read(target, 0)));
        for (const [index, value] of target.entries()) {
          const allowed = owners.get(index) ?? new Set([0x11]);
          assert.ok(allowed.has(value), `byte ${index} is ${value}`);
        }
      },
    ),
    { numRuns: 150 },
  ));

test('changed blocks are told as merged extents, clipped to the size', async () => {
  const base = memory('base', 10 * BLOCK + 5);
  const device = copyOnWrite({ base, layer: memory('layer', 10 * BLOCK + 5) });
  assert.deepEqual([...device.changedExtents()], []);
  await device.write(Uint8Array.of(1), BLOCK, 0);
  await device.write(new Uint8Array(BLOCK), 2 * BLOCK, 0);
  await device.zero(1, 10 * BLOCK + 4, 0);
  await device.trim(2 * BLOCK, 5 * BLOCK - 1, 0);
  assert.deepEqual(
    [...device.changedExtents()],
    [
      { offsetBytes: BLOCK, lengthBytes: 2 * BLOCK },
      { offsetBytes: 5 * BLOCK, lengthBytes: BLOCK },
      { offsetBytes: 10 * BLOCK, lengthBytes: 5 },
    ],
  );
  assert.equal(device.changedBytes(), 3 * BLOCK + 5);
});

test('whole blocks are written, zeroed and trimmed without reading the base', async () => {
  const base = memory('base', 8 * BLOCK);
  const unreadable: Device = {
    ...delayed(base, async () => undefined),
    read: () => assert.fail('the base was read'),
  };
  const device = copyOnWrite({ base: unreadable, layer: memory('layer', 8 * BLOCK) });
  await device.write(new Uint8Array(BLOCK), 0, 0);
  await device.zero(2 * BLOCK, BLOCK, 0);
  await device.trim(4 * BLOCK + 2, 3 * BLOCK - 1, 0);
  assert.equal(device.changedBytes(), 7 * BLOCK);
});

test('a failing base or layer fails the request alone, and nothing is marked', async () => {
  const fault = new DeviceError('DEVICE_IO', 'on purpose', { hint: 'None.' });
  const content = new Uint8Array(4 * BLOCK).fill(0x11);
  let failing = true;
  const fragile = (device: Device, call: 'read' | 'write'): Device => ({
    ...delayed(device, tick),
    [call]: async (bytes: Uint8Array, offsetBytes: number) => {
      await tick();
      if (failing) throw fault;
      return device[call](bytes, offsetBytes, 0);
    },
  });
  for (const broken of ['base', 'layer'] as const) {
    failing = true;
    const base = await baseWith(content);
    const layer = await dirtyLayer(content.byteLength);
    const device = copyOnWrite({
      base: broken === 'base' ? fragile(base, 'read') : base,
      layer: broken === 'layer' ? fragile(layer, 'write') : layer,
    });
    const write = async (): Promise<void> => device.write(Uint8Array.of(5), 100, 0);
    // The second waits for the first, must not hang on it, and fails by itself.
    const results = await Promise.allSettled([write(), write()]);
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'rejected'],
    );
    assert.equal(device.changedBytes(), 0);
    failing = false;
    await write();
    const target = new Uint8Array(4 * BLOCK);
    await device.read(target, 0);
    assert.deepEqual(target, content.slice().fill(5, 100, 101));
  }
});

test('a layer that is too small, read-only or too coarse is refused', () => {
  const base = memory('base', 2 * BLOCK);
  const coarse = { ...anyBlockSizes, minimumBytes: 8192 };
  const layer = memory('layer', 2 * BLOCK);
  assert.throws(() => copyOnWrite({ base, layer: memory('small', BLOCK) }), {
    code: 'DEVICE_SIZE',
  });
  assert.throws(() => copyOnWrite({ base, layer: readOnly(layer) }), { code: 'DEVICE_SIZE' });
  assert.throws(
    () => copyOnWrite({ base: { ...delayed(base, tick), blockSizes: coarse }, layer }),
    { code: 'DEVICE_ALIGNMENT' },
  );
});

test('what is forgotten with the process is not called durable', async () => {
  const device = copyOnWrite({ base: memory('base', BLOCK), layer: memory('layer', BLOCK) });
  assert.equal(device.durable, false);
  await device.flush();
});
