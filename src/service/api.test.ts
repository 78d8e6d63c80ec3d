/** Goal: the HTTP API tells what is so, as it describes, and changes nothing in public. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { hasCode } from '../core/index.ts';
import { startApi } from './api/server.ts';
import type { Log } from './log.ts';
import { metricsOf } from './metrics.ts';
import { KIB, noise, Place, send } from './provider.suite.ts';
import type { Status } from './status.ts';

const log: Log = { error() {}, warn() {}, info() {}, debug() {} };
const anywhere = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

/** Of all pages together. */
type Answer = Status & {
  readonly snapshots: readonly { readonly id: string }[];
  readonly paths: object;
  readonly token: string;
  readonly code: string;
  readonly volume: string;
  readonly epoch: number;
};
type Told = { readonly status: number; readonly body: Answer; readonly text: string };
type Ask = (path: string, post?: object) => Promise<Told>;

async function apiOf(place: Place, isPrivate: boolean): Promise<Ask> {
  const { env, server, counts } = place;
  const sinceMs = env.clock.monotonicMs();
  const observed = { env, server, counts, version: '1.2.3', uri: 'ferry://x:1', sinceMs };
  const whole = { ...observed, forwarders: [] };
  const metrics = await metricsOf(whole);
  const options = { env, observed: whole, metrics, log, address: anywhere, isPrivate };
  const api = place.use(await startApi(options));
  assert(api.address.kind === 'tcp');
  const base = `http://127.0.0.1:${api.address.port}`;
  return async (path, post) => {
    const headers = { 'content-type': 'application/json' };
    const request = post && { method: 'POST', body: JSON.stringify(post), headers };
    const answer = await fetch(`${base}${path}`, request);
    const text = await answer.text();
    const isJson = answer.headers.get('content-type')?.includes('json') === true;
    return { status: answer.status, body: isJson ? JSON.parse(text) : {}, text };
  };
}

test('status, volumes and snapshots are told as the description says', async () => {
  await using place = await Place.make();
  await place.start({}, ['', 'acme']);
  await place.pair('web', 'acme');
  const ask = await apiOf(place, false);
  assert.deepEqual((await ask('/healthz')).body, { status: 'ok', problems: [] });
  await using agent = await place.connect('web');
  const volume = await send(agent, 'disk & more', noise(100 * KIB, 1));
  const { snapshot } = await volume.snapshot();
  const { status, body } = await ask('/v1/status');
  assert.equal(status, 200);
  const session = body.sessions[0]!;
  assert.deepEqual([session.agent, session.tenant, session.state], ['web', 'acme', 'open']);
  assert.ok(session.receivedBytes.control! >= 100 * KIB, 'all went by the control lane');
  const one = body.volumes[0]!;
  assert.deepEqual(
    [one.volume, one.agent, one.epoch, one.isConnected, one.lagMs, one.snapshot],
    ['disk & more', 'web', 1, true, 0, snapshot],
  );
  const path = `/v1/volumes/${encodeURIComponent('disk & more')}`;
  assert.deepEqual((await ask(`${path}?tenant=acme`)).body.epoch, 1);
  assert.equal((await ask(path)).status, 404, 'of the first tenant there is none');
  const listed = (await ask('/v1/snapshots?tenant=acme')).body.snapshots;
  assert.deepEqual([listed.length, listed[0]!.id], [1, snapshot]);
  const described = Object.keys((await ask('/openapi.json')).body.paths);
  assert.ok(described.includes('/v1/status') && described.includes('/v1/volumes/{volume}'));
  assert.match((await ask('/metrics')).text, /^ferry_lag_seconds\{tenant="acme"/m);
});

test('in public nothing can be changed; in private tokens and snapshots can be had', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  await using agent = await place.connect('web');
  await send(agent, 'disk', noise(KIB, 1));
  const inPublic = await apiOf(place, false);
  assert.equal((await inPublic('/v1/invitations', {})).status, 404);
  assert.equal((await inPublic('/v1/volumes/disk/snapshot', {})).status, 404);
  assert.equal(place.server.provider('').repository.snapshots().length, 0);
  const ask = await apiOf(place, true);
  const made = await ask('/v1/volumes/disk/snapshot', {});
  assert.deepEqual([made.status, made.body.volume], [200, 'disk']);
  const { token } = (await ask('/v1/invitations', {})).body;
  await place.pair('mail', undefined, token);
  const wrong = await ask('/v1/invitations', { tenant: 'nobody' });
  assert.deepEqual([wrong.status, wrong.body.code], [404, 'SERVICE_UNKNOWN_TENANT']);
});

test('what is no request is refused, and while the provider stops it says so', async () => {
  await using place = await Place.make();
  await place.start();
  const ask = await apiOf(place, true);
  const codes = async (path: string, post?: object) => (await ask(path, post)).status;
  assert.equal(await codes('/nothing'), 404);
  assert.equal(await codes('/v1/volumes/disk'), 404);
  assert.equal(await codes('/v1/snapshots?tenant=nobody'), 404);
  assert.equal(await codes(`/v1/snapshots?volume=${'x'.repeat(300)}`), 400);
  assert.equal(await codes('/v1/invitations', { tenant: 'x'.repeat(20_000) }), 413);
  await place.server[Symbol.asyncDispose]();
  assert.deepEqual((await ask('/healthz')).status, 503);
});

test('a socket that a killed provider left is taken over, one that is in use is not', async () => {
  await using place = await Place.make();
  await place.start();
  const { env, server, counts } = place;
  const observed = { env, server, counts, version: '1', uri: '', sinceMs: 0, forwarders: [] };
  const address = { kind: 'unix', path: join(place.folder, 'serve.sock') } as const;
  const metrics = await metricsOf(observed);
  const options = { env, observed, metrics, log, address, isPrivate: true };
  const other = join(place.folder, 'other.sock');
  const dead = await env.net.listen({ kind: 'unix', path: other }, () => {});
  await env.files.rename(other, address.path);
  await dead.close();
  await using _api = await startApi(options);
  await assert.rejects(startApi(options), (error) => hasCode(error, 'ENV_ADDRESS_IN_USE'));
});
