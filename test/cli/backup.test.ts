/** Goal: the main job as a person does it: init, backup, change, backup, list, compare, restore. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { DeviceError, memory } from '../../src/device/index.ts';
import { serve } from '../../src/nbd/index.ts';
import { runOk } from '../interop/processes.ts';
import { requireCondition } from '../interop/tools.ts';
import {
  deviceOver,
  env,
  type Line,
  linesOf,
  MIB,
  noise,
  overwrite,
  place,
  writeImage,
} from './ferry.ts';

const SIZE = 16 * MIB;

/** A place with a repository and a sparse image of 16 MiB with 3 MiB of data. */
async function prepared() {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, {
    [MIB]: noise(2 * MIB, 1),
    [9 * MIB]: noise(MIB, 2),
  });
  return here;
}

test('a first backup reads what is there and skips holes; the second stores only changes', async () => {
  await using here = await prepared();
  const [first] = (await here.json(0, 'backup', 'disk.img')) as [Line];
  assert.deepEqual(
    [first.volume, first.sizeBytes, first.readBytes, first.skippedBytes, first.parent],
    ['disk', SIZE, 3 * MIB, SIZE - 3 * MIB, null],
  );
  assert.match(String(first.id), /^[0-9a-f]{32}$/);
  assert.equal(first.reason, 'first backup: everything read');
  await overwrite(here.path('disk.img'), 9 * MIB + 70_000, noise(1000, 3));
  const [second] = (await here.json(0, 'backup', 'disk.img')) as [Line];
  assert.deepEqual(
    [second.changedBytes, second.newBytes, second.knownBytes, second.parent, second.source],
    [65_536, 65_536, 0, first.id, 'checksum'],
  );
  assert.match(String(second.reason), /^checksum: every block compared with disk@[0-9a-f]{8};/);
  assert.ok(Number(second.storedBytes) < 80_000);
  const [third] = (await here.json(0, 'backup', 'disk.img')) as [Line];
  assert.deepEqual([third.changedBytes, third.newBytes], [0, 0]);
});

test('people read what was read, changed, sent and stored, and why', async () => {
  await using here = await prepared();
  const text = await here.ok('backup', 'disk.img', '--name', 'web');
  assert.match(text, /^web@[0-9a-f]{8}: 16\.0 MiB backed up in /);
  for (const word of ['source', 'read', 'changed', 'sent', 'stored']) {
    assert.match(text, new RegExp(`^ {2}${word} +\\S`, 'm'));
  }
  assert.equal(await here.ok('backup', 'disk.img', '--name', 'web', '--quiet'), '');
});

test('a person chooses how changes are found; a source that there is not is an error', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  const [full] = (await here.json(0, 'backup', 'disk.img', '--changes', 'full')) as [Line];
  assert.deepEqual([full.source, full.parent, full.newBytes], ['full', null, 0]);
  const error = await here.failure(1, 'backup', 'disk.img', '--changes', 'qemu');
  assert.equal(error.code, 'TRACK_SOURCE');
});

test('what another volume brought is not stored again', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  await here.ok('restore', 'disk', 'copy.img');
  const [copy] = (await here.json(0, 'backup', 'copy.img')) as [Line];
  assert.deepEqual([copy.volume, copy.newBytes, copy.knownBytes], ['copy', 0, 3 * MIB]);
});

test("a volume's name belongs to its source until another is given it by name", async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  await mkdir(here.path('other'));
  await writeImage(here.path('other/disk.img'), SIZE, { 0: noise(MIB, 9) });
  assert.equal((await here.failure(1, 'backup', 'other/disk.img')).code, 'TRANSFER_VOLUME_TAKEN');
  await here.ok('backup', 'other/disk.img', '--name', 'disk');
  assert.equal((await here.failure(1, 'backup', 'disk.img')).code, 'TRANSFER_VOLUME_TAKEN');
});

test('sources that cannot be are named, with status 1, and leave no snapshot', async () => {
  await using here = await prepared();
  await mkdir(here.path('folder'));
  assert.equal((await here.failure(1, 'backup', 'nothing.img')).code, 'DEVICE_NOT_FOUND');
  assert.equal((await here.failure(1, 'backup', 'folder')).code, 'DEVICE_UNSUPPORTED');
  assert.equal((await here.failure(1, 'backup', 'memory:lots')).code, 'DEVICE_SIZE');
  const unreachable = `nbd+unix:///?socket=${here.path('none.sock')}`;
  const { message } = await here.failure(1, 'backup', unreachable, '--name', 'x');
  assert.match(message, /none\.sock/);
  assert.equal((await here.failure(1, 'backup', 'disk.img', '-n', 'a/b')).code, 'STORE_NAME');
  const [summary] = await here.json(0, 'ls');
  assert.equal(summary!.snapshots, 0);
});

test('no repository is status 10, a misused command line status 2', async () => {
  await using here = await place();
  await writeImage(here.path('disk.img'), MIB, {});
  for (const line of ['ls', 'backup disk.img', 'check', 'stats', 'show a', 'restore a b']) {
    const { code } = await here.failure(10, ...line.split(' '));
    assert.equal(code, 'STORE_NOT_A_REPOSITORY', line);
  }
  await here.ok('init', '--chunk-size', '16K');
  assert.equal((await here.failure(1, 'init')).code, 'STORE_EXISTS');
  for (const line of [
    'backup',
    'restore disk',
    'init --chunk-size 5000',
    'init --chunk-size 2M',
    'mount disk --commit',
    'mount disk --continue',
    'mount --rw',
    'mount disk --listen nowhere',
    'ls disk@latest',
  ]) {
    if (line === 'ls disk@latest') await here.ok('backup', 'disk.img');
    assert.equal((await here.failure(2, ...line.split(' '))).code, 'CLI_USAGE', line);
  }
});

test('errors for people are a message and a hint, printed once', async () => {
  await using here = await place();
  const { exitCode, stdout, stderr } = await here.ferry('ls');
  assert.deepEqual([exitCode, stdout], [10, '']);
  assert.match(stderr, /^ferry: .* holds no repository\n {2}Make one with `ferry init`.*\n$/);
});

test('places that cannot be read are zeroes, are listed, and make status 3', async () => {
  await using here = await place();
  await here.ok('init');
  const bytes = noise(4 * MIB, 4);
  const base = memory('bad', bytes.byteLength);
  await base.write(bytes, 0, 0);
  const bad = { from: MIB + 65_536, to: MIB + 2 * 65_536 };
  const device = deviceOver(base, {
    read(target, offset) {
      const touches = offset < bad.to && offset + target.byteLength > bad.from;
      if (touches) throw new DeviceError('DEVICE_IO', 'bad place', { hint: 'x' });
      return base.read(target, offset);
    },
  });
  const address = { kind: 'unix', path: here.path('bad.sock') } as const;
  await using server = await serve(env, { address, exports: new Map([['bad', device]]) });
  const backup = await here.ferry('backup', server.uri, '--name', 'bad', '--json');
  assert.equal(backup.exitCode, 3, backup.stderr);
  const extent = { offsetBytes: bad.from, lengthBytes: 65_536 };
  assert.deepEqual(linesOf(backup.stdout).at(-1)!.unreadable, [extent]);
  assert.match(backup.stderr, /64\.0 KiB at byte 1114112/);
  assert.match(await here.ok('show', 'bad'), /unreadable +64\.0 KiB at byte 1114112/);
  await here.ok('restore', 'bad', 'out.img');
  bytes.fill(0, bad.from, bad.to);
  assert.ok(bytes.equals(await readFile(here.path('out.img'))));
});

test('on a full disk a backup fails with its reason, and what was there stays', async (context) => {
  const isRoot = process.getuid?.() === 0;
  if (!requireCondition(context, isRoot, 'a small file system needs root')) return;
  await using here = await prepared();
  await using _small = await tmpfs(here.path('small'), '6m');
  const repo = ['--repo', here.path('small/repo')];
  await here.ok('init', ...repo);
  await here.ok('backup', 'disk.img', ...repo);
  await overwrite(here.path('disk.img'), 4 * MIB, noise(8 * MIB, 5));
  const { code, message } = await here.failure(1, 'backup', 'disk.img', ...repo);
  assert.equal(code, 'OBJECT_NO_SPACE', message);
  await here.ok('check', '--read-data', ...repo);
  await here.ok('restore', 'disk@latest', 'out.img', '--verify', ...repo);
});

async function tmpfs(path: string, size: string): Promise<AsyncDisposable> {
  await mkdir(path);
  await runOk('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'ferry-test', path]);
  return { [Symbol.asyncDispose]: async () => void (await runOk('umount', ['--lazy', path])) };
}

test('a restore makes the target equal, whatever it held', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  const expected = await readFile(here.path('disk.img'));
  await writeFile(here.path('larger.img'), noise(20 * MIB, 6));
  await writeFile(here.path('smaller.img'), noise(5 * MIB + 7, 7));
  for (const name of ['larger.img', 'smaller.img', 'new.img']) {
    const [summary] = (await here.json(0, 'restore', 'disk', name, '--verify')) as [Line];
    assert.deepEqual(
      [summary.writtenBytes, summary.zeroBytes, summary.verified],
      [3 * MIB, 13 * MIB, true],
    );
    assert.ok(expected.equals(await readFile(here.path(name))), name);
    assert.ok((await stat(here.path(name))).blocks * 512 < 4 * MIB, `${name} is not sparse`);
  }
});

test('a restore to an NBD export zeroes what was there, and refuses one that is too small', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  const device = memory('target', SIZE + MIB);
  await device.write(noise(SIZE + MIB, 8), 0, 0);
  const exports = new Map([
    ['target', device],
    ['small', memory('small', MIB)],
  ]);
  const address = { kind: 'unix', path: here.path('target.sock') } as const;
  await using server = await serve(env, { address, exports });
  const text = await here.ok('restore', 'disk', server.uriOf('target'), '--verify');
  assert.match(text, /identical/);
  const restored = new Uint8Array(SIZE);
  await device.read(restored, 0);
  assert.ok((await readFile(here.path('disk.img'))).equals(restored));
  const behind = new Uint8Array(MIB);
  await device.read(behind, SIZE);
  assert.ok(
    noise(SIZE + MIB, 8)
      .subarray(SIZE)
      .equals(behind),
    'what lies behind is not touched',
  );
  const { code } = await here.failure(1, 'restore', 'disk', server.uriOf('small'));
  assert.equal(code, 'TRANSFER_TARGET_SIZE');
  assert.equal((await here.failure(1, 'restore', 'disk', 'memory:16M')).code, 'TRANSFER_TARGET');
});

test('a snapshot that does not exist leaves the target as it was', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  await writeFile(here.path('precious'), 'precious');
  assert.equal(
    (await here.failure(1, 'restore', 'disk@ffff', 'precious')).code,
    'STORE_SNAPSHOT_NOT_FOUND',
  );
  assert.equal((await here.failure(1, 'restore', 'no', 'precious')).code, 'STORE_VOLUME_NOT_FOUND');
  assert.equal(await readFile(here.path('precious'), 'utf8'), 'precious');
});

test('a snapshot whose packs are gone leaves the target as it was', async () => {
  await using here = await prepared();
  await here.ok('backup', 'disk.img');
  await writeFile(here.path('precious'), 'precious');
  const packs = here.path('repo/packs');
  for (const group of await readdir(packs)) await rm(`${packs}/${group}`, { recursive: true });
  await here.failure(20, 'restore', 'disk', 'precious');
  assert.equal(await readFile(here.path('precious'), 'utf8'), 'precious');
});

test('what is stored in different ways is restored alike', async () => {
  await using here = await place();
  await here.ok('init');
  const text = Array.from({ length: 100_000 }, (_, line) => `line ${line}\n`).join('');
  const stored: Record<string, number> = {};
  for (const how of ['none', 'lz4', 'zstd:1', 'auto']) {
    // Another text each time, so that none is known already.
    await writeImage(here.path('disk.img'), SIZE, { [MIB]: Buffer.from(`${how} ${text}`) });
    const [made] = (await here.json(
      0,
      ...['backup', 'disk.img', '--name', how.replace(':', '-'), '--compression', how],
    )) as [Line];
    stored[how] = Number(made.storedBytes);
    await here.ok('restore', `${how.replace(':', '-')}@latest`, 'back.img');
    assert.deepEqual(await readFile(here.path('back.img')), await readFile(here.path('disk.img')));
  }
  assert(stored.none! > text.length && stored.lz4! < text.length / 2);
  assert(stored['zstd:1']! < text.length / 4);
  await here.failure(2, 'backup', 'disk.img', '--compression', 'gzip');
});
