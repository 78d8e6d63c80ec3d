/** Goal: TLS works in both directions with GnuTLS's world, and strangers are kept out. */
import assert from 'node:assert/strict';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import type { TlsCredentials } from '../../src/core/index.ts';
import { memory } from '../../src/device/index.ts';
import { connect, type NbdServer, readCredentials, serve } from '../../src/nbd/index.ts';
import { type Certificates, makeCertificates } from './certificates.ts';
import { env, MIB, readAll, type Scratch, scratch } from './nbd-scratch.ts';
import { startNbdServer } from './nbd-server-peer.ts';
import { run, runOk, start } from './processes.ts';
import { requirePythonModule, requireTool } from './tools.ts';

const tcp = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

async function certificates(
  context: TestContext,
  place: Scratch,
): Promise<Certificates | undefined> {
  const openssl = requireTool(context, 'openssl', 'openssl');
  if (openssl === undefined) return undefined;
  return await makeCertificates(openssl, place.folder, async (name) => {
    await mkdir(place.path(name));
    return place.path(name);
  });
}

/** With a CA, clients must show a certificate of it. */
function serverFiles(folder: string, verifyPeer: boolean): Promise<TlsCredentials> {
  return readCredentials(env.files, {
    certificates: `${folder}/server-cert.pem`,
    key: `${folder}/server-key.pem`,
    authorities: `${folder}/ca-cert.pem`,
    verifyPeer,
  });
}

async function served(credentials: TlsCredentials): Promise<NbdServer> {
  const device = memory('tls', 4 * MIB);
  await device.write(Buffer.alloc(MIB, 'tls '), MIB, 0);
  return await serve(env, {
    address: tcp,
    exports: new Map([['disk', device]]),
    tls: { mode: 'require', credentials },
  });
}

test('nbdinfo and nbdcopy reach us over TLS with certificates', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  const nbdcopy = requireTool(context, 'nbdcopy', 'libnbd-bin');
  if (nbdinfo === undefined || nbdcopy === undefined) return;
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  await using server = await served(await serverFiles(made.folder, true));
  const uri = server.uriOf('disk').replace('127.0.0.1', 'localhost');
  const mine = `${uri}?tls-certificates=${made.folder}`;
  const { stdout } = await runOk(nbdinfo, [mine]);
  assert.match(stdout, /protocol: newstyle-fixed with TLS, using structured packets/);
  await runOk(nbdcopy, [mine, place.path('copy')]);
  await runOk(nbdcopy, ['--connections=4', place.path('copy'), mine]);
  const list = await runOk(nbdinfo, ['--list', '--json', mine]);
  assert.match(list.stdout, /"export-name": "disk"/);
  const strange = await run(nbdinfo, [`${uri}?tls-certificates=${made.foreignFolder}`]);
  assert.notEqual(strange.exitCode, 0);
  const plain = await run(nbdinfo, [uri.replace('nbds:', 'nbd:')]);
  assert.notEqual(plain.exitCode, 0);
});

test('nbdinfo and nbdcopy reach us over TLS with a pre-shared key', async (context) => {
  const nbdinfo = requireTool(context, 'nbdinfo', 'libnbd-bin');
  const nbdcopy = requireTool(context, 'nbdcopy', 'libnbd-bin');
  if (nbdinfo === undefined || nbdcopy === undefined) return;
  await using place = await scratch();
  if ((await certificates(context, place)) === undefined) return;
  const preSharedKeys = place.path('keys.psk');
  await using server = await served(await readCredentials(env.files, { preSharedKeys }));
  const uri = server.uriOf('disk').replace('nbds://', 'nbds://alice@');
  const { stdout } = await runOk(nbdinfo, [`${uri}?tls-psk-file=${preSharedKeys}`]);
  assert.match(stdout, /with TLS/);
  await runOk(nbdcopy, [`${uri}?tls-psk-file=${preSharedKeys}`, place.path('copy')]);
  const carol = uri.replace('alice', 'carol');
  const strange = await run(nbdinfo, [`${carol}?tls-psk-file=${preSharedKeys}`]);
  assert.notEqual(strange.exitCode, 0);
});

test('nbdsh reaches us over TLS, with structured replies and block status', async (context) => {
  const python = requirePythonModule(context, 'nbd', 'python3-libnbd');
  if (python === undefined) return;
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  await using server = await served(await serverFiles(made.folder, true));
  assert.ok(server.address.kind === 'tcp');
  const script = `
import nbd, sys
h = nbd.NBD()
h.set_tls(nbd.TLS_REQUIRE)
h.set_tls_certificates(sys.argv[2])
h.set_export_name("disk")
h.add_meta_context("base:allocation")
h.connect_tcp("localhost", sys.argv[1])
assert h.get_tls_negotiated() and h.get_structured_replies_negotiated()
assert h.pread(8, 1 << 20) == b"tls tls "
h.pwrite(b"x" * 70000, 4000, nbd.CMD_FLAG_FUA)
assert h.pread(70002, 3999) == bytes(1) + b"x" * 70000 + bytes(1)
seen = []
h.block_status(h.get_size(), 0, lambda c, o, e, err: seen.append((c, list(e))))
assert seen[0][0] == "base:allocation" and len(seen[0][1]) >= 2, seen
h.flush()
h.shutdown()
print("good")
`;
  const port = String(server.address.port);
  const done = await runOk(python, ['-c', script, port, made.folder]);
  assert.equal(done.stdout.trim(), 'good');
});

test('qemu-img reaches us over TLS with certificates', async (context) => {
  const qemuImg = requireTool(context, 'qemu-img', 'qemu-utils');
  if (qemuImg === undefined) return;
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  await using server = await served(await serverFiles(made.folder, true));
  assert.ok(server.address.kind === 'tcp');
  const image = [
    'driver=nbd,tls-creds=tls0,export=disk',
    `server.type=inet,server.host=localhost,server.port=${server.address.port}`,
  ].join(',');
  const object = (folder: string) => [
    '--object',
    `tls-creds-x509,id=tls0,endpoint=client,dir=${folder}`,
  ];
  const words = ['convert', ...object(made.folder), '--image-opts', image];
  await runOk(qemuImg, [...words, '-O', 'raw', place.path('copy')]);
  const strange = ['info', ...object(made.foreignFolder), '--image-opts', image];
  assert.notEqual((await run(qemuImg, strange)).exitCode, 0);
});

test('we reach nbdkit and qemu-nbd over TLS, and refuse impostors', async (context) => {
  const nbdkit = requireTool(context, 'nbdkit', 'nbdkit');
  const qemuNbd = requireTool(context, 'qemu-nbd', 'qemu-utils');
  if (nbdkit === undefined || qemuNbd === undefined) return;
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  const { folder, foreignFolder } = made;
  const required = ['-f', '--tls=require'];
  const content = ['pattern', '4M'];
  await using _kit = start(nbdkit, [
    ...[...required, `--tls-certificates=${folder}`, '--tls-verify-peer'],
    ...['-U', place.path('kit'), ...content],
  ]);
  await using _psk = start(nbdkit, [
    ...[...required, `--tls-psk=${place.path('keys.psk')}`, '-U', place.path('psk'), ...content],
  ]);
  const object = `tls-creds-x509,id=tls0,endpoint=server,dir=${folder},verify-peer=yes`;
  await using _qemu = start(qemuNbd, [
    ...['--object', object, '--tls-creds', 'tls0', '-t', '-e', '4', '-f', 'raw'],
    ...['-k', place.path('qemu'), place.path('own/ca-cert.pem')],
  ]);
  for (const name of ['kit', 'psk', 'qemu']) await _kit.socket(place.path(name));
  const unix = (name: string, query: string, user = '') =>
    `nbds+unix://${user}/?socket=${place.path(name)}&${query}`;
  const certified = `tls-certificates=${folder}`;
  const good = [
    unix('kit', certified),
    unix('kit', `${certified}&tls-hostname=localhost`),
    unix('qemu', certified),
    unix('psk', `tls-psk-file=${place.path('keys.psk')}`, 'bob@'),
  ];
  for (const uri of good) {
    await using device = await connect(env, uri, { connections: 2 });
    const bytes = await readAll(device);
    if (uri.includes('qemu')) assert.match(bytes.toString('latin1'), /BEGIN CERTIFICATE/);
    else assert.equal(bytes.readBigUInt64BE(MIB), BigInt(MIB));
  }
  const bad: Record<string, RegExp> = {
    [unix('kit', `tls-certificates=${foreignFolder}`)]: /ENV_TLS/,
    [unix('qemu', `tls-certificates=${foreignFolder}`)]: /ENV_TLS/,
    [unix('kit', `${certified}&tls-hostname=other.example`)]: /ENV_TLS/,
    [unix('kit', 'tls-verify-peer=true')]: /ENV_TLS/,
    // A server with a certificate does not know the key.
    [unix('kit', `tls-psk-file=${place.path('keys.psk')}`, 'bob@')]: /ENV_TLS/,
    [unix('psk', `tls-psk-file=${place.path('keys.psk')}`, 'eve@')]: /ENV_TLS/,
    [unix('psk', certified)]: /ENV_TLS/,
    [unix('kit', '').replace('nbds', 'nbd')]: /NBD_TLS/,
  };
  for (const [uri, code] of Object.entries(bad)) {
    await assert.rejects(connect(env, uri), { code }, uri);
  }
});

test('we reach nbd-server over TLS, and do not believe a foreign one', async (context) => {
  const nbdServer = requireTool(context, 'nbd-server', 'nbd-server');
  if (nbdServer === undefined) return;
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  const { folder, foreignFolder } = made;
  const files = [
    'certfile = server-cert.pem',
    'keyfile = server-key.pem',
    'cacertfile = ca-cert.pem',
  ];
  const general = [...files.map((line) => line.replace('= ', `= ${folder}/`)), 'force_tls = true'];
  const [socket, path] = [place.path('socket'), place.path('disk.img')];
  await writeFile(path, Buffer.alloc(MIB, 'tls '));
  await using _server = await startNbdServer(nbdServer, {
    ...{ socket, path, general: general.join('\n') },
  });
  const at = (scheme: string, query: string) => `${scheme}+unix:///disk?socket=${socket}${query}`;
  await using device = await connect(env, at('nbds', `&tls-certificates=${folder}`));
  assert.equal((await readAll(device)).toString('latin1', 0, 8), 'tls tls ');
  await device.write(Buffer.from('over'), 512, 0);
  await device.flush();
  assert.equal((await readFile(path)).toString('latin1', 512, 516), 'over');
  await assert.rejects(connect(env, at('nbds', `&tls-certificates=${foreignFolder}`)), {
    code: 'ENV_TLS',
  });
  await assert.rejects(connect(env, at('nbd', '')), { code: 'NBD_TLS' });
});

test('we tell strangers from friends by their certificates', async (context) => {
  await using place = await scratch();
  const made = await certificates(context, place);
  if (made === undefined) return;
  const { folder, foreignFolder } = made;
  await using server = await served(await serverFiles(folder, true));
  await using open = await served(await serverFiles(folder, false));
  const at = (other: NbdServer, query: string) => `${other.uriOf('disk')}?${query}`;
  const friend = await connect(env, at(server, `tls-certificates=${folder}`));
  assert.equal((await readAll(friend)).toString('latin1', MIB, MIB + 8), 'tls tls ');
  // The right authority, and no certificate of one's own.
  const trusting = await readCredentials(env.files, { authorities: `${folder}/ca-cert.pem` });
  const refused = { code: /ENV_TLS|ENV_CLOSED|NBD_CLOSED|ENV_IO/ };
  await assert.rejects(connect(env, server.uriOf('disk'), { tls: trusting }), refused);
  await (await connect(env, open.uriOf('disk'), { tls: trusting }))[Symbol.asyncDispose]();
  // The right authority, and a certificate of another.
  const stranger = await readCredentials(env.files, {
    certificates: `${foreignFolder}/client-cert.pem`,
    key: `${foreignFolder}/client-key.pem`,
    authorities: `${folder}/ca-cert.pem`,
  });
  await assert.rejects(connect(env, server.uriOf('disk'), { tls: stranger }), refused);
  // A server whose authority we do not know, unless nobody cares.
  const foreign = `tls-certificates=${foreignFolder}`;
  await assert.rejects(connect(env, at(open, foreign)), { code: 'ENV_TLS' });
  const careless = await connect(env, at(open, `${foreign}&tls-verify-peer=false`));
  for (const device of [friend, careless]) await device[Symbol.asyncDispose]();
});
