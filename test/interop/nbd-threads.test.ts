/** Goal: the tools that people use find several threads no different from one. */
import assert from 'node:assert/strict';
import { open, readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MIB, type Scratch, sampleBytes, scratch } from './nbd-scratch.ts';
import { type Running, runOk, start } from './processes.ts';
import { requireTool } from './tools.ts';

const ferry = fileURLToPath(new URL('../../bin/ferry', import.meta.url));

async function exported(
  here: Scratch,
  source: string,
  ...words: string[]
): Promise<{ server: Running; uri: string }> {
  const socket = here.path('threads.sock');
  const listen = ['--listen', `unix:${socket}`, '--threads', '2'];
  const server = start(ferry, ['export', source, ...listen, ...words]);
  await server.socket(socket);
  return { server, uri: `nbd+unix:///?socket=${socket}` };
}

async function emptyFile(path: string, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'w');
  await file.truncate(sizeBytes);
}

test('nbdcopy fills and reads an export of two threads over several connections', async (context) => {
  const nbdcopy = requireTool(context, 'nbdcopy', 'libnbd-bin');
  if (nbdcopy === undefined) return;
  await using here = await scratch();
  const bytes = sampleBytes();
  await writeFile(here.path('in.img'), bytes);
  for (const source of [here.path('out.img'), `memory:${bytes.byteLength}`]) {
    await emptyFile(here.path('out.img'), bytes.byteLength);
    const { server, uri } = await exported(here, source);
    await runOk(nbdcopy, ['--connections=4', '--flush', here.path('in.img'), uri]);
    await runOk(nbdcopy, ['--connections=4', uri, here.path('back.img')]);
    assert.ok(bytes.equals(await readFile(here.path('back.img'))));
    server.kill('SIGTERM');
    assert.equal((await server.finished()).exitCode, 0);
    await server[Symbol.asyncDispose]();
  }
});

test('fio writes and verifies with four jobs on two threads', async (context) => {
  const fio = requireTool(context, 'fio', 'fio');
  if (fio === undefined) return;
  await using here = await scratch();
  await emptyFile(here.path('fio.img'), 64 * MIB);
  const { server, uri } = await exported(here, here.path('fio.img'));
  await runOk(
    fio,
    [
      ...[
        '--name=threads',
        '--ioengine=nbd',
        `--uri=${uri}`,
        '--rw=randwrite',
        '--bsrange=512-96k',
      ],
      ...[
        '--bs_unaligned=1',
        '--iodepth=16',
        '--numjobs=4',
        '--size=16M',
        '--offset_increment=16M',
      ],
      ...['--verify=crc32c', '--do_verify=1', '--fsync=32', '--end_fsync=1'],
    ],
    { cwd: here.folder, timeoutMs: 120_000 },
  );
  server.kill('SIGTERM');
  assert.equal((await server.finished()).exitCode, 0);
  await server[Symbol.asyncDispose]();
});
