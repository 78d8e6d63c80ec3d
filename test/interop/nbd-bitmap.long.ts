/** Goal: a bitmap that QEMU exports counts for the snapshot that it is named for, and no other. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { place } from '../cli/ferry.ts';
import { runOk, start } from './processes.ts';
import { requireTool } from './tools.ts';

test('bitmaps over NBD', { timeout: 180_000 }, async (context) => {
  const img = requireTool(context, 'qemu-img', 'qemu-utils');
  const io = requireTool(context, 'qemu-io', 'qemu-utils');
  const nbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (img === undefined || io === undefined || nbd === undefined) return;
  await using here = await place();
  await here.ok('init');
  const disk = here.path('vm.qcow2');
  await runOk(img, ['create', '-q', '-f', 'qcow2', disk, '8M']);
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 1 0 1M', disk]);
  const first = (await here.json(0, 'backup', 'vm.qcow2')).at(-1)!;
  const bitmap = `since-${String(first.id).slice(0, 8)}`;
  await runOk(img, ['bitmap', '--add', '-g', '65536', disk, bitmap]);
  await runOk(io, ['-f', 'qcow2', '-c', 'write -P 2 2M 64k', disk]);
  await runOk(img, ['bitmap', '--disable', disk, bitmap]);
  const socket = here.path('nbd.sock');
  const shown = ['-r', '-t', '-f', 'qcow2', '-e', '8', '-x', 'vm', '-B', bitmap, '-k', socket];
  await using server = start(nbd, [...shown, disk]);
  await server.socket(socket);
  const backUp = async (name: string) => {
    const uri = `nbd+unix:///vm?socket=${socket}`;
    const words = ['backup', uri, '--name', 'vm', '--bitmap', name];
    const line = (await here.json(0, ...words)).at(-1)!;
    await here.ok('restore', 'vm', 'out.raw');
    await runOk(img, ['convert', '-U', '-O', 'raw', disk, here.path('wanted.raw')]);
    const [got, wanted] = [here.path('out.raw'), here.path('wanted.raw')];
    assert.ok((await readFile(got)).equals(await readFile(wanted)));
    const passed = line.passed as { source: string; code: string }[];
    return [line.source, line.readBytes, passed.find((one) => one.source === 'qemu')?.code];
  };
  assert.deepEqual(await backUp(bitmap), ['qemu', 65_536, undefined]);
  // Now another snapshot is the newest one.
  assert.deepEqual(await backUp(bitmap), ['checksum', 2 ** 20 + 65_536, 'stale']);
  assert.deepEqual((await backUp('nightly'))[2], 'absent');
});
