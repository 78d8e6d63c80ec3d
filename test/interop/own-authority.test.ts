/** Goal: nodes with certificates of an own authority, by openssl, need not pair; others must. */
import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Env } from '../../src/core/index.ts';
import { KIB, noise, Place, send } from '../../src/service/provider.suite.ts';
import { connectProvider } from '../../src/service/provider-link.ts';
import { dialSession, loadIdentity } from '../../src/wire/index.ts';
import { makeCertificates } from './certificates.ts';
import { requireTool } from './tools.ts';

const DAY_MS = 24 * 3600 * 1000;
const remote = (code: string, text: RegExp) => (error: unknown) =>
  (error as { remoteCode?: string }).remoteCode === code && text.test(String(error));

/** A provider with an authority, and connections to it with the files of a folder. */
async function placeOf(context: TestContext, change?: (env: Env) => Env) {
  const openssl = requireTool(context, 'openssl', 'openssl');
  if (openssl === undefined) return undefined;
  const place = await Place.make(change);
  const folders = await makeCertificates(openssl, place.folder, async (name) => {
    await mkdir(join(place.folder, name));
    return join(place.folder, name);
  });
  const read = async (folder: string, name: string) => ({
    certificates: new Uint8Array(await readFile(join(folder, `${name}-cert.pem`))),
    key: new Uint8Array(await readFile(join(folder, `${name}-key.pem`))),
  });
  const ca = async (folder: string) => (await read(folder, 'ca')).certificates;
  const authorities = await ca(folders.folder);
  const identity = loadIdentity(await read(folders.folder, 'server'));
  await place.start({ identity, authorities });
  const { address } = place.server;
  assert(address.kind === 'tcp');
  const { peers } = await place.node('agent');
  const connect = async (folder: string, trusted = folder, host = address.host) =>
    connectProvider(place.env, {
      ...{ address: { ...address, host }, written: 'x', peers, lane: 'control' },
      identity: loadIdentity(await read(folder, 'client')),
      authorities: await ca(trusted),
    });
  return {
    ...{ place, own: folders.folder, foreign: folders.foreignFolder, connect, address },
    [Symbol.asyncDispose]: () => place[Symbol.asyncDispose](),
  };
}

test('an agent that the authority stands behind comes unpaired, has rights, and is revoked', async (context) => {
  await using made = await placeOf(context);
  if (made === undefined) return;
  const { place, own, connect } = made;
  const agent = await connect(own);
  assert.equal((await send(agent, 'disk', noise(100 * KIB, 1))).epoch, 1);
  const { peers } = await place.node('provider');
  const [peer] = await peers.peers('agent');
  assert.deepEqual([peer!.name, peer!.isVouchedFor], ['localhost', true]);
  await peers.grant('localhost', () => ({ volumes: ['web-*'] }));
  {
    await using limited = await connect(own);
    await assert.rejects(limited.open('disk', 100 * KIB), remote('REPLICATE_DENIED', /disk/));
  }
  await peers.revoke('localhost');
  await place.event((event) => event.event === 'ended' && /revoked/.test(String(event.error)));
  await assert.rejects(connect(own), remote('WIRE_NOT_TRUSTED', /revoked/));
  await peers.grant('localhost', () => ({}));
  await (await connect(own))[Symbol.asyncDispose]();
  assert.equal((await peers.peers('agent')).length, 1);
});

test('an agent that has not come yet may be granted less, or be revoked', async (context) => {
  await using made = await placeOf(context);
  if (made === undefined) return;
  const { place, own, connect } = made;
  const { peers } = await place.node('provider');
  const expected = await peers.expect('localhost');
  await peers.grant(expected, () => ({ volumes: ['web-*'] }));
  {
    await using limited = await connect(own);
    await assert.rejects(limited.open('disk', 100 * KIB), remote('REPLICATE_DENIED', /disk/));
  }
  await peers.revoke(await peers.expect('localhost'));
  await assert.rejects(connect(own), remote('WIRE_NOT_TRUSTED', /revoked/));
  assert.equal((await peers.peers('agent')).length, 1);
});

test('an agent of another authority, or without a certificate, is not let in', async (context) => {
  await using made = await placeOf(context);
  if (made === undefined) return;
  const { place, own, foreign, connect, address } = made;
  await assert.rejects(connect(foreign, own), remote('WIRE_NOT_TRUSTED', /fingerprint/));
  const credentials = { kind: 'certificates', identity: undefined, verifyPeer: false } as const;
  const tls = place.env.net.tls({
    ...{ role: 'client', credentials: { ...credentials, authorities: undefined } },
  });
  const bare = dialSession({
    ...{ env: place.env, identity: 'x', lane: 'control' },
    handlers: { onMessage: (message) => message.done(), onClosed: () => undefined },
    dial: async () => {
      const stream = await place.env.net.connect(address, 5_000);
      return await tls.secure(stream, { hostName: undefined, timeoutMs: 5_000 });
    },
  });
  await assert.rejects(bare, remote('WIRE_NOT_TRUSTED', /shows none/));
  const { peers } = await place.node('provider');
  assert.deepEqual(await peers.peers(), []);
});

test('a provider of another authority, or for another host, is left before anything is said', async (context) => {
  await using made = await placeOf(context);
  if (made === undefined) return;
  const { own, foreign, connect } = made;
  const refused = (why: RegExp) => (error: unknown) =>
    (error as { code?: string }).code === 'WIRE_NOT_TRUSTED' && why.test(String(error));
  await assert.rejects(connect(own, foreign), refused(/does not stand behind it/));
  await assert.rejects(connect(own, own, '127.1'), refused(/not for 127\.1/));
});

test('a certificate that has expired is refused, whoever signed it', async (context) => {
  await using made = await placeOf(context, (env) => ({
    ...env,
    clock: { ...env.clock, wallMs: () => env.clock.wallMs() + 3 * DAY_MS },
  }));
  if (made === undefined) return;
  await assert.rejects(made.connect(made.own), { code: 'WIRE_NOT_TRUSTED', message: /expired/ });
});
