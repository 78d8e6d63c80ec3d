/** Goal: `ferry nbd info` tells what a server offers, and --tls keeps strangers out. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { runOk, start } from '../interop/processes.ts';
import { requireTool } from '../interop/tools.ts';
import { MIB, place } from './ferry.ts';

test('an export is described, mapped and listed', async () => {
  await using here = await place();
  const bytes = Buffer.alloc(4 * MIB);
  bytes.fill(7, MIB, 2 * MIB);
  await writeFile(here.path('disk.img'), bytes);
  const { uri } = await here.serve('export', 'disk.img', '--read-only');

  const [info] = await here.json(0, 'nbd', 'info', uri);
  assert.equal(info?.export, 'disk');
  assert.equal(info?.sizeBytes, 4 * MIB);
  assert.equal(info?.readOnly, true);
  assert.equal(info?.tls, false);
  assert.deepEqual(info?.contexts, ['base:allocation']);
  assert.match(await here.ok('nbd', 'info', uri), /size +4.00 MiB \(4194304 bytes\)/);

  const list = await here.json(0, 'nbd', 'info', uri, '--list');
  assert.deepEqual(
    list.map((line) => line.export ?? line.exports),
    ['disk', 1],
  );

  const map = await here.json(0, 'nbd', 'info', uri, '--map');
  const extents = map.slice(0, -1) as unknown as { offsetBytes: number; lengthBytes: number }[];
  let at = 0;
  for (const extent of extents) {
    assert.equal(extent.offsetBytes, at);
    at += extent.lengthBytes;
  }
  assert.equal(at, 4 * MIB);
  const failure = await here.failure(2, 'nbd', 'info', uri, '--map=qemu:dirty-bitmap:no');
  assert.match(failure.message, /does not offer/);
  await here.failure(2, 'nbd', 'info', uri, '--map', '--list');
  await here.failure(2, 'nbd', 'inform', uri);
  await here.failure(1, 'nbd', 'info', `nbd+unix:///?socket=${here.path('nobody')}`);
});

test('the map of a dirty bitmap of QEMU has whole runs', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  const qemuIo = requireTool(context, 'qemu-io', 'qemu-utils');
  const qemuNbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (qemuImg === undefined || qemuIo === undefined || qemuNbd === undefined) return;
  await using here = await place();
  const disk = here.path('disk.qcow2');
  await runOk(qemuImg, ['create', '-f', 'qcow2', disk, '16M']);
  await runOk(qemuImg, ['bitmap', '--add', '-g', '64k', disk, 'day']);
  await runOk(qemuIo, ['-c', 'write -P 1 1M 128k', disk]);
  const socket = here.path('socket');
  const words = ['-r', '-t', '-e', '4', '-B', 'day', '-f', 'qcow2', '-k', socket, disk];
  await using server = start(qemuNbd, words);
  await server.socket(socket);
  const uri = `nbd+unix:///?socket=${socket}`;
  const map = await here.json(0, 'nbd', 'info', uri, '--map=qemu:dirty-bitmap:day');
  assert.deepEqual(
    map.slice(0, -1).map(({ offsetBytes, lengthBytes, type }) => [offsetBytes, lengthBytes, type]),
    [
      [0, MIB, 'clean'],
      [MIB, 128 * 1024, 'dirty'],
      [MIB + 128 * 1024, 15 * MIB - 128 * 1024, 'clean'],
    ],
  );
});

test('with --tls=require only those who know the key get in', async () => {
  await using here = await place();
  await writeFile(here.path('keys.psk'), `alice:${'a1'.repeat(32)}\n`);
  await writeFile(here.path('other.psk'), `alice:${'b2'.repeat(32)}\n`);
  const secured = ['--tls', 'require', '--tls-psk', 'keys.psk'];
  const { uri } = await here.serve('export', 'memory:1M', '--name', 'm', ...secured);
  assert.match(uri, /^nbds\+unix:/);
  const mine = `${uri}&tls-psk-file=${here.path('keys.psk')}`;
  const [info] = await here.json(0, 'nbd', 'info', mine);
  assert.equal(info?.tls, true);
  const plain = await here.failure(1, 'nbd', 'info', uri.replace('nbds', 'nbd'));
  assert.equal(plain.code, 'NBD_TLS');
  await here.failure(1, 'nbd', 'info', `${uri}&tls-psk-file=${here.path('other.psk')}`);
});

test('TLS options that do not fit together are refused before anything is served', async () => {
  await using here = await place();
  const bad = [
    ['--tls', 'require'],
    ['--tls-psk', 'keys.psk'],
    ['--tls', 'allow', '--tls-cert', 'c.pem', '--tls-key', 'k.pem', '--tls-verify-peer'],
    ['--tls', 'allow', '--tls-cert', 'c.pem', '--tls-key', 'k.pem', '--tls-ca', 'ca.pem'],
    ['--tls', 'allow', '--tls-psk', 'keys.psk', '--tls-verify-peer'],
  ];
  for (const words of bad) await here.failure(2, 'export', 'memory:1M', ...words);
  await here.failure(1, 'export', 'memory:1M', '--tls', 'require', '--tls-psk', 'none.psk');
});
