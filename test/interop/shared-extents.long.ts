/** Goal: on a file system with shared extents a backup reads what was written, at one moment. */
import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, rm, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { noise, overwrite, place, writeImage } from '../cli/ferry.ts';
import { run, runOk } from './processes.ts';
import { requireCondition, requireTool } from './tools.ts';

const MIB = 2 ** 20;

async function xfs(context: TestContext, folder: string): Promise<AsyncDisposable | undefined> {
  const mkfs = requireTool(context, 'mkfs.xfs', 'xfsprogs');
  if (mkfs === undefined) return undefined;
  if (!requireCondition(context, process.getuid?.() === 0, 'mounting needs root')) return undefined;
  const image = join(folder, 'xfs.img');
  const target = join(folder, 'xfs');
  await using file = await open(image, 'w');
  await file.truncate(512 * MIB);
  await runOk(mkfs, ['-q', image]);
  await mkdir(target);
  await runOk('mount', ['-o', 'loop', image, target]);
  return { [Symbol.asyncDispose]: async () => void (await run('umount', [target])) };
}

test('a clone tells what was written since it was made', { timeout: 240_000 }, async (context) => {
  await using here = await place();
  await using mounted = await xfs(context, here.folder);
  if (mounted === undefined) return;
  await here.ok('init');
  const disk = here.path('xfs/disk.img');
  await writeImage(disk, 16 * MIB, { [MIB]: noise(4 * MIB, 1) });
  const backUp = async (...words: string[]) => {
    const line = (await here.json(0, 'backup', 'xfs/disk.img', ...words)).at(-1)!;
    await here.ok('restore', 'disk', 'out.raw');
    assert.ok((await readFile(here.path('out.raw'))).equals(await readFile(disk)));
    const passed = line.passed as { source: string; code: string }[];
    const why = passed.find(({ source }) => source === 'extents')?.code;
    return [line.source, line.readBytes, why];
  };
  const clones = async () =>
    (await readdir(here.path('xfs'))).filter((name) => name.includes('.ferry-'));
  assert.deepEqual(await backUp(), ['full', 4 * MIB, 'absent']);
  assert.deepEqual(await clones(), []);
  assert.deepEqual((await backUp('--keep-clone')).slice(0, 1), ['checksum']);
  assert.equal((await clones()).length, 1);
  await overwrite(disk, 2 * MIB, noise(4096, 2));
  await overwrite(disk, 9 * MIB, noise(65_536, 3));
  assert.deepEqual(await backUp(), ['extents', 2 * 65_536, undefined]);
  // An image that was put in its place is compared for what it is: nothing rests on its history.
  await runOk('cp', ['--reflink=always', disk, here.path('xfs/other.img')]);
  await overwrite(here.path('xfs/other.img'), 3 * MIB, noise(4096, 4));
  await runOk('mv', [here.path('xfs/other.img'), disk]);
  assert.deepEqual(await backUp(), ['extents', 65_536, undefined]);
  await truncate(disk, 18 * MIB);
  await overwrite(disk, 17 * MIB, noise(4096, 5));
  const [source] = await backUp();
  assert.equal(source, 'extents');
  const [clone] = await clones();
  await overwrite(here.path(`xfs/${clone}`), 0, noise(4096, 6));
  assert.deepEqual((await backUp())[2], 'behind-its-back');
  assert.equal((await backUp('--changes', 'checksum'))[0], 'checksum');
  assert.equal((await backUp())[2], 'stale');
  assert.equal((await clones()).length, 1);
  for (const name of await clones()) await rm(here.path(`xfs/${name}`));
  assert.equal((await backUp())[2], 'lost');
  assert.deepEqual(await clones(), []);
});
