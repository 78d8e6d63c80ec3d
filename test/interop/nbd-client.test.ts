/** Goal: our client reads, writes and asks rightly at the servers that people run. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { connect, list } from '../../src/nbd/index.ts';
import {
  env,
  MIB,
  readAll,
  type Scratch,
  sampleBytes,
  scratch,
  writeSparse,
} from './nbd-scratch.ts';
import { startNbdServer } from './nbd-server-peer.ts';
import { runOk, start } from './processes.ts';
import { requireTool } from './tools.ts';

const bytes = sampleBytes();

type Peer = {
  readonly tool: string;
  readonly debianPackage: string;
  /** Serves `path`, a raw file, on the socket; absent: nbd-server, which has a way of its own. */
  readonly words?: (socket: string, path: string) => string[];
  /** By default the one without a name. */
  readonly exportName?: string;
};

const peers: Record<string, Peer> = {
  nbdkit: {
    tool: 'nbdkit',
    debianPackage: 'nbdkit',
    words: (socket, path) => ['-f', '-U', socket, 'file', path],
  },
  'nbdkit without structured replies': {
    tool: 'nbdkit',
    debianPackage: 'nbdkit',
    words: (socket, path) => ['-f', '--no-sr', '-U', socket, 'file', path],
  },
  'nbdkit with 512-byte blocks': {
    tool: 'nbdkit',
    debianPackage: 'nbdkit',
    words: (socket, path) => [
      ...['-f', '-U', socket, '--filter=blocksize-policy', 'file', path],
      ...['blocksize-minimum=512', 'blocksize-preferred=4096', 'blocksize-maximum=1M'],
      'blocksize-error-policy=error',
    ],
  },
  'qemu-nbd': {
    tool: 'qemu-nbd',
    debianPackage: 'qemu-utils',
    words: (socket, path) => ['-f', 'raw', '-t', '-e', '4', '-k', socket, path],
  },
  'nbd-server': {
    tool: 'nbd-server',
    debianPackage: 'nbd-server',
    exportName: 'disk',
  },
};

async function serving(place: Scratch, tool: string, peer: Peer): Promise<AsyncDisposable> {
  const [socket, path] = [place.path('socket'), place.path('disk.img')];
  await writeSparse(path, bytes);
  if (peer.words === undefined) return await startNbdServer(tool, { socket, path });
  const running = start(tool, peer.words(socket, path));
  await running.socket(socket);
  return running;
}

for (const [name, peer] of Object.entries(peers)) {
  test(`an export of ${name} is a device like any other`, async (context) => {
    const tool = requireTool(context, peer.tool, peer.debianPackage);
    if (tool === undefined) return;
    await using place = await scratch();
    await using _server = await serving(place, tool, peer);
    const uri = `nbd+unix:///${peer.exportName ?? ''}?socket=${place.path('socket')}`;
    await using device = await connect(env, uri, { connections: 2 });
    assert.equal(device.sizeBytes, bytes.byteLength);
    assert.ok((await readAll(device)).equals(bytes));

    const part = bytes.subarray(0, 3 * MIB);
    await device.write(part, 8 * MIB, 1);
    await device.zero(MIB, 12 * MIB, 0);
    await device.trim(MIB, 14 * MIB, 0);
    await device.flush();
    const expected = Buffer.from(bytes);
    part.copy(expected, 8 * MIB);
    expected.fill(0, 12 * MIB, 13 * MIB);
    const seen = await readAll(device);
    const trimmed = [14 * MIB, 15 * MIB] as const;
    assert.ok(seen.subarray(0, trimmed[0]).equals(expected.subarray(0, trimmed[0])));
    assert.ok(seen.subarray(trimmed[1]).equals(expected.subarray(trimmed[1])));
    assert.ok((await readFile(place.path('disk.img'))).equals(seen));

    let at = 0;
    while (at < device.sizeBytes) {
      const extents = await device.extents(device.sizeBytes - at, at, 64);
      assert.ok(extents.length > 0);
      for (const extent of extents) {
        assert.equal(extent.offsetBytes, at);
        at += extent.lengthBytes;
        const content = seen.subarray(extent.offsetBytes, at);
        if (extent.kind !== 'data') assert.ok(content.every((byte) => byte === 0));
      }
    }
    assert.ok(device.contexts.includes('base:allocation') !== (device.replies === 'simple'));
    await device.cache(MIB, 0);
    await assert.rejects(connect(env, `nbds+unix:///?socket=${place.path('socket')}`), {
      code: 'NBD_TLS',
    });
  });
}

test('the exports of nbd-server are listed, and a read-only one is known as such', async (context) => {
  const tool = requireTool(context, 'nbd-server', 'nbd-server');
  if (tool === undefined) return;
  await using place = await scratch();
  const [socket, path] = [place.path('socket'), place.path('disk.img')];
  await writeSparse(path, bytes);
  await using _server = await startNbdServer(tool, { socket, path, more: 'readonly = true' });
  const at = (name: string) => `nbd+unix:///${name}?socket=${place.path('socket')}`;
  assert.deepEqual(await list(env, at('')), ['disk']);
  await using device = await connect(env, at('disk'));
  assert.equal(device.readOnly, true);
  await assert.rejects(async () => device.write(new Uint8Array(512), 0, 0), {
    code: 'DEVICE_READ_ONLY',
  });
  assert.ok((await readAll(device)).equals(bytes));
  await assert.rejects(connect(env, at('no')), { code: /NBD_(UNKNOWN_EXPORT|REFUSED)/ });
});

test('the exports of qemu-nbd are listed and opened by name', async (context) => {
  const tool = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (tool === undefined) return;
  await using place = await scratch();
  const named: Peer = {
    ...peers['qemu-nbd']!,
    words: (socket, path) => ['-f', 'raw', '-t', '-e', '4', '-x', 'disk', '-k', socket, path],
  };
  await using _server = await serving(place, tool, named);
  const uri = `nbd+unix:///disk?socket=${place.path('socket')}`;
  assert.deepEqual(await list(env, uri), ['disk']);
  await using device = await connect(env, uri);
  assert.ok((await readAll(device)).equals(bytes));
  await assert.rejects(connect(env, `nbd+unix:///no?socket=${place.path('socket')}`), {
    code: 'NBD_UNKNOWN_EXPORT',
  });
});

test('a dirty bitmap of QEMU is read as a meta context', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  const qemuIo = requireTool(context, 'qemu-io', 'qemu-utils');
  const qemuNbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (qemuImg === undefined || qemuIo === undefined || qemuNbd === undefined) return;
  await using place = await scratch();
  const path = place.path('disk.qcow2');
  await runOk(qemuImg, ['create', '-f', 'qcow2', path, '16M']);
  await runOk(qemuImg, ['bitmap', '--add', '-g', '64k', path, 'day']);
  await runOk(qemuIo, ['-c', 'write -P 1 1M 128k', path]);
  await using server = start(qemuNbd, [
    ...['-r', '-t', '-B', 'day', '-f', 'qcow2', '-k', place.path('socket'), path],
  ]);
  await server.socket(place.path('socket'));
  const name = 'qemu:dirty-bitmap:day';
  const uri = `nbd+unix:///?socket=${place.path('socket')}`;
  await using device = await connect(env, uri, { contexts: [name] });
  assert.equal(device.readOnly, true);
  assert.deepEqual(await device.status(name, 16 * MIB, 0), [
    { lengthBytes: MIB, flags: 0 },
    { lengthBytes: 128 * 1024, flags: 1 },
    { lengthBytes: 15 * MIB - 128 * 1024, flags: 0 },
  ]);
});

test('a server that fails reads and dies is an error, not wrong bytes', async (context) => {
  const nbdkit = requireTool(context, 'nbdkit', 'nbdkit');
  if (nbdkit === undefined) return;
  await using place = await scratch();
  const socket = place.path('socket');
  await using server = start(nbdkit, [
    ...['-f', '-U', socket, '--filter=error', 'memory', '4M'],
    ...['error-pread=EIO', 'error-pread-rate=100%', 'error-pwrite=ENOSPC', 'error-pwrite-rate=1'],
  ]);
  await server.socket(socket);
  const options = { reconnectTimeoutMs: 0 };
  await using device = await connect(env, `nbd+unix:///?socket=${socket}`, options);
  const target = new Uint8Array(4096);
  await assert.rejects(async () => device.read(target, 0), { code: 'DEVICE_IO' });
  await assert.rejects(async () => device.write(target, 0, 0), { code: 'DEVICE_NO_SPACE' });
  server.kill('SIGKILL');
  await server.finished();
  await assert.rejects(async () => device.read(target, 0), { code: /DEVICE_(IO|CLOSED)/ });
});
