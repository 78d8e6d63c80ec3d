/** Goal: a target that takes whole blocks only ends up with every byte of an odd-sized volume. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { imageBytes } from '../../test/golden/images/images.ts';
import { equalBytes, nodeEnv } from '../core/index.ts';
import { checkRange, type Device, memory } from '../device/index.ts';
import { checkRawTarget } from './disk-image.ts';
import { anyLengthTarget } from './restore-target.ts';

/** Memory that refuses what is not whole blocks, and answers each call a turn later. */
function blocksOnly(sizeBytes: number, minimumBytes: number): Device {
  const inner = memory('blocks', sizeBytes);
  const device: Device = {
    ...inner,
    name: inner.name,
    sizeBytes,
    blockSizes: { ...inner.blockSizes, minimumBytes },
    async read(target, offsetBytes) {
      checkRange(device, target.byteLength, offsetBytes);
      await new Promise(setImmediate);
      await inner.read(target, offsetBytes);
    },
    async write(source, offsetBytes, flags) {
      checkRange(device, source.byteLength, offsetBytes);
      await new Promise(setImmediate);
      await inner.write(source, offsetBytes, flags);
    },
    async zero(lengthBytes, offsetBytes, flags) {
      checkRange(device, lengthBytes, offsetBytes);
      await new Promise(setImmediate);
      await inner.zero(lengthBytes, offsetBytes, flags);
    },
    flush: () => inner.flush(),
    trim: () => assert.fail('nothing trims here'),
    extents: () => assert.fail('nobody asks for extents here'),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
  return device;
}

for (const minimumBytes of [1, 512, 4096, 65536]) {
  test(`chunks and holes that share blocks of ${minimumBytes} are all there, the rest as it was`, async () => {
    const sizeBytes = 3 * 65536;
    const before = new Uint8Array(sizeBytes).fill(0xaa);
    const expected = before.slice();
    await using target = anyLengthTarget(blocksOnly(sizeBytes, minimumBytes));
    await target.write(before, 0, 0);
    const writes: unknown[] = [];
    const end = 2 * 65536 + 4196;
    for (let at = 0, number = 0; at < end; at += 4096, number++) {
      const lengthBytes = Math.min(4096, end - at);
      const bytes = new Uint8Array(lengthBytes).fill(number % 7 === 3 ? 0 : number + 1);
      expected.set(bytes, at);
      // All at once, as the threads of a restore do.
      if (number % 7 === 3) writes.push(target.zero(lengthBytes, at, 0));
      else writes.push(target.write(bytes, at, 0));
    }
    await Promise.all(writes);
    const found = new Uint8Array(sizeBytes);
    // A comparison reads odd lengths too.
    await target.read(found.subarray(0, end), 0);
    await target.read(found.subarray(end), end);
    assert(equalBytes(found, expected));
  });
}

test('one part that fails does not stop those behind it', async () => {
  const device = blocksOnly(65536, 4096);
  let failing = true;
  const { read } = device;
  device.read = (target, offsetBytes) => {
    if (failing) throw new Error('once');
    return read.call(device, target, offsetBytes);
  };
  const target = anyLengthTarget(device);
  await assert.rejects(async () => target.write(new Uint8Array(10), 0, 0), { message: 'once' });
  failing = false;
  await target.write(new Uint8Array(10).fill(5), 0, 0);
  const found = new Uint8Array(11);
  await target.read(found, 0);
  assert.deepEqual([found[9], found[10]], [5, 0]);
});

test('a qcow2 image is no target for raw bytes, by its name or by its content', async () => {
  const env = nodeEnv();
  const folder = await mkdtemp(join(tmpdir(), 'ferry-target-'));
  try {
    const path = (name: string) => join(folder, name);
    await writeFile(path('odd.img'), imageBytes('parts.qcow2'));
    await writeFile(path('plain.img'), new Uint8Array(4096));
    for (const name of ['odd.img', 'new.qcow2', 'NEW.QCOW']) {
      await assert.rejects(checkRawTarget(env, path(name)), { code: 'TRANSFER_TARGET' }, name);
    }
    for (const target of [path('plain.img'), path('new.img'), 'nbd://host/a.qcow2', folder]) {
      await checkRawTarget(env, target);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
