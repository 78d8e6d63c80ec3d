/** Goal: `ferry export --direct-io` serves clients of any alignment, from files and disks. */
import assert from 'node:assert/strict';
import { constants, readdirSync, readFileSync, readlinkSync, statfsSync } from 'node:fs';
import { copyFile, readFile, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { type TestContext, test } from 'node:test';
import { run, runOk } from '../interop/processes.ts';
import { requireCondition, requirePythonModule, requireTool } from '../interop/tools.ts';
import { MIB, noise, type Place, place, type Served, writeImage } from './ferry.ts';

const SIZE = 4 * MIB;
/** tmpfs has nothing to pass by, and refuses. */
const onTmpfs = statfsSync(tmpdir()).type === 0x01021994;

async function image(here: Place, sizeBytes = SIZE): Promise<void> {
  await writeImage(here.path('disk.img'), sizeBytes, { [MIB]: noise(2 * MIB, 1) });
}

/** The open flags of a process's descriptor for `path` (proc_pid_fdinfo(5)). */
function flagsIn(pid: number, path: string): number {
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== path) continue;
    const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1');
    return Number.parseInt(/^flags:\s*(\d+)$/m.exec(info)![1]!, 8);
  }
  return assert.fail(`${path} is not open`);
}

/**
 * A client that has not asked for block sizes: sectors of 512 bytes, odd ranges, across blocks,
 * eight at once that share blocks; every read as in the model, which is written to a file.
 */
const script = `
import nbd, random, sys
uri, size, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
draw = random.Random(5)
model = bytearray(open(path, "rb").read())
h = nbd.NBD()
h.set_strict_mode(0)
h.set_request_block_size(False)
h.connect_uri(uri)
for turn in range(120):
    step = draw.choice([512, 1000, 4096, 5001])
    start = draw.randrange(size - 8 * step)
    if draw.random() < 0.5: start -= start % 512
    cookies, reads = [], []
    for part in range(8):
        at = start + part * step
        kind = draw.random()
        if kind < 0.5:
            data = bytes([draw.randrange(1, 256)]) * step
            model[at:at + step] = data
            cookies.append(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data)), at))
        elif kind < 0.65:
            model[at:at + step] = bytes(step)
            cookies.append(h.aio_zero(step, at))
        else:
            buffer = nbd.Buffer(step)
            cookies.append(h.aio_pread(buffer, at))
            reads.append((buffer, at, bytes(model[at:at + step])))
    while h.aio_in_flight() > 0: h.poll(-1)
    for cookie in cookies: assert h.aio_command_completed(cookie)
    for buffer, at, expected in reads: assert bytes(buffer.to_bytearray()) == expected, at
h.flush()
h.shutdown()
open(path, "wb").write(model)
`;

async function useOddly(python: string, server: Served, here: Place): Promise<Buffer> {
  const model = here.path('model');
  await copyFile(here.path('disk.img'), model);
  await runOk(python, ['-c', script, server.uri, String(SIZE), model]);
  return await readFile(model);
}

async function stop(server: Served): Promise<void> {
  server.kill('SIGTERM');
  const { exitCode, stderr } = await server.finished();
  assert.equal(exitCode, 0, stderr);
}

test('a file is served past the page cache, to clients of any alignment', async (context) => {
  if (onTmpfs) return context.skip('temporary files lie in memory here: set TMPDIR to a disk');
  const python = requirePythonModule(context, 'nbd', 'python3-libnbd');
  if (python === undefined) return;
  await using here = await place();
  await image(here);
  const server = await here.serve('export', 'disk.img', '--direct-io');
  const path = await realpath(here.path('disk.img'));
  assert.ok((flagsIn(server.pid, path) & constants.O_DIRECT) !== 0);
  const model = await useOddly(python, server, here);
  await stop(server);
  assert.ok(model.equals(await readFile(path)));
});

async function loopDevice(context: TestContext, here: Place): Promise<string | undefined> {
  if (!requireCondition(context, process.getuid?.() === 0, 'loop devices need root')) return;
  const losetup = requireTool(context, 'losetup', 'mount');
  if (losetup === undefined) return undefined;
  return (await runOk(losetup, ['--find', '--show', here.path('disk.img')])).stdout.trim();
}

test('a block device is served past the page cache, to clients of any alignment', async (context) => {
  if (onTmpfs) return context.skip('temporary files lie in memory here: set TMPDIR to a disk');
  const python = requirePythonModule(context, 'nbd', 'python3-libnbd');
  if (python === undefined) return;
  await using here = await place();
  await image(here);
  const loop = await loopDevice(context, here);
  if (loop === undefined) return;
  let model: Buffer;
  try {
    const server = await here.serve('export', loop, '--direct-io', '--name', 'disk');
    assert.ok((flagsIn(server.pid, loop) & constants.O_DIRECT) !== 0);
    model = await useOddly(python, server, here);
    await stop(server);
  } finally {
    await run('losetup', ['--detach', loop]);
  }
  assert.ok(model.equals(await readFile(here.path('disk.img'))));
});

test('what has no whole sectors, or no file below it, is refused with a reason', async (context) => {
  if (onTmpfs) return context.skip('temporary files lie in memory here: set TMPDIR to a disk');
  await using here = await place();
  await image(here, SIZE + 512);
  const odd = await here.failure(1, 'export', 'disk.img', '--direct-io');
  assert.equal(odd.code, 'DEVICE_SIZE');
  await here.failure(2, 'export', 'memory:1M', '--direct-io');
});
