/** Goal: what other NBD servers serve is backed up as it is, and restored to them. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { type Line, MIB, noise, overwrite, type Place, place, writeImage } from '../cli/ferry.ts';
import { type Running, runOk, start } from './processes.ts';
import { requireCondition, requireTool } from './tools.ts';

const SIZE = 32 * MIB;

async function withImage(): Promise<Place> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, {
    [MIB]: noise(4 * MIB, 1),
    [25 * MIB + 512]: noise(MIB, 2),
  });
  return here;
}

/** Backs up twice, with a change between, and compares what is restored with the image. */
async function followsTheImage(here: Place, uri: string): Promise<void> {
  const [first] = (await here.json(0, 'backup', uri, '--name', 'vm')) as [Line];
  assert.equal(first.sizeBytes, SIZE);
  assert.ok(Number(first.readBytes) < 10 * MIB, `holes were read: ${first.readBytes} bytes`);
  await overwrite(here.path('disk.img'), 2 * MIB + 100, noise(50_000, 3));
  const [second] = (await here.json(0, 'backup', uri, '--name', 'vm')) as [Line];
  assert.equal(second.changedBytes, 65_536);
  await here.ok('restore', 'vm', 'restored.img', '--verify');
  const [disk, restored] = await Promise.all(
    ['disk.img', 'restored.img'].map((name) => readFile(here.path(name))),
  );
  assert.ok(disk!.equals(restored!));
}

async function listening(server: Running, socket: string): Promise<Running> {
  await server.socket(socket);
  return server;
}

test('an export of nbdkit is backed up, incrementally, and restores equal', async (context) => {
  const nbdkit = requireTool(context, 'nbdkit', 'nbdkit');
  if (nbdkit === undefined) return;
  await using here = await withImage();
  const socket = here.path('nbdkit.sock');
  const words = ['-f', '-U', socket, 'file', here.path('disk.img')];
  await using _server = await listening(start(nbdkit, words), socket);
  await followsTheImage(here, `nbd+unix:///?socket=${socket}`);
});

test('an export of qemu-nbd is backed up, incrementally, and restores equal', async (context) => {
  const qemuNbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (qemuNbd === undefined) return;
  await using here = await withImage();
  const socket = here.path('qemu.sock');
  const words = ['-t', '-r', '-f', 'raw', '-x', 'vda', '-k', socket, here.path('disk.img')];
  await using _server = await listening(start(qemuNbd, words), socket);
  await followsTheImage(here, `nbd+unix:///vda?socket=${socket}`);
});

test("a snapshot is restored into qemu-nbd's and nbdkit's exports", async (context) => {
  const nbdkit = requireTool(context, 'nbdkit', 'nbdkit');
  const qemuNbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (nbdkit === undefined || qemuNbd === undefined) return;
  await using here = await withImage();
  await here.ok('backup', 'disk.img');
  const disk = await readFile(here.path('disk.img'));
  for (const [name, tool] of [
    ['kit', nbdkit],
    ['qemu', qemuNbd],
  ] as const) {
    const [image, socket] = [here.path(`${name}.img`), here.path(`${name}.sock`)];
    await writeImage(image, SIZE, { 0: noise(SIZE, 9) });
    const words =
      name === 'kit'
        ? ['-f', '-U', socket, 'file', image]
        : ['-t', '-f', 'raw', '-k', socket, image];
    await using _server = await listening(start(tool, words), socket);
    await here.ok('restore', 'disk', `nbd+unix:///?socket=${socket}`, '--verify');
    assert.ok(disk.equals(await readFile(image)), name);
  }
});

/** A file as a block device of the kernel; disposing it detaches. */
async function loopDevice(losetup: string, path: string) {
  const { stdout } = await runOk(losetup, ['--find', '--show', path]);
  const device = stdout.trim();
  return {
    device,
    [Symbol.asyncDispose]: async () => void (await runOk(losetup, ['--detach', device])),
  };
}

test('a block device is backed up and restored to, at its real size', async (context) => {
  const losetup = requireTool(context, 'losetup', 'mount');
  if (losetup === undefined) return;
  const isRoot = process.getuid?.() === 0;
  if (!requireCondition(context, isRoot, 'loop devices need root')) return;
  await using here = await withImage();
  await writeImage(here.path('target.img'), SIZE + MIB, { 0: noise(SIZE + MIB, 9) });
  await writeImage(here.path('small.img'), MIB, {});
  await using source = await loopDevice(losetup, here.path('disk.img'));
  await using target = await loopDevice(losetup, here.path('target.img'));
  await using small = await loopDevice(losetup, here.path('small.img'));
  const [backup] = (await here.json(0, 'backup', source.device, '--name', 'vm')) as [Line];
  assert.equal(backup.sizeBytes, SIZE);
  assert.equal((await here.failure(1, 'restore', 'vm', small.device)).code, 'DEVICE_SIZE');
  await here.ok('restore', 'vm', target.device, '--verify');
  const [disk, restored] = await Promise.all(
    [source.device, target.device].map((device) => readFile(device)),
  );
  assert.ok(disk!.equals(restored!.subarray(0, SIZE)));
  assert.ok(
    noise(SIZE + MIB, 9)
      .subarray(SIZE)
      .equals(restored!.subarray(SIZE)),
  );
});
