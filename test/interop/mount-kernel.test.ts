/** Goal: the kernel mounts a snapshot's file system for writing, and the commit is clean. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import { mkdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MIB, noise, type Place, place } from '../cli/ferry.ts';
import { type Running, run, runOk, start } from './processes.ts';
import { requireCondition, requireTools, type Tools } from './tools.ts';

/** All that is needed, or undefined after saying what is not there. */
function toolsFor(context: TestContext): Tools | undefined {
  const isRoot = process.getuid?.() === 0;
  if (!requireCondition(context, isRoot, 'loop devices and mounts need root')) return undefined;
  const packages = {
    nbdfuse: 'nbdfuse',
    fusermount3: 'fuse3',
    losetup: 'mount',
    'mkfs.ext4': 'e2fsprogs',
    e2fsck: 'e2fsprogs',
    debugfs: 'e2fsprogs',
  };
  return requireTools(context, packages);
}

/** A repository with an ext4 file system of 64 MiB that holds a few files. */
async function fileSystem(tools: Tools): Promise<Place> {
  const here = await place();
  const files = here.path('files');
  await mkdir(join(files, 'etc'), { recursive: true });
  await writeFile(join(files, 'etc/motd'), 'hello\n');
  await writeFile(join(files, 'large'), noise(10 * MIB, 1));
  await runOk(tools['mkfs.ext4']!, ['-q', '-F', '-d', files, here.path('root.img'), '64M']);
  await here.ok('init');
  await here.ok('backup', 'root.img');
  return here;
}

/** Changes in `folder`, waited for without looking again and again. */
async function untilThere(folder: string, isThere: () => Promise<boolean>, server: Running) {
  const watcher: FSWatcher = watch(folder);
  const ended = server.finished().then(() => {
    throw new Error(`nbdfuse ended: ${server.stderr}`);
  });
  ended.catch(() => {});
  try {
    while (!(await isThere())) await Promise.race([once(watcher, 'change'), ended]);
  } finally {
    watcher.close();
  }
}

/** The export as a loop device; disposing it detaches, unmounts and ends nbdfuse. */
async function loopDevice(
  tools: Tools,
  uri: string,
  folder: string,
): Promise<AsyncDisposable & { readonly device: string }> {
  await using stack = new AsyncDisposableStack();
  await mkdir(folder);
  const volume = join(folder, 'volume');
  const pidFile = join(folder, 'pid');
  await writeFile(volume, '');
  const fuse = stack.use(start(tools.nbdfuse!, ['-P', pidFile, volume, uri]));
  stack.defer(async () => {
    await run(tools.fusermount3!, ['-u', volume]);
    await fuse.finished();
  });
  const isReady = async () => (await readFile(pidFile, 'utf8').catch(() => '')) !== '';
  await untilThere(folder, isReady, fuse);
  const { stdout } = await runOk(tools.losetup!, ['--find', '--show', volume]);
  const device = stdout.trim();
  stack.defer(async () => void (await runOk(tools.losetup!, ['--detach', device])));
  const owned = stack.move();
  return { device, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function mounted(device: string, folder: string): Promise<AsyncDisposable> {
  await mkdir(folder, { recursive: true });
  await runOk('mount', ['-t', 'ext4', device, folder]);
  return { [Symbol.asyncDispose]: async () => void (await runOk('umount', [folder])) };
}

test('a snapshot is mounted by the kernel, written, committed, and restores clean', async (context) => {
  const tools = toolsFor(context);
  if (tools === undefined) return;
  await using here = await fileSystem(tools);
  const before = await readFile(here.path('root.img'));
  const server = await here.serve('mount', 'root@latest', '--rw', '--commit');
  {
    await using loop = await loopDevice(tools, server.uri, here.path('fuse'));
    {
      await using _mounted = await mounted(loop.device, here.path('mnt'));
      assert.equal(await readFile(here.path('mnt/etc/motd'), 'utf8'), 'hello\n');
      await writeFile(here.path('mnt/etc/motd'), 'changed\n');
      await writeFile(here.path('mnt/new'), noise(5 * MIB, 2));
      await mkdir(here.path('mnt/folder'));
      await runOk('sync', ['--file-system', here.path('mnt')]);
    }
    await runOk(tools.e2fsck!, ['-fn', loop.device]);
  }
  server.kill('SIGTERM');
  const { exitCode, stderr } = await server.finished();
  assert.equal(exitCode, 0, stderr);
  await here.ok('restore', 'root@latest', 'second.img', '--verify');
  await runOk(tools.e2fsck!, ['-fn', here.path('second.img')]);
  const cat = (file: string) =>
    runOk(tools.debugfs!, ['-R', `cat ${file}`, here.path('second.img')]);
  assert.equal((await cat('/etc/motd')).stdout, 'changed\n');
  await runOk(tools.debugfs!, ['-R', `dump /new ${here.path('new')}`, here.path('second.img')]);
  assert.ok(noise(5 * MIB, 2).equals(await readFile(here.path('new'))));
  await here.ok('restore', 'root@latest~1', 'first.img', '--verify');
  assert.ok(
    before.equals(await readFile(here.path('first.img'))),
    'the first snapshot is as it was',
  );
});

test('an export bears a file system through nbdfuse, and fstrim reaches its holes', async (context) => {
  const tools = toolsFor(context);
  if (tools === undefined) return;
  await using here = await place();
  await writeFile(here.path('disk.img'), '');
  await truncate(here.path('disk.img'), 96 * MIB);
  const server = await here.serve('export', 'disk.img');
  const allocated = async () => (await stat(here.path('disk.img'))).blocks * 512;
  {
    await using loop = await loopDevice(tools, server.uri, here.path('fuse'));
    await runOk(tools['mkfs.ext4']!, ['-q', loop.device]);
    {
      await using _mounted = await mounted(loop.device, here.path('mnt'));
      await writeFile(here.path('mnt/kept'), noise(5 * MIB, 1));
      await writeFile(here.path('mnt/gone'), noise(30 * MIB, 2));
      await runOk('sync', ['--file-system', here.path('mnt')]);
      const before = await allocated();
      await rm(here.path('mnt/gone'));
      await runOk('sync', ['--file-system', here.path('mnt')]);
      await runOk('fstrim', [here.path('mnt')]);
      const freed = before - (await allocated());
      assert.ok(freed > 20 * MIB, `trimming reached the image: ${freed} bytes`);
    }
    await runOk(tools.e2fsck!, ['-fn', loop.device]);
  }
  server.kill('SIGTERM');
  assert.equal((await server.finished()).exitCode, 0);
  await runOk(tools.e2fsck!, ['-fn', here.path('disk.img')]);
  const dump = `dump /kept ${here.path('kept')}`;
  await runOk(tools.debugfs!, ['-R', dump, here.path('disk.img')]);
  assert.ok(noise(5 * MIB, 1).equals(await readFile(here.path('kept'))));
});
