/** Goal: mount and export serve until told to stop, and what is written is where it should be. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { connect, list } from '../../src/nbd/index.ts';
import {
  env,
  type Line,
  linesOf,
  MIB,
  noise,
  type Place,
  place,
  type Served,
  writeImage,
} from './ferry.ts';

const SIZE = 8 * MIB;
const NEW = noise(200_000, 7);
const NEW_AT = 3 * MIB + 512;

async function backedUp(): Promise<Place> {
  const here = await place();
  await here.ok('init');
  await writeImage(here.path('disk.img'), SIZE, { [MIB]: noise(3 * MIB, 1) });
  await here.ok('backup', 'disk.img');
  return here;
}

async function write(uri: string, bytes: Uint8Array, offset: number): Promise<void> {
  await using device = await connect(env, uri);
  await device.write(bytes, offset, 0);
  await device.flush();
}

async function readAll(uri: string): Promise<Buffer> {
  await using device = await connect(env, uri);
  const bytes = Buffer.alloc(device.sizeBytes);
  await device.read(bytes, 0);
  return bytes;
}

/** The image of the first day with what the tests write. */
async function changed(here: Place): Promise<Buffer> {
  const bytes = await readFile(here.path('disk.img'));
  bytes.set(NEW, NEW_AT);
  return bytes;
}

async function stop(server: Served, signal: NodeJS.Signals = 'SIGTERM'): Promise<Line> {
  server.kill(signal);
  const { exitCode, stdout, stderr } = await server.finished();
  assert.equal(exitCode, 0, stderr);
  const last = linesOf(stdout).at(-1)!;
  assert.deepEqual([last.message_type, last.state], ['summary', 'stopped']);
  return last;
}

async function restored(here: Place, snapshot: string): Promise<Buffer> {
  await here.ok('restore', snapshot, 'restored.img');
  return readFile(here.path('restored.img'));
}

test('a mounted snapshot reads as the disk did, refuses writes, and stops cleanly', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', 'disk@latest');
  assert.deepEqual(await list(env, server.uri), ['disk']);
  assert.ok((await readFile(here.path('disk.img'))).equals(await readAll(server.uri)));
  const anyName = server.uri.replace('/disk?', '/?');
  await using device = await connect(env, anyName);
  assert.equal(device.readOnly, true);
  await assert.rejects(async () => device.write(NEW, 0, 0), { code: 'DEVICE_READ_ONLY' });
  await stop(server, 'SIGINT');
});

test('two mounts of one snapshot get sockets of their own, which only their owner may use', async () => {
  await using here = await backedUp();
  const one = await here.serve('mount', 'disk');
  const two = await here.serve('mount', 'disk');
  assert.notEqual(one.uri, two.uri);
  assert.equal((await stat(here.path('state'))).mode & 0o077, 0);
  assert.ok((await readAll(one.uri)).equals(await readAll(two.uri)));
});

test('--listen takes a port, a free one, or a socket, and people see the URI', async () => {
  await using here = await backedUp();
  const tcp = await here.serve('mount', 'disk', '--listen', '127.0.0.1:0');
  assert.match(tcp.uri, /^nbd:\/\/127\.0\.0\.1:\d+\/disk$/);
  assert.equal((await readAll(tcp.uri)).byteLength, SIZE);
  const port = tcp.uri.match(/:(\d+)\//)![1];
  const taken = await here.failure(1, 'mount', 'disk', '--listen', `127.0.0.1:${port}`);
  assert.equal(taken.code, 'ENV_ADDRESS_IN_USE');
  const people = here.start('mount', 'disk', '--listen', 'unix:here.sock');
  const ready = await people.line('ready');
  assert.equal(ready, `ready: nbd+unix:///disk?socket=${here.path('here.sock')}`);
  people.kill('SIGINT');
  assert.equal((await people.finished()).exitCode, 0);
});

test('what is written with --rw is kept, and told how to be taken up', async () => {
  await using here = await backedUp();
  const first = await here.serve('mount', 'disk', '--rw');
  await write(first.uri, NEW, NEW_AT);
  assert.ok((await changed(here)).equals(await readAll(first.uri)));
  const end = await stop(first);
  assert.equal(end.layerKept, true);
  assert.ok(Number(end.changedBytes) >= NEW.byteLength);
  assert.ok((await readFile(here.path('disk.img'))).equals(await restored(here, 'disk')));
  assert.equal((await here.failure(1, 'mount', 'disk', '--rw')).code, 'TRANSFER_LAYER');
  const second = await here.serve('mount', 'disk', '--rw', '--continue', '--commit');
  assert.ok((await changed(here)).equals(await readAll(second.uri)));
  const committed = await stop(second);
  assert.deepEqual([committed.volume, committed.layerKept], ['disk', false]);
  assert.ok((await changed(here)).equals(await restored(here, 'disk')));
  const third = await here.serve('mount', 'disk@latest~1', '--rw');
  assert.equal((await stop(third)).changedBytes, 0, 'the layer is gone');
});

test('SIGUSR2 commits while clients go on; later writes come with the next commit', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', 'disk@latest', '--rw', '--commit');
  await write(server.uri, NEW, NEW_AT);
  server.kill('SIGUSR2');
  const status = JSON.parse(await server.line('"state":"committed"'));
  assert.deepEqual([status.message_type, status.source], ['status', 'overlay']);
  await write(server.uri, noise(4096, 9), 0);
  await stop(server);
  const [, middle, last] = await here.json(0, 'ls');
  assert.equal(middle!.id, status.id);
  assert.ok((await changed(here)).equals(await restored(here, `disk@${middle!.id}`)));
  const both = await changed(here);
  both.set(noise(4096, 9), 0);
  assert.ok(both.equals(await restored(here, `disk@${last!.id}`)));
  assert.equal(last!.changedBytes, 65_536);
});

test('what SIGUSR2 has committed is not committed again at the end', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', 'disk@latest', '--rw', '--commit');
  await write(server.uri, NEW, NEW_AT);
  server.kill('SIGUSR2');
  const status = JSON.parse(await server.line('"state":"committed"'));
  const end = await stop(server);
  assert.deepEqual([end.layerKept, end.id], [false, undefined]);
  const [, made, ...more] = await here.json(0, 'ls');
  assert.equal(made!.id, status.id);
  assert.deepEqual(
    more.map((line) => line.message_type),
    ['summary'],
  );
  assert.ok((await changed(here)).equals(await restored(here, 'disk')));
});

test('after kill -9 the flushed writes are there again with --continue', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', 'disk', '--rw', '--commit', 'branch');
  await write(server.uri, NEW, NEW_AT);
  server.kill('SIGKILL');
  await once(server.child, 'close');
  const again = await here.serve('mount', 'disk', '--rw', '--continue', '--commit', 'branch');
  assert.ok((await changed(here)).equals(await readAll(again.uri)));
  assert.equal((await stop(again)).volume, 'branch');
  assert.ok((await changed(here)).equals(await restored(here, 'branch')));
  assert.equal((await here.json(0, 'ls', 'disk')).length, 2, 'the volume itself has one snapshot');
});

test('a layer is used by one mount at a time', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', 'disk', '--rw');
  assert.equal((await here.failure(1, 'mount', 'disk', '--rw')).code, 'DEVICE_ACCESS');
  await stop(server);
});

test('--commit before its snapshot means that snapshot', async () => {
  await using here = await backedUp();
  const server = await here.serve('mount', '--rw', '--commit', 'disk@latest');
  await write(server.uri, NEW, NEW_AT);
  assert.equal((await stop(server)).volume, 'disk');
});

test('an export is the file itself; read-only it takes no writes', async () => {
  await using here = await backedUp();
  const server = await here.serve('export', 'disk.img');
  assert.match(server.uri, /^nbd\+unix:\/\/\/disk\?/);
  const expected = await changed(here);
  await write(server.uri, NEW, NEW_AT);
  await stop(server);
  assert.ok(expected.equals(await readFile(here.path('disk.img'))));
  const readOnly = await here.serve('export', 'disk.img', '--read-only', '--name', 'web');
  await using device = await connect(env, readOnly.uri);
  assert.equal(device.readOnly, true);
  assert.deepEqual(await list(env, readOnly.uri), ['web']);
});

test('memory is exported, and an export can be exported again', async () => {
  await using here = await place();
  const inner = await here.serve('export', 'memory:8M', '--listen', 'unix:inner.sock');
  const outer = await here.serve('export', inner.uri, '--listen', 'unix:outer.sock');
  await write(outer.uri, NEW, NEW_AT);
  const expected = Buffer.alloc(SIZE);
  expected.set(NEW, NEW_AT);
  assert.ok(expected.equals(await readAll(inner.uri)));
  await stop(outer);
  await stop(inner);
  assert.equal((await here.failure(1, 'export', 'nothing.img')).code, 'DEVICE_NOT_FOUND');
});

test('several threads serve a file and memory, and refuse what they cannot', async () => {
  await using here = await backedUp();
  const expected = await changed(here);
  const server = await here.serve('export', 'disk.img', '--threads', '2');
  await write(server.uri, NEW, NEW_AT);
  assert.ok(expected.equals(await readAll(server.uri)));
  await stop(server);
  assert.ok(expected.equals(await readFile(here.path('disk.img'))));
  const memory = await here.serve('export', 'memory:8M', '--threads', '3');
  await write(memory.uri, NEW, NEW_AT);
  const found = await readAll(memory.uri);
  assert.ok(found.subarray(NEW_AT, NEW_AT + NEW.byteLength).equals(NEW));
  for (const wrong of ['0', '17', '1.5', 'many', '']) {
    await here.failure(2, 'export', 'disk.img', `--threads=${wrong}`);
  }
  await here.failure(2, 'export', memory.uri, '--threads', '2');
  await stop(memory, 'SIGINT');
});

test('an export is backed up through NBD', async () => {
  await using here = await backedUp();
  const server = await here.serve('export', 'disk.img');
  const [summary] = (await here.json(0, 'backup', server.uri, '--name', 'live')) as [Line];
  assert.deepEqual([summary.newBytes, summary.readBytes], [0, 3 * MIB]);
});

test('SIGUSR1 tells how it stands', async () => {
  await using here = await place();
  const server = await here.serve('export', 'memory:1M');
  await using device = await connect(env, server.uri);
  server.kill('SIGUSR1');
  const line = JSON.parse(await server.line('"state":"serving"'));
  assert.deepEqual([line.connections, device.sizeBytes], [1, MIB]);
});
