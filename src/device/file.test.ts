/** Goal: files and disks keep the contract, and every failure of the host is told as what it is. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { test } from 'node:test';
import { deviceSuite, readOnlyDeviceSuite } from './device.suite.ts';
import { type Device, FAST_ZERO, FUA } from './device.ts';
import { eachExtent } from './extent-list.ts';
import { createFile, openFile, openTarget } from './file.ts';
import { EXTENTS_AT_ONCE } from './limits.ts';
import { openDevice } from './open.ts';
import { failNth, faulty, files, scratch, withoutHoles } from './scratch.suite.ts';

const at = scratch();
let made = 0;

async function fileWith(content: Uint8Array, from = files): Promise<Device> {
  const path = at(`suite-${made++}`);
  fs.writeFileSync(path, content);
  return openFile(from, path, { readOnly: false });
}

for (const [name, from] of [
  ['file', files],
  ['file on a medium without holes', withoutHoles(files)],
] as const) {
  deviceSuite({
    name,
    runs: 25,
    make: async (content) => {
      const device = await fileWith(content, from);
      return { device, close: () => device[Symbol.asyncDispose]() };
    },
  });
}

readOnlyDeviceSuite({
  name: 'file opened to read',
  runs: 25,
  make: async (content) => {
    const path = at('read-only');
    fs.writeFileSync(path, content);
    const device = await openFile(files, path, { readOnly: true });
    return { device, close: () => device[Symbol.asyncDispose]() };
  },
});

test('a file in very many pieces does not keep others from their turn', async () => {
  const pieces = 4 * EXTENTS_AT_ONCE;
  const path = at('pieces');
  const fd = fs.openSync(path, 'w');
  for (let piece = 0; piece < pieces; piece += 1) {
    fs.writeSync(fd, new Uint8Array(4096).fill(1), 0, 4096, (2 * piece + 1) * 65_536);
  }
  fs.closeSync(fd);
  let looks = 0;
  let mostLooks = 0;
  const watched = faulty(files, (call) => {
    looks = call === 'nextData' ? looks + 1 : 0;
    mostLooks = Math.max(mostLooks, looks);
  });
  await using device = await openFile(watched, path, { readOnly: true });
  const extents = await device.extents(device.sizeBytes, 0, 1024);
  assert.equal(extents.filter(({ kind }) => kind === 'data').length, pieces);
  assert.equal(mostLooks, EXTENTS_AT_ONCE);
});

test('holes of a sparse file are told, and zeroing makes new ones', async () => {
  await using device = await createFile(files, at('sparse'), 2 ** 40);
  await device.write(new Uint8Array(8192).fill(7), 2 ** 39, 0);
  const list = async (): Promise<unknown[]> => {
    const found: unknown[] = [];
    for await (const { kind, lengthBytes } of eachExtent(device, device.sizeBytes, 0, 2)) {
      found.push([kind, lengthBytes]);
    }
    return found;
  };
  assert.deepEqual(await list(), [
    ['hole', 2 ** 39],
    ['data', 8192],
    ['hole', 2 ** 39 - 8192],
  ]);
  await device.zero(4096, 2 ** 39 + 4096, FAST_ZERO);
  assert.deepEqual((await list())[1], ['data', 4096]);
  await device.zero(2 ** 40, 0, FAST_ZERO);
  assert.deepEqual(await list(), [['hole', 2 ** 40]]);
  assert.equal((await files.stat(at('sparse'))).allocatedBytes, 0);
});

test('a medium that cannot punch zeroes by writing, and refuses to do it fast', async () => {
  await using device = await fileWith(new Uint8Array(3 * 2 ** 20).fill(7), withoutHoles(files));
  await assert.rejects(async () => device.zero(4096, 0, FAST_ZERO), { code: 'DEVICE_UNSUPPORTED' });
  assert.equal(device.hints.fastZero, false);
  await device.zero(3 * 2 ** 20 - 2, 1, FUA);
  const bytes = new Uint8Array(3 * 2 ** 20);
  await device.read(bytes, 0);
  assert.deepEqual([bytes[0], bytes[1], bytes.at(-2), bytes.at(-1)], [7, 0, 0, 7]);
});

test('a source that shrinks is told, neither zero-filled nor taken for a hole', async () => {
  await using device = await fileWith(new Uint8Array(10_000).fill(7));
  fs.truncateSync(at(`suite-${made - 1}`), 5000);
  const shrunk = {
    code: 'DEVICE_SHRUNK',
    message: /ends at 5000, it had 10000 when it was opened/,
  };
  await assert.rejects(async () => device.read(new Uint8Array(4096), 4096), shrunk);
  await assert.rejects(async () => device.extents(2000, 6000, 10), shrunk);
  await assert.rejects(async () => {
    for await (const _ of eachExtent(device, 10_000, 0));
  }, shrunk);
  await device.read(new Uint8Array(5000), 0);
});

test('what cannot be opened is told with its path', async () => {
  const readOnly = { readOnly: true };
  fs.writeFileSync(at('plain'), 'x');
  await assert.rejects(openFile(files, at('absent'), readOnly), {
    code: 'DEVICE_NOT_FOUND',
    message: /cannot open .*absent: there is no such file/,
  });
  await assert.rejects(openFile(files, at('plain/below'), readOnly), { code: 'DEVICE_NOT_FOUND' });
  await assert.rejects(openFile(files, at('.'), readOnly), {
    code: 'DEVICE_UNSUPPORTED',
    message: /it is a directory/,
  });
  const denied = faulty(files, failNth(1, { code: 'ENV_ACCESS', calls: ['open'] }));
  await assert.rejects(openFile(denied, at('plain'), readOnly), { code: 'DEVICE_ACCESS' });
  await assert.rejects(createFile(files, at('plain'), 5), { code: 'DEVICE_EXISTS' });
  await assert.rejects(openDevice(files, 'memory:lots', readOnly), { code: 'DEVICE_SIZE' });
  assert.equal((await openDevice(files, 'memory:1T', readOnly)).sizeBytes, 2 ** 40);
  assert.equal((await openDevice(files, at('plain'), readOnly)).sizeBytes, 1);
});

test('a target is made or emptied, and has the size asked for', async () => {
  fs.writeFileSync(at('target'), 'old content');
  for (const name of ['target', 'new-target']) {
    const { device, zeroed } = await openTarget(files, at(name), 8192);
    assert.deepEqual([device.sizeBytes, zeroed], [8192, true]);
    assert.deepEqual(await device.extents(8192, 0, 9), [
      { offsetBytes: 0, lengthBytes: 8192, kind: 'hole' },
    ]);
    await device[Symbol.asyncDispose]();
    assert.deepEqual(fs.readFileSync(at(name)), Buffer.alloc(8192));
  }
});

test('a full disk is DEVICE_NO_SPACE, whichever call meets it', async () => {
  const calls: Record<string, (device: Device) => unknown> = {
    write: (device) => device.write(Uint8Array.of(1), 0, 0),
    punchHole: (device) => device.zero(4096, 0, 0),
    sync: (device) => device.flush(),
  };
  for (const [call, act] of Object.entries(calls)) {
    const full = faulty(files, failNth(1, { code: 'ENV_NO_SPACE', calls: [call] }));
    await using device = await fileWith(new Uint8Array(8192), full);
    await assert.rejects(async () => act(device), { code: 'DEVICE_NO_SPACE' }, call);
  }
});

test('every single failing call is told, and none is taken for success', async () => {
  const content = new Uint8Array(3 * 4096).map((_, index) => index % 250);
  async function work(from: typeof files): Promise<Uint8Array> {
    await using device = await fileWith(content, from);
    await device.write(new Uint8Array(100).fill(1), 50, 0);
    await device.zero(4096, 4096, 0);
    await device.write(new Uint8Array(100).fill(2), 9000, FUA);
    await device.extents(3 * 4096, 0, 10);
    await device.flush();
    const target = new Uint8Array(3 * 4096);
    await device.read(target, 0);
    return target;
  }
  const counter = failNth(0);
  const expected = await work(faulty(files, counter));
  assert.ok(counter.count() >= 9, `only ${counter.count()} calls`);
  for (let nth = 1; nth <= counter.count(); nth++) {
    await assert.rejects(work(faulty(files, failNth(nth))), { code: 'DEVICE_IO' }, `call ${nth}`);
  }
  assert.deepEqual(await work(files), expected);
});

test('after a failed flush every later flush fails, and forced writes too', async () => {
  const fault = failNth(1, { calls: ['sync'] });
  await using device = await fileWith(new Uint8Array(4096), faulty(files, fault));
  await device.write(Uint8Array.of(1), 0, 0);
  await assert.rejects(async () => device.flush(), { code: 'DEVICE_IO' });
  await assert.rejects(async () => device.flush(), { code: 'DEVICE_FLUSH_FAILED' });
  await assert.rejects(async () => device.write(Uint8Array.of(1), 0, FUA), {
    code: 'DEVICE_FLUSH_FAILED',
  });
  await device.write(Uint8Array.of(1), 0, 0);
  assert.equal(fault.count(), 1, 'the kernel must not be asked again');
});

test('flushes that overlap share a sync that began after they were asked for', async () => {
  const syncs = failNth(0, { calls: ['sync'] });
  await using device = await fileWith(new Uint8Array(4096), faulty(files, syncs));
  await Promise.all(Array.from({ length: 10 }, async () => device.flush()));
  assert.equal(syncs.count(), 2);
  await device.write(Uint8Array.of(1), 0, FUA);
  assert.equal(syncs.count(), 3);
});

test('a disposed file answers DEVICE_CLOSED', async () => {
  const device = await fileWith(new Uint8Array(10));
  await device[Symbol.asyncDispose]();
  await assert.rejects(async () => device.read(new Uint8Array(1), 0), { code: 'DEVICE_CLOSED' });
  await assert.rejects(async () => device.flush(), { code: 'DEVICE_CLOSED' });
});

test('a block device has its real size, and takes what a file takes', async (context) => {
  const image = at('disk');
  fs.writeFileSync(image, new Uint8Array(2 ** 20).fill(9));
  let disk: string;
  try {
    disk = String(execFileSync('losetup', ['--find', '--show', image], { stdio: 'pipe' })).trim();
  } catch (error) {
    context.skip(`no loop device can be made here: ${String(error).split('\n')[0]}`);
    return;
  }
  try {
    await using device = await openFile(files, disk, { readOnly: false });
    assert.equal(device.sizeBytes, 2 ** 20);
    assert.deepEqual(await device.extents(2 ** 20, 0, 9), [
      { offsetBytes: 0, lengthBytes: 2 ** 20, kind: 'data' },
    ]);
    await device.zero(8192, 4096, FUA);
    await device.zero(1000, 20_001, 0); // Not a multiple of a sector: written, not punched.
    const bytes = new Uint8Array(32_768);
    await device.read(bytes, 0);
    const expected = new Uint8Array(32_768).fill(9).fill(0, 4096, 12_288).fill(0, 20_001, 21_001);
    assert.deepEqual(bytes, expected);
    await assert.rejects(openTarget(files, disk, 2 ** 20 + 1), { code: 'DEVICE_SIZE' });
    const { device: target, zeroed } = await openTarget(files, disk, 2 ** 19);
    assert.deepEqual([target.sizeBytes, zeroed], [2 ** 20, false]);
    await target[Symbol.asyncDispose]();
  } finally {
    execFileSync('losetup', ['--detach', disk]);
  }
});
