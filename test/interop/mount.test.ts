/** Goal: what tools and the kernel read through a mount or an export is what was backed up. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { MIB, noise, type Place, place, writeImage } from '../cli/ferry.ts';
import { run, runOk } from './processes.ts';
import { requireCondition, requireTool } from './tools.ts';

const SIZE = 32 * MIB;

/** A repository with two days of a sparse image; `monday.img` is the first of them. */
async function twoDays(): Promise<Place> {
  const here = await place();
  const pieces = { [MIB]: noise(5 * MIB, 1), [20 * MIB]: noise(MIB + 4096, 2) };
  await writeImage(here.path('monday.img'), SIZE, pieces);
  await writeImage(here.path('disk.img'), SIZE, pieces);
  await here.ok('init');
  await here.ok('backup', 'disk.img');
  await writeImage(here.path('disk.img'), SIZE, { ...pieces, [3 * MIB]: noise(300_000, 3) });
  await here.ok('backup', 'disk.img');
  return here;
}

test('qemu-img finds a mounted snapshot identical to its image, and converts it', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (qemuImg === undefined) return;
  await using here = await twoDays();
  const monday = await here.serve('mount', 'disk@latest~1');
  const compare = ['compare', '-f', 'raw', '-F', 'raw'];
  const same = await runOk(qemuImg, [...compare, here.path('monday.img'), monday.uri]);
  assert.match(same.stdout, /Images are identical/);
  const tuesday = await here.serve('mount', 'disk');
  const other = await run(qemuImg, [...compare, here.path('monday.img'), tuesday.uri]);
  assert.equal(other.exitCode, 1, 'the second day differs');
  const copy = here.path('copy.qcow2');
  await runOk(qemuImg, ['convert', '-f', 'raw', '-O', 'qcow2', tuesday.uri, copy]);
  await runOk(qemuImg, ['compare', '-f', 'raw', '-F', 'qcow2', here.path('disk.img'), copy]);
});

test('nbdinfo and nbdcopy read a mounted snapshot, its holes included', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  const nbdcopy = requireTool(context, 'nbdcopy', 'libnbd-bin');
  if (nbdinfo === undefined || nbdcopy === undefined) return;
  await using here = await twoDays();
  const server = await here.serve('mount', 'disk', '--listen', '127.0.0.1:0');
  const { exports } = JSON.parse((await runOk(nbdinfo, ['--json', server.uri])).stdout);
  const [found] = exports;
  assert.deepEqual(
    [found['export-name'], found['export-size'], found.is_read_only],
    ['disk', SIZE, true],
  );
  assert.match(found.description, /^disk@[0-9a-f]{8} of 20/);
  const map = JSON.parse((await runOk(nbdinfo, ['--map', '--json', server.uri])).stdout);
  const dataBytes = map
    .filter(({ type }: { type: number }) => type === 0)
    .reduce((sum: number, { length }: { length: number }) => sum + length, 0);
  assert.equal(dataBytes, 5 * MIB + MIB + 65_536);
  await runOk(nbdcopy, [server.uri, here.path('copy.img')]);
  const [disk, copy] = await Promise.all([
    readFile(here.path('disk.img')),
    readFile(here.path('copy.img')),
  ]);
  assert.ok(disk.equals(copy));
});

test('qemu-io writes to a mount with --rw, and the commit holds just that', async (context) => {
  const qemuIo = requireTool(context, 'qemu-io', 'qemu-utils');
  if (qemuIo === undefined) return;
  await using here = await twoDays();
  const server = await here.serve('mount', 'disk', '--rw', '--commit');
  const commands = ['write -P 7 1000000 70000', 'write -z 20M 64k', 'discard 22M 128k', 'flush'];
  await runOk(qemuIo, ['-f', 'raw', ...commands.flatMap((line) => ['-c', line]), server.uri]);
  const verify = ['read -P 7 1000000 70000', 'read -P 0 20M 64k'];
  await runOk(qemuIo, ['-r', '-f', 'raw', ...verify.flatMap((line) => ['-c', line]), server.uri]);
  server.kill('SIGTERM');
  assert.equal((await server.finished()).exitCode, 0);
  await here.ok('restore', 'disk', 'out.img', '--verify');
  await runOk(qemuIo, [
    '-r',
    '-f',
    'raw',
    ...verify.flatMap((line) => ['-c', line]),
    here.path('out.img'),
  ]);
  const [expected, found] = await Promise.all([
    readFile(here.path('disk.img')),
    readFile(here.path('out.img')),
  ]);
  for (const [from, to] of [
    [2 * MIB, 20 * MIB],
    [21 * MIB, SIZE],
  ] as const) {
    assert.ok(expected.subarray(from, to).equals(found.subarray(from, to)));
  }
});

test('qemu-img compares and converts through an export', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (qemuImg === undefined) return;
  await using here = await twoDays();
  const source = await here.serve('export', 'disk.img', '--read-only');
  const target = await here.serve('export', 'memory:32M');
  await runOk(qemuImg, ['convert', '-n', '-f', 'raw', '-O', 'raw', source.uri, target.uri]);
  await runOk(qemuImg, ['compare', '-f', 'raw', '-F', 'raw', here.path('disk.img'), target.uri]);
});

test('fio writes to an export of memory and verifies what it reads', async (context) => {
  const fio = requireTool(context, 'fio', 'fio');
  if (fio === undefined) return;
  await using here = await place();
  const server = await here.serve('export', 'memory:64M');
  const job = ['--name=verify', '--ioengine=nbd', `--uri=${server.uri}`, '--rw=randwrite'];
  const shape = ['--bsrange=512-256k', '--iodepth=16', '--size=64M', '--verify=crc32c'];
  const done = await run(fio, [...job, ...shape, '--do_verify=1'], { cwd: here.folder });
  if (/engine nbd not loadable|unknown.*ioengine/i.test(done.stderr + done.stdout)) {
    requireCondition(context, false, "fio's nbd engine is not installed (Debian: fio)");
    return;
  }
  assert.equal(done.exitCode, 0, done.stderr);
  assert.match(done.stdout, /err= 0/);
});
