/** Goal: the tools that people use find in our server what they expect of any. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { createFile, type Device, memory, openFile } from '../../src/device/index.ts';
import { serve } from '../../src/nbd/index.ts';
import { env, MIB, readAll, sampleBytes, scratch, writeSparse } from './nbd-scratch.ts';
import { runOk } from './processes.ts';
import { requirePythonModule, requireTool } from './tools.ts';

const bytes = sampleBytes();

async function filled(): Promise<Device> {
  const device = memory('sample', bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += 65_536) {
    const block = bytes.subarray(at, at + 65_536);
    if (block.some((byte) => byte !== 0)) await device.write(block, at, 0);
  }
  return device;
}

test('nbdinfo sees every export with its properties', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  if (nbdinfo === undefined) return;
  await using place = await scratch();
  const server = await place.serve(
    new Map([
      ['one', { device: await filled(), description: 'the first' }],
      ['two', { device: memory('two', 4096), readOnly: true }],
    ]),
  );
  const listed = await runOk(nbdinfo, ['--list', '--json', server.uri]);
  const names = JSON.parse(listed.stdout).exports.map(
    (e: { 'export-name': string }) => e['export-name'],
  );
  assert.deepEqual(names, ['one', 'two']);
  const one = JSON.parse((await runOk(nbdinfo, ['--json', server.uriOf('one')])).stdout);
  assert.equal(one.protocol, 'newstyle-fixed');
  assert.equal(one.structured, true);
  const found = one.exports[0];
  assert.equal(found['export-size'], bytes.byteLength);
  assert.equal(found.description, 'the first');
  assert.deepEqual(found.contexts, ['base:allocation']);
  for (const can of ['cache', 'df', 'fast_zero', 'flush', 'fua', 'multi_conn', 'trim', 'zero']) {
    assert.equal(found[`can_${can}`], true, can);
  }
  assert.deepEqual(
    [found.block_size_minimum, found.block_size_preferred, found.block_size_maximum],
    [1, 4096, 32 * MIB],
  );
  const two = JSON.parse((await runOk(nbdinfo, ['--json', server.uriOf('two')])).stdout);
  assert.equal(two.exports[0].is_read_only, true);
});

test('nbdinfo --map and qemu-img map see the holes', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (nbdinfo === undefined || qemuImg === undefined) return;
  await using place = await scratch();
  const path = place.path('disk.img');
  await writeSparse(path, bytes);
  await using device = await openFile(env.files, path, { readOnly: true });
  const server = await place.serve(device);
  const map = JSON.parse((await runOk(nbdinfo, ['--map', '--json', server.uri])).stdout);
  const expected = Array.from({ length: bytes.byteLength / 65_536 }, (_, at) =>
    at % 3 === 1 ? 3 : 0,
  );
  const seen: number[] = [];
  for (const { offset, length, type } of map) {
    assert.equal(offset % 65_536, 0);
    for (let at = 0; at < length; at += 65_536) seen.push(type);
  }
  assert.deepEqual(seen, expected);
  const mapped = await runOk(qemuImg, ['map', '--output=json', '-f', 'raw', server.uri]);
  const extents: { length: number; zero: boolean; data: boolean }[] = JSON.parse(mapped.stdout);
  assert.equal(
    extents.reduce((sum, extent) => sum + (extent.data ? extent.length : 0), 0),
    expected.filter((type) => type === 0).length * 65_536,
  );
});

test('nbdcopy copies in and out, on several connections', async (context) => {
  const nbdcopy = requireTool(context, 'nbdcopy', 'libnbd-bin');
  if (nbdcopy === undefined) return;
  await using place = await scratch();
  const path = place.path('in.img');
  await writeSparse(path, bytes);
  const devices = [
    memory('target', bytes.byteLength),
    await createFile(env.files, place.path('target.img'), bytes.byteLength),
  ];
  for (const device of devices) {
    const server = await place.serve(device);
    await runOk(nbdcopy, ['--flush', path, server.uri]);
    assert.ok((await readAll(device)).equals(bytes));
    await runOk(nbdcopy, ['-C', '4', '-R', '64', server.uri, place.path('out.img')]);
    assert.ok((await readFile(place.path('out.img'))).equals(bytes));
    await device[Symbol.asyncDispose]();
  }
});

test('qemu-img converts to and from an export, and finds both equal', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (qemuImg === undefined) return;
  await using place = await scratch();
  await writeSparse(place.path('in.img'), bytes);
  const device = memory('target', bytes.byteLength);
  const server = await place.serve(device);
  const raw = ['-f', 'raw', '-O', 'raw'];
  await runOk(qemuImg, ['convert', '-n', ...raw, place.path('in.img'), server.uri]);
  assert.ok((await readAll(device)).equals(bytes));
  await runOk(qemuImg, ['compare', '-f', 'raw', '-F', 'raw', place.path('in.img'), server.uri]);
  await runOk(qemuImg, ['convert', '-O', 'qcow2', '-f', 'raw', server.uri, place.path('a.qcow2')]);
  await runOk(qemuImg, ['compare', '-f', 'qcow2', '-F', 'raw', place.path('a.qcow2'), server.uri]);
});

test('qemu-io writes, zeroes, discards, flushes and verifies', async (context) => {
  const qemuIo = requireTool(context, 'qemu-io', 'qemu-utils');
  if (qemuIo === undefined) return;
  await using place = await scratch();
  const device = memory('target', 8 * MIB);
  const server = await place.serve(device);
  const commands = [
    'write -P 0x11 0 1M',
    'write -f -P 0x22 512 512',
    'write -z 64k 64k',
    'write -z -u 128k 128k',
    'discard 2M 1M',
    'aio_write -P 0x33 4M 2M',
    'aio_read -P 0x11 256k 256k',
    'aio_flush',
    'flush',
    'read -P 0x11 0 512',
    'read -P 0x22 512 512',
    'read -P 0 64k 192k',
    'read -P 0x33 4M 2M',
  ];
  const done = await runOk(qemuIo, [
    ...['-f', 'raw', ...commands.flatMap((command) => ['-c', command])],
    server.uri,
  ]);
  assert.doesNotMatch(done.stdout, /failed|error/i);
  assert.equal((await readAll(device))[512], 0x22);
});

for (const kind of ['memory', 'file'] as const) {
  test(`fio verifies what it wrote to a ${kind} device`, async (context) => {
    const fio = requireTool(context, 'fio', 'fio');
    if (fio === undefined) return;
    await using place = await scratch();
    const sizeBytes = 16 * MIB;
    await using device =
      kind === 'memory'
        ? memory('target', sizeBytes)
        : await createFile(env.files, place.path('target.img'), sizeBytes);
    const server = await place.serve(device);
    const job = ['--name=verify', '--ioengine=nbd', `--uri=${server.uri}`, `--size=${sizeBytes}`];
    await runOk(
      fio,
      [
        ...job,
        ...['--rw=randwrite', '--bsrange=512-128k', '--iodepth=32', '--verify=crc32c'],
        ...['--do_verify=1', '--verify_fatal=1', '--randseed=7'],
      ],
      { cwd: place.folder, timeoutMs: 120_000 },
    );
  });
}

test('nbdsh speaks to us in simple and structured replies', async (context) => {
  const python = requirePythonModule(context, 'nbd', 'python3-libnbd');
  if (python === undefined) return;
  await using place = await scratch();
  const server = await place.serve(await filled());
  const script = `
import nbd, sys
def check(structured):
    h = nbd.NBD()
    h.set_request_structured_replies(structured)
    if structured: h.add_meta_context("base:allocation")
    h.connect_uri(sys.argv[1])
    assert h.get_structured_replies_negotiated() == structured
    size = h.get_size()
    h.pwrite(b"x" * 1000, 4000, nbd.CMD_FLAG_FUA)
    h.zero(500, 4200, nbd.CMD_FLAG_NO_HOLE)
    assert h.pread(1000, 4000) == b"x" * 200 + bytes(500) + b"x" * 300
    h.zero(4096, 8192, nbd.CMD_FLAG_FAST_ZERO)
    h.trim(4096, 8192)
    h.cache(65536, 0)
    h.flush()
    if structured:
        h.pread_structured(100, 0, lambda b, o, s, err: None, nbd.CMD_FLAG_DF)
        seen = []
        h.block_status(size, 0, lambda c, o, e, err: seen.append((c, o, list(e))))
        assert seen and seen[0][0] == "base:allocation" and sum(seen[0][2][::2]) <= size, seen
        one = []
        h.block_status(size, 0, lambda c, o, e, err: one.append(list(e)), nbd.CMD_FLAG_REQ_ONE)
        assert len(one[0]) == 2, one
    h.set_strict_mode(0)
    for act in (lambda: h.pread(10, size - 5), lambda: h.pwrite(b"12", size - 1)):
        try:
            act()
            raise SystemExit("a request past the end succeeded")
        except nbd.Error as error:
            assert error.errnum in (22, 28), error
    cookies = [h.aio_pread(nbd.Buffer(65536), at * 65536) for at in range(100)]
    while h.aio_in_flight() > 0: h.poll(-1)
    for cookie in cookies: assert h.aio_command_completed(cookie)
    h.shutdown()
check(True)
check(False)
print("good")
`;
  const done = await runOk(python, ['-c', script, server.uri]);
  assert.equal(done.stdout.trim(), 'good');
});

test('nbd-client lists our exports over TCP', async (context) => {
  const nbdClient = requireTool(context, 'nbd-client', 'nbd-client');
  if (nbdClient === undefined) return;
  await using server = await serve(env, {
    address: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    exports: new Map([
      ['alpha', memory('a', 4096)],
      ['beta', memory('b', 4096)],
    ]),
  });
  const { address } = server;
  assert.ok(address.kind === 'tcp');
  const done = await runOk(nbdClient, ['-l', '127.0.0.1', '-p', String(address.port)]);
  assert.match(done.stdout, /alpha\nbeta/);
});
