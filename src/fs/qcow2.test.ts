/** Goal: qcow2 images are read as their makers meant them, and what lies in them is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  deviceOf,
  type ImageName,
  imageBytes,
  imageDigests,
} from '../../test/golden/images/images.ts';
import { sha256, toHex } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import {
  differingClusters,
  dirtyRuns,
  looksLikeQcow2,
  qcow2Device,
  readQcow2Bitmaps,
  readQcow2Header,
  readQcow2Map,
  readQcow2Snapshots,
} from './index.ts';

const KIB = 1024;

async function digestOf(device: Device): Promise<string> {
  const bytes = new Uint8Array(device.sizeBytes);
  await device.read(bytes, 0);
  return toHex(sha256(bytes));
}

/** The image with one number changed. */
function changed(name: ImageName, change: (view: DataView) => void): Device {
  const bytes = imageBytes(name).slice();
  change(new DataView(bytes.buffer));
  return deviceOf(bytes);
}

test('an image and its snapshots read as QEMU read them', async () => {
  const digests = imageDigests();
  for (const name of ['clusters.qcow2', 'parts.qcow2'] as const) {
    const file = deviceOf(imageBytes(name));
    assert.equal(await looksLikeQcow2(file), true);
    const header = await readQcow2Header(file);
    const view = qcow2Device(file, await readQcow2Map(file, header));
    assert.equal(await digestOf(view), digests.get(name));
    for (const snapshot of await readQcow2Snapshots(file, header)) {
      const map = await readQcow2Map(file, header, snapshot.table);
      const wanted = digests.get(`${name}@${snapshot.name}`);
      assert.equal(await digestOf(qcow2Device(file, map)), wanted);
    }
  }
});

test('a bitmap tells its dirty ranges, and the difference of snapshots is not more than that', async () => {
  const file = deviceOf(imageBytes('clusters.qcow2'));
  const header = await readQcow2Header(file);
  const [daily, off] = await readQcow2Bitmaps(file, header);
  assert.deepEqual([daily!.name, daily!.isAuto, daily!.isInUse], ['daily', true, false]);
  assert.deepEqual([off!.name, off!.isAuto, off!.granularityBytes], ['off', false, 64 * KIB]);
  const since = await Array.fromAsync(dirtyRuns(file, header, daily!));
  assert.deepEqual(since, [
    { offsetBytes: 8 * KIB, lengthBytes: 24 * KIB },
    { offsetBytes: 2048 * KIB, lengthBytes: 8 * KIB },
    { offsetBytes: 3072 * KIB, lengthBytes: 8 * KIB },
    { offsetBytes: 4496 * KIB, lengthBytes: 16 * KIB },
  ]);
  const [first, second] = await readQcow2Snapshots(file, header);
  const older = await readQcow2Map(file, header, first!.table);
  const newer = await readQcow2Map(file, header, second!.table);
  assert.deepEqual(await Array.fromAsync(differingClusters(older, newer)), [
    { offsetBytes: 8 * KIB, lengthBytes: 20 * KIB },
    { offsetBytes: 2048 * KIB, lengthBytes: 4 * KIB },
    { offsetBytes: 3072 * KIB, lengthBytes: 4 * KIB },
    { offsetBytes: 4500 * KIB, lengthBytes: 12 * KIB },
  ]);
  assert.deepEqual(await Array.fromAsync(differingClusters(newer, newer)), []);
});

test('bitmaps count for nothing once a program that does not know them has written', async () => {
  const file = changed('clusters.qcow2', (view) => view.setUint32(92, 0));
  const header = await readQcow2Header(file);
  assert.equal(header.hasStaleBitmaps, true);
  assert.deepEqual(await readQcow2Bitmaps(file, header), []);
});

test('what contradicts itself is refused, with a code and the name of the image', async () => {
  const cases: [string, (view: DataView) => void, string][] = [
    ['another magic', (view) => view.setUint32(0, 1), 'FS_NOT_FOUND'],
    ['version 4', (view) => view.setUint32(4, 4), 'FS_UNSUPPORTED'],
    ['clusters of 2 GiB', (view) => view.setUint32(20, 31), 'FS_DAMAGED'],
    ['encryption', (view) => view.setUint32(32, 2), 'FS_UNSUPPORTED'],
    ['a first table of no entries', (view) => view.setUint32(36, 0), 'FS_DAMAGED'],
    ['a first table of 2^32 entries', (view) => view.setUint32(36, 2 ** 32 - 1), 'FS_LIMIT'],
    ['a size of 2^60', (view) => view.setUint32(24, 2 ** 28), 'FS_DAMAGED'],
    ['an unknown feature', (view) => view.setUint32(76, 0x80), 'FS_UNSUPPORTED'],
    ['data in another file', (view) => view.setUint32(76, 4), 'FS_UNSUPPORTED'],
    ['a header of 8 GiB', (view) => view.setUint32(100, 2 ** 31), 'FS_DAMAGED'],
    ['2^31 snapshots', (view) => view.setUint32(60, 2 ** 31), 'FS_LIMIT'],
    ['a first table behind the end', (view) => view.setUint32(40, 1), 'FS_DAMAGED'],
  ];
  for (const [what, change, code] of cases) {
    const file = changed('clusters.qcow2', change);
    const reading = (async () => readQcow2Map(file, await readQcow2Header(file)))();
    await assert.rejects(reading, { code }, what);
  }
});

test('a bitmap for another size is refused', async () => {
  const file = changed('clusters.qcow2', (view) => {
    const at = Number(view.getBigUint64(40)); // Sixteen entries more of the first table.
    view.setUint32(36, 400);
    view.setBigUint64(24, BigInt(400 * 2 * KIB * KIB));
    assert.ok(at > 0);
  });
  const header = await readQcow2Header(file);
  const [daily] = await readQcow2Bitmaps(file, header);
  await assert.rejects(Array.fromAsync(dirtyRuns(file, header, daily!)), { code: 'FS_DAMAGED' });
});

test('data behind the end of the file is damage, not zeroes', async () => {
  const whole = imageBytes('clusters.qcow2');
  const file = deviceOf(whole.subarray(0, 64 * KIB));
  const header = await readQcow2Header(file);
  const view = qcow2Device(file, await readQcow2Map(file, header));
  await assert.rejects(async () => view.read(new Uint8Array(view.sizeBytes), 0), {
    code: 'FS_DAMAGED',
  });
});

test('nobody can write through the view', async () => {
  const file = deviceOf(imageBytes('clusters.qcow2'));
  const view = qcow2Device(file, await readQcow2Map(file, await readQcow2Header(file)));
  assert.throws(() => view.write(new Uint8Array(1), 0, 0), { code: 'DEVICE_READ_ONLY' });
  assert.throws(() => view.zero(1, 0, 0), { code: 'DEVICE_READ_ONLY' });
  assert.throws(() => view.trim(1, 0, 0), { code: 'DEVICE_READ_ONLY' });
});
