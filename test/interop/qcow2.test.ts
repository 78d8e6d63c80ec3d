/** Goal: what qemu-img makes is read here as QEMU reads it - every kind of cluster and table. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Draws } from '../../sim/index.ts';
import { type Device, eachExtent, openFile } from '../../src/device/index.ts';
import {
  differingClusters,
  dirtyRuns,
  qcow2Device,
  readQcow2Bitmaps,
  readQcow2Header,
  readQcow2Map,
  readQcow2Snapshots,
} from '../../src/fs/index.ts';
import { emptyQcow2 } from '../../src/track/empty-qcow2.ts';
import { env, scratch } from './nbd-scratch.ts';
import { runOk } from './processes.ts';
import { requireTool } from './tools.ts';

const SIZE = 12 * 1024 * 1024 + 512;

type Tools = { readonly img: string; readonly io: string };

function tools(context: TestContext): Tools | undefined {
  const img = requireTool(context, 'qemu-img', 'qemu-utils');
  const io = requireTool(context, 'qemu-io', 'qemu-utils');
  return img === undefined || io === undefined ? undefined : { img, io };
}

/** Writes, zeroes, discards and compressed clusters where a seed says. */
async function scribble({ io }: Tools, file: string, seed: number, cluster: number): Promise<void> {
  const draws = new Draws(seed);
  const commands: string[] = [];
  for (let step = 0; step < 40; step++) {
    const at = 512 * draws.below(SIZE / 512);
    const length = Math.min(SIZE - at, 512 * (1 + draws.below(400)));
    const pattern = 1 + draws.below(255);
    const whole = Math.floor(at / cluster) * cluster;
    switch (draws.below(6)) {
      case 0:
        commands.push(`write -z ${at} ${length}`);
        break;
      case 1:
        commands.push(`write -z -u ${at} ${length}`);
        break;
      case 2:
        commands.push(`discard ${at} ${length}`);
        break;
      case 3:
        if (whole + cluster <= SIZE) commands.push(`write -c -P ${pattern} ${whole} ${cluster}`);
        break;
      default:
        commands.push(`write -P ${pattern} ${at} ${length}`);
    }
  }
  // A compressed cluster where there is one already is refused; the rest goes on.
  await runOk(io, ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), file]).catch(
    (error) => assert.match(String(error), /Input\/output error|write failed/),
  );
}

async function bytesOf(device: Device): Promise<Buffer> {
  const bytes = Buffer.alloc(device.sizeBytes);
  const draws = new Draws(device.sizeBytes);
  for (let at = 0; at < bytes.byteLength; ) {
    const length = Math.min(bytes.byteLength - at, 1 + draws.below(300_000));
    await device.read(bytes.subarray(at, at + length), at);
    at += length;
  }
  return bytes;
}

async function rawOf({ img }: Tools, file: string, raw: string, more: string[] = []) {
  await runOk(img, ['convert', '-O', 'raw', ...more, file, raw]);
  return readFile(raw);
}

for (const [name, options, cluster] of [
  ['small clusters', 'cluster_size=512', 512],
  ['the usual clusters', 'cluster_size=64k', 65_536],
  ['version 2', 'compat=0.10,cluster_size=4k', 4096],
  ['zstd', 'compression_type=zstd,cluster_size=64k', 65_536],
  ['parts of clusters', 'extended_l2=on,cluster_size=64k', 65_536],
  ['large clusters', 'cluster_size=2M', 2 * 1024 * 1024],
] as const) {
  test(`an image with ${name} reads as QEMU reads it`, { timeout: 120_000 }, async (context) => {
    const found = tools(context);
    if (found === undefined) return;
    await using place = await scratch();
    const { folder } = place;
    const file = join(folder, 'disk.qcow2');
    await runOk(found.img, ['create', '-q', '-f', 'qcow2', '-o', options, file, String(SIZE)]);
    await scribble(found, file, cluster, cluster);
    await scribble(found, file, cluster + 1, cluster);
    await using device = await openFile(env.files, file, { readOnly: true });
    const map = await readQcow2Map(device, await readQcow2Header(device));
    const view = qcow2Device(device, map);
    const expected = await rawOf(found, file, join(folder, 'raw'));
    const bytes = await bytesOf(view);
    assert.ok(bytes.equals(expected));
    for await (const extent of eachExtent(view, view.sizeBytes, 0, 3)) {
      if (extent.kind === 'data') continue;
      const { offsetBytes, lengthBytes } = extent;
      assert.ok(!expected.subarray(offsetBytes, offsetBytes + lengthBytes).some((byte) => byte));
    }
  });
}

test('what is not in the image comes from its backing file, which may be shorter', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using place = await scratch();
  const { folder } = place;
  const base = join(folder, 'base.qcow2');
  const top = join(folder, 'top.qcow2');
  await runOk(found.img, ['create', '-q', '-f', 'qcow2', base, String(SIZE)]);
  await scribble(found, base, 7, 65_536);
  const create = ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', 'base.qcow2', top];
  await runOk(found.img, [...create, String(2 * SIZE)]);
  await runOk(found.io, ['-f', 'qcow2', '-c', 'write -P 9 100k 300k', '-c', 'write -z 1M 1M', top]);
  await using baseFile = await openFile(env.files, base, { readOnly: true });
  await using topFile = await openFile(env.files, top, { readOnly: true });
  const header = await readQcow2Header(topFile);
  assert.deepEqual(header.backing, { file: 'base.qcow2', format: 'qcow2' });
  const backing = qcow2Device(
    baseFile,
    await readQcow2Map(baseFile, await readQcow2Header(baseFile)),
  );
  const view = qcow2Device(topFile, await readQcow2Map(topFile, header), { backing });
  const expected = await rawOf(found, top, join(folder, 'raw'));
  assert.ok((await bytesOf(view)).equals(expected));
});

test('bitmaps say what was written since they were made', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using place = await scratch();
  const { folder } = place;
  const file = join(folder, 'disk.qcow2');
  const { img, io } = found;
  await runOk(img, ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', file, String(SIZE)]);
  await runOk(img, ['bitmap', '--add', '-g', '8192', file, 'fine']);
  await runOk(img, ['bitmap', '--add', '--disable', '-g', '65536', file, 'off']);
  const writes = ['write 0 1', 'write 100k 8k', 'write -z 1M 1M', `write ${SIZE - 512} 512`];
  await runOk(io, ['-f', 'qcow2', ...writes.flatMap((write) => ['-c', write]), file]);
  await using device = await openFile(env.files, file, { readOnly: true });
  const header = await readQcow2Header(device);
  const bitmaps = await readQcow2Bitmaps(device, header);
  assert.deepEqual(
    bitmaps.map(({ name, granularityBytes, isAuto, isInUse }) => ({
      name,
      granularityBytes,
      isAuto,
      isInUse,
    })),
    [
      { name: 'fine', granularityBytes: 8192, isAuto: true, isInUse: false },
      { name: 'off', granularityBytes: 65_536, isAuto: false, isInUse: false },
    ],
  );
  assert.deepEqual(await Array.fromAsync(dirtyRuns(device, header, bitmaps[0]!)), [
    { offsetBytes: 0, lengthBytes: 8192 },
    { offsetBytes: 98_304, lengthBytes: 16_384 },
    { offsetBytes: 1_048_576, lengthBytes: 1_048_576 },
    { offsetBytes: SIZE - 512, lengthBytes: 512 },
  ]);
  assert.deepEqual(await Array.fromAsync(dirtyRuns(device, header, bitmaps[1]!)), []);
});

test('snapshots inside an image are read, and their difference is told', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using place = await scratch();
  const { folder } = place;
  const file = join(folder, 'disk.qcow2');
  const { img } = found;
  await runOk(img, ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', file, String(SIZE)]);
  await scribble(found, file, 31, 4096);
  await runOk(img, ['snapshot', '-c', 'one', file]);
  await scribble(found, file, 32, 4096);
  await runOk(img, ['snapshot', '-c', 'two', file]);
  await runOk(img, ['resize', '-q', file, '+1M']).catch(() => {});
  await scribble(found, file, 33, 4096);
  await using device = await openFile(env.files, file, { readOnly: true });
  const header = await readQcow2Header(device);
  const snapshots = await readQcow2Snapshots(device, header);
  assert.deepEqual(
    snapshots.map(({ id, name }) => [id, name]),
    [
      ['1', 'one'],
      ['2', 'two'],
    ],
  );
  const states = [];
  for (const [index, snapshot] of snapshots.entries()) {
    const map = await readQcow2Map(device, header, snapshot.table);
    const raw = join(folder, `raw${index}`);
    const expected = await rawOf(found, file, raw, ['-l', `snapshot.name=${snapshot.name}`]);
    const bytes = await bytesOf(qcow2Device(device, map));
    // QEMU goes on with zeroes to the size that the image has now.
    assert.ok(bytes.equals(expected.subarray(0, SIZE)));
    states.push({ map, bytes });
  }
  const map = await readQcow2Map(device, header);
  states.push({ map, bytes: await rawOf(found, file, join(folder, 'now')) });
  for (const [from, to] of [
    [0, 1],
    [1, 2],
    [0, 2],
    [2, 0],
  ] as const) {
    const before = states[from]!;
    const after = states[to]!;
    const changed = after.bytes;
    // What was not told is as before: the older bytes with the told ranges laid over are the newer.
    const built = Buffer.alloc(after.bytes.byteLength);
    before.bytes.copy(built);
    let told = 0;
    for await (const run of differingClusters(before.map, after.map)) {
      changed.copy(built, run.offsetBytes, run.offsetBytes, run.offsetBytes + run.lengthBytes);
      told += run.lengthBytes;
    }
    assert.ok(built.equals(after.bytes), `${from} to ${to}`);
    assert.ok(told > 0 && told < SIZE);
  }
});

test('a bitmap that QEMU has open, or left open, is in use', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using place = await scratch();
  const { folder } = place;
  const file = join(folder, 'disk.qcow2');
  await runOk(found.img, ['create', '-q', '-f', 'qcow2', file, String(SIZE)]);
  await runOk(found.img, ['bitmap', '--add', file, 'daily']);
  // Killed after its first write: nobody stored the bitmap.
  const abort = ['-f', 'qcow2', '-c', 'write 0 64k', '-c', 'flush', '-c', 'abort', file];
  await assert.rejects(runOk(found.io, abort));
  await using device = await openFile(env.files, file, { readOnly: true });
  const [bitmap] = await readQcow2Bitmaps(device, await readQcow2Header(device));
  assert.equal(bitmap?.isInUse, true);
});

test('the empty images that are made here are sound', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  await using place = await scratch();
  const file = place.path('empty.qcow2');
  for (const sizeBytes of [0, 512, SIZE, 2 ** 40, 5 * 2 ** 40 + 512]) {
    await writeFile(file, emptyQcow2(sizeBytes));
    await runOk(found.img, ['check', '-q', '-f', 'qcow2', file]);
    const { stdout } = await runOk(found.img, ['info', '--output=json', '-f', 'qcow2', file]);
    assert.equal(JSON.parse(stdout)['virtual-size'], sizeBytes);
  }
});
