/** Goal: a restore onto a disk that is mounted is refused, and the disk keeps what it holds. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { MIB, noise, place, writeImage } from '../cli/ferry.ts';
import { runOk } from './processes.ts';
import { requireCondition, requireTool } from './tools.ts';

test('a mounted disk is no target of a restore; unmounted it is', async (context: TestContext) => {
  const isRoot = process.getuid?.() === 0;
  if (!requireCondition(context, isRoot, 'loop devices and mounts need root')) return;
  const losetup = requireTool(context, 'losetup', 'mount');
  const mkfs = requireTool(context, 'mkfs.ext4', 'e2fsprogs');
  if (losetup === undefined || mkfs === undefined) return;
  await using here = await place();
  await here.ok('init');
  await writeImage(here.path('small.img'), 8 * MIB, { [MIB]: noise(MIB, 1) });
  await here.ok('backup', 'small.img');
  await writeImage(here.path('disk.img'), 32 * MIB, {});
  await runOk(mkfs, ['-q', '-F', here.path('disk.img')]);
  await mkdir(here.path('mnt'));
  const { stdout } = await runOk(losetup, ['--find', '--show', here.path('disk.img')]);
  const device = stdout.trim();
  try {
    await runOk('mount', [device, here.path('mnt')]);
    try {
      const { code, message } = await here.failure(1, 'restore', 'small', device);
      assert.equal(code, 'DEVICE_ACCESS');
      assert.match(message, /mounted/);
    } finally {
      await runOk('umount', [here.path('mnt')]);
    }
    await here.ok('restore', 'small', device, '--verify');
  } finally {
    await runOk(losetup, ['--detach', device]);
  }
  const restored = (await readFile(here.path('disk.img'))).subarray(0, 8 * MIB);
  assert.deepEqual(restored, await readFile(here.path('small.img')));
});
