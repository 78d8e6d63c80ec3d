/** Goal: a file of `ferry attach --fuse` bears loop devices and file systems, and ends well. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, open, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { ferryPath, MIB, noise, type Place, place } from '../cli/ferry.ts';
import { type Running, run, runOk, start } from './processes.ts';
import { findTool, requireCondition, requireMachine, requireTool } from './tools.ts';

const SIZE = 64 * MIB;

type Stage = Place & { readonly uri: string; readonly server: Running };

/** An export of an empty image; undoes what hangs on the mounts below it, whatever happens. */
async function stage(): Promise<Stage> {
  const here = await place();
  await writeFile(here.path('disk.img'), '');
  await truncate(here.path('disk.img'), SIZE);
  const server = await here.serve('export', 'disk.img', '--listen', 'unix:nbd.sock');
  return {
    ...here,
    server,
    uri: server.uri,
    async [Symbol.asyncDispose]() {
      // Broken off first, so that nothing below can wait for a server that is gone.
      for (const name of ['mnt', 'file', 'folder']) {
        await run('umount', ['--lazy', '--quiet', here.path(name)]);
      }
      const { stdout } = await run(findTool('losetup') ?? 'true', [
        '--list',
        '-n',
        '-O',
        'NAME,BACK-FILE',
      ]);
      for (const line of stdout.split('\n').filter((text) => text.includes(here.folder))) {
        await run('losetup', ['--detach', line.split(/\s+/)[0]!]);
      }
      await here[Symbol.asyncDispose]();
    },
  };
}

function isPossible(context: TestContext): boolean {
  if (!requireCondition(context, existsSync('/dev/fuse'), '/dev/fuse is not there')) return false;
  return requireCondition(context, process.getuid?.() === 0, 'mounting needs root here');
}

async function attach(here: Place, ...words: string[]): Promise<Running> {
  const child = here.start('attach', ...words, '--json');
  await child.line('"state":"ready"');
  return child;
}

/** Resolves when the words stand on stderr; the test's own limit ends the waiting. */
async function warned(child: Running, words: string): Promise<void> {
  while (!child.stderr.includes(words)) await once(child.child.stderr!, 'data');
}

async function stop(child: Running): Promise<void> {
  child.kill('SIGINT');
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 0, stderr);
}

test('a loop device, a file system, trimming, and a clean end on an attached file', async (context) => {
  if (!isPossible(context)) return;
  if (requireTool(context, 'losetup', 'mount') === undefined) return;
  if (requireTool(context, 'mkfs.ext4', 'e2fsprogs') === undefined) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file');
  assert.equal((await stat(here.path('file'))).size, SIZE);
  const { stdout } = await runOk('losetup', ['--find', '--show', here.path('file')]);
  const loop = stdout.trim();
  await runOk('/usr/sbin/mkfs.ext4', ['-q', loop]);
  await mkdir(here.path('mnt'));
  await runOk('mount', [loop, here.path('mnt')]);
  await writeFile(here.path('mnt/kept'), noise(5 * MIB, 1));
  await writeFile(here.path('mnt/gone'), noise(20 * MIB, 2));
  await runOk('sync', ['--file-system', here.path('mnt')]);
  const before = (await stat(here.path('disk.img'))).blocks;
  await runOk('rm', [here.path('mnt/gone')]);
  await runOk('sync', ['--file-system', here.path('mnt')]);
  await runOk('fstrim', [here.path('mnt')]);
  const freed = (before - (await stat(here.path('disk.img'))).blocks) * 512;
  assert.ok(freed > 15 * MIB, `trimming reached the image: ${freed} bytes`);
  await runOk('umount', [here.path('mnt')]);
  await runOk('/usr/sbin/e2fsck', ['-fn', loop]);
  await runOk('losetup', ['--detach', loop]);
  await stop(child);
  assert.equal(existsSync(here.path('file')), false, 'what was made for the mount goes with it');
  await runOk('/usr/sbin/e2fsck', ['-fn', here.path('disk.img')]);
  await runOk('/usr/sbin/debugfs', [
    '-R',
    `dump /kept ${here.path('kept')}`,
    here.path('disk.img'),
  ]);
  assert.ok((await readFile(here.path('kept'))).equals(noise(5 * MIB, 1)));
});

test('a server that is killed makes I/O errors of what comes, and nothing hangs', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file', '--reconnect', '1');
  {
    await using file = await open(here.path('file'), 'r+');
    await file.write(noise(MIB, 3), 0, MIB, 0);
    await file.sync();
    here.server.kill('SIGKILL');
    await here.server.finished();
    await assert.rejects(file.write(noise(4096, 4), 0, 4096, 8 * MIB), { code: 'EIO' });
    await assert.rejects(file.read(Buffer.alloc(4096), 0, 4096, 16 * MIB), { code: 'EIO' });
    await assert.rejects(file.sync(), { code: 'EIO' });
  }
  await stop(child);
});

test('a server that comes back in time is not missed by those who use the file', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file');
  const file = await open(here.path('file'), 'r+');
  await file.write(noise(4096, 6), 0, 4096, 0);
  here.server.kill('SIGKILL');
  await here.server.finished();
  const [again] = await Promise.all([
    here.serve('export', 'disk.img', '--listen', 'unix:nbd.sock'),
    file.write(noise(4096, 7), 0, 4096, MIB),
  ]);
  await file.sync();
  await file.close();
  await stop(child);
  await stop(again);
  const bytes = await readFile(here.path('disk.img'));
  assert.ok(bytes.subarray(0, 4096).equals(noise(4096, 6)));
  assert.ok(bytes.subarray(MIB, MIB + 4096).equals(noise(4096, 7)));
});

test('a directory gets the file into it; read-only it takes no writes', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  await mkdir(here.path('folder'));
  const child = await attach(here, here.uri, '--fuse', 'folder', '--read-only');
  const path = here.path('folder/disk');
  assert.deepEqual((await run('ls', ['-A', here.path('folder')])).stdout, 'disk\n');
  assert.equal((await stat(path)).size, SIZE);
  await assert.rejects(open(path, 'r+'), { code: 'EROFS' });
  await stop(child);
  assert.deepEqual((await run('ls', ['-A', here.path('folder')])).stdout, '');
});

test('a file in use is hidden on SIGINT and served on until it is closed', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file');
  const file = await open(here.path('file'), 'r+');
  child.kill('SIGINT');
  await warned(child, 'is in use');
  await file.write(noise(4096, 5), 0, 4096, 0);
  await file.sync();
  await file.close();
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 0, stderr);
  const bytes = await readFile(here.path('disk.img'));
  assert.ok(bytes.subarray(0, 4096).equals(noise(4096, 5)));
});

test('a second signal breaks off what is in use, and leaves nothing behind that hangs', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file');
  const file = await open(here.path('file'), 'r+');
  child.kill('SIGTERM');
  await warned(child, 'is in use');
  const again = setInterval(() => child.kill('SIGTERM'), 100);
  const { exitCode } = await child.finished().finally(() => clearInterval(again));
  assert.equal(exitCode, 143);
  await assert.rejects(file.read(Buffer.alloc(10), 0, 10, 0), { code: 'ENOTCONN' });
  await assert.rejects(file.close(), { code: 'ENOTCONN' });
});

test('a mount whose process was killed is named as such, and taken away by --detach', async (context) => {
  if (!isPossible(context)) return;
  await using here = await stage();
  const child = await attach(here, here.uri, '--fuse', 'file');
  child.kill('SIGKILL');
  await child.finished();
  const refused = await here.failure(1, 'attach', here.uri, '--fuse', 'file');
  assert.match(refused.message, /died/);
  await here.ok('attach', '--detach', 'file');
  await stop(await attach(here, here.uri, '--fuse', 'file'));
  assert.equal((await stat(here.path('file'))).size, 0, 'a file that was there stays');
});

test('users other than root attach through fusermount3', async (context) => {
  if (!isPossible(context)) return;
  if (requireTool(context, 'fusermount3', 'fuse3') === undefined) return;
  if (requireTool(context, 'setpriv', 'util-linux') === undefined) return;
  const isOpen = ((await stat('/dev/fuse')).mode & 0o006) === 0o006;
  if (!requireMachine(context, isOpen, '/dev/fuse is for root only here')) return;
  await using here = await stage();
  await runOk('chown', ['-R', '65534:65534', here.folder]);
  const words = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];
  await runOk('chmod', ['755', here.folder]);
  const ferry = [ferryPath, 'attach', here.uri, '--fuse', 'file', '--json'];
  await using child = start('setpriv', [...words, ...ferry], {
    cwd: here.folder,
    env: { ...here.variables, FERRY_CACHE_DIR: here.path('cache') },
  });
  await child.line('"state":"ready"');
  const head = ['head', '-c', '4096', here.path('file')];
  const { stdout } = await runOk('setpriv', [...words, ...head]);
  assert.equal(stdout.length, 4096);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child.finished();
  assert.equal(exitCode, 0, stderr);
});
