/** Goal: a qcow2 image is backed up as its guest sees it, by its bitmap where that is honest. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { place } from '../cli/ferry.ts';
import { runOk, start } from './processes.ts';
import { requireTool } from './tools.ts';

function tools(context: TestContext): { img: string; io: string } | undefined {
  const img = requireTool(context, 'qemu-img', 'qemu-utils');
  const io = requireTool(context, 'qemu-io', 'qemu-utils');
  return img === undefined || io === undefined ? undefined : { img, io };
}

test('a qcow2 image and its bitmap', { timeout: 180_000 }, async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  const { img, io } = found;
  await using here = await place();
  await here.ok('init');
  const base = here.path('base.qcow2');
  const disk = here.path('vm.qcow2');
  await runOk(img, ['create', '-q', '-f', 'qcow2', base, '8M']);
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 1 0 2M', base]);
  const over = ['-b', 'base.qcow2', '-F', 'qcow2', disk];
  await runOk(img, ['create', '-q', '-f', 'qcow2', ...over]);
  await runOk(img, ['bitmap', '--add', disk, 'ferry']);
  const backUp = async () => {
    const line = (await here.json(0, 'backup', 'vm.qcow2')).at(-1)!;
    await here.ok('restore', 'vm', 'out.raw');
    await runOk(img, ['convert', '-O', 'raw', disk, here.path('wanted.raw')]);
    const [got, wanted] = [here.path('out.raw'), here.path('wanted.raw')];
    assert.ok((await readFile(got)).equals(await readFile(wanted)));
    const passed = line.passed as { source: string; code: string }[];
    return { source: line.source, read: line.readBytes, passed: passed.map(({ code }) => code) };
  };
  assert.deepEqual(await backUp(), {
    source: 'full',
    read: 2 * 2 ** 20,
    passed: ['first', 'first'],
  });
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 2 1M 64k', disk]);
  assert.deepEqual(await backUp(), { source: 'qemu', read: 65_536, passed: [] });
  // Never cleared: it tells more from time to time, and never less.
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 3 5M 128k', disk]);
  assert.deepEqual(await backUp(), { source: 'qemu', read: 3 * 65_536, passed: [] });
  await runOk(img, ['bitmap', '--clear', disk, 'ferry']);
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 4 6M 64k', disk]);
  const cleared = await backUp();
  assert.deepEqual([cleared.source, cleared.passed], ['checksum', ['reverted']]);
  assert.equal((await backUp()).source, 'qemu');
  await assert.rejects(runOk(io, ['-f', 'qcow2', '-c', 'write -P 5 7M 64k', '-c', 'abort', disk]));
  const killed = await backUp();
  assert.deepEqual([killed.source, killed.passed], ['checksum', ['lost']]);
  assert.equal(
    (await here.failure(1, 'backup', 'vm.qcow2', '--changes', 'qemu')).code,
    'TRACK_CANNOT_SAY',
  );
});

test('what a file is goes by its name or by --format, never by what a guest wrote', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  const { img, io } = found;
  await using here = await place();
  await here.ok('init');
  await runOk(img, ['create', '-q', '-f', 'qcow2', here.path('disk.img'), '4M']);
  await runOk(img, ['create', '-q', '-f', 'raw', here.path('odd.qcow2'), '4M']);
  const taken = await here.ferry('backup', 'disk.img');
  assert.match(taken.stderr, /begins like a qcow2 image and is taken raw/);
  const size = async (...words: string[]) =>
    (await here.json(0, 'backup', ...words)).at(-1)!.sizeBytes;
  const told = ['disk.img', '--name', 'told', '--format', 'qcow2'];
  assert.equal(await size(...told), 4 * 2 ** 20);
  assert.equal((await here.failure(1, 'backup', 'odd.qcow2')).code, 'FS_NOT_FOUND');
  assert.equal(await size('odd.qcow2', '--format', 'raw'), 4 * 2 ** 20);
  await using busy = start(io, ['-f', 'qcow2', here.path('disk.img')]);
  busy.child.stdin!.write('write 0 64k\n');
  await busy.line(/wrote/);
  assert.equal((await here.failure(1, 'backup', ...told)).code, 'TRANSFER_IMAGE');
});

test('snapshots inside an image are compared by their tables', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  const { img, io } = found;
  await using here = await place();
  await here.ok('init');
  const disk = here.path('vm.qcow2');
  await runOk(img, ['create', '-q', '-f', 'qcow2', disk, '8M']);
  const snapshot = async (name: string, write: string) => {
    await runOk(io, ['-f', 'qcow2', '-c', `write ${write}`, disk]);
    await runOk(img, ['snapshot', '-c', name, disk]);
  };
  const backUp = async (name: string) => {
    const line = (await here.json(0, 'backup', 'vm.qcow2', '--image-snapshot', name)).at(-1)!;
    await here.ok('restore', 'vm', 'out.raw');
    const wanted = here.path('wanted.raw');
    await runOk(img, ['convert', '-l', `snapshot.name=${name}`, '-O', 'raw', disk, wanted]);
    assert.ok((await readFile(here.path('out.raw'))).equals(await readFile(wanted)));
    const passed = line.passed as { source: string; code: string }[];
    return [line.source, line.readBytes, passed.find((one) => one.source === 'snapshot')?.code];
  };
  await snapshot('one', '-P 1 0 1M');
  assert.deepEqual(await backUp('one'), ['full', 2 ** 20, 'first']);
  await snapshot('two', '-P 2 3M 64k');
  assert.deepEqual(await backUp('two'), ['snapshot', 65_536, undefined]);
  // Backwards is as good as forwards.
  assert.deepEqual(await backUp('one'), ['snapshot', 65_536, undefined]);
  await runOk(img, ['snapshot', '-d', 'one', disk]);
  await snapshot('one', '-P 3 5M 64k');
  assert.match(String((await backUp('two'))[2]), /^(lost|replaced)$/);
  await runOk(img, ['snapshot', '-d', 'two', disk]);
  assert.equal((await backUp('one'))[2], 'lost');
  const gone = await here.failure(1, 'backup', 'vm.qcow2', '--image-snapshot', 'two');
  assert.equal(gone.code, 'TRANSFER_IMAGE');
});

test('analyze and export see the disk inside, and a restore does not write over it', async (context) => {
  const found = tools(context);
  if (found === undefined) return;
  const { img, io } = found;
  await using here = await place();
  await here.ok('init');
  await runOk(img, ['create', '-q', '-f', 'qcow2', here.path('vm.qcow2'), '8M']);
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 9 1M 640k', here.path('vm.qcow2')]);
  const before = await readFile(here.path('vm.qcow2'));
  const blocks = async (...words: string[]) => {
    const [line] = await here.json(0, 'analyze', 'vm.qcow2', ...words);
    return [line!.rawBytes, line!.uniqueBytes];
  };
  assert.deepEqual(await blocks(), [8 * 2 ** 20, 65_536]);
  assert.equal((await blocks('--format', 'raw'))[0], before.byteLength);
  await here.ok('backup', 'vm.qcow2');
  assert.equal((await here.failure(1, 'restore', 'vm', 'vm.qcow2')).code, 'TRANSFER_TARGET');
  assert.equal((await here.failure(2, 'export', 'vm.qcow2')).code, 'CLI_USAGE');
  assert.ok(before.equals(await readFile(here.path('vm.qcow2'))));
  const socket = here.path('s.sock');
  const words = ['export', 'vm.qcow2', '--read-only', '--listen', `unix:${socket}`];
  await using serving = here.start(...words);
  await serving.line(/ready/);
  const uri = `nbd+unix:///vm?socket=${socket}`;
  await runOk(img, ['compare', '-F', 'qcow2', '-f', 'raw', uri, here.path('vm.qcow2')]);
});
