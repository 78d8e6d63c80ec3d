/** Goal: what a provider shows of its replicas is one epoch, whole, that its agent had. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Address, equalBytes, hasCode } from '../core/index.ts';
import { type Device, memory } from '../device/index.ts';
import { connect, serve } from '../nbd/index.ts';
import type { Log } from './log.ts';
import { KIB, MIB, noise, Place, send } from './provider.suite.ts';
import { replicaExports } from './replica-exports.ts';
import { runSchedule } from './schedule.ts';

const silent: Log = { error() {}, warn() {}, info() {}, debug() {} };

async function contentOf(device: Device): Promise<Uint8Array> {
  const bytes = new Uint8Array(device.sizeBytes);
  await device.read(bytes, 0);
  return bytes;
}

async function served(): Promise<Place & { uriOf(name: string): string }> {
  const place = await Place.make();
  const { tenants } = await place.start({ journalBytesDue: 64 * KIB });
  await place.pair('web');
  const address: Address = { kind: 'unix', path: join(place.folder, 'nbd.sock') };
  const exports = replicaExports(place.env, tenants);
  const server = place.use(await serve(place.env, { address, exports }));
  return Object.assign(place, { uriOf: (name: string) => server.uriOf(name) });
}

test('who opens a volume keeps its epoch, whatever comes and becomes a snapshot meanwhile', async () => {
  await using place = await served();
  await using agent = await place.connect('web');
  const first = noise(200 * KIB, 1);
  await send(agent, 'disk', first);
  await using early = await connect(place.env, place.uriOf('disk'));
  const contents = [first];
  for (let seed = 2; seed < 5; seed += 1) {
    const next = noise(200 * KIB, seed);
    const volume = await send(agent, 'disk', next);
    await volume.snapshot();
    contents.push(next);
    assert.ok(equalBytes(await contentOf(early), first), `after epoch ${seed}`);
    await using late = await connect(place.env, place.uriOf('disk'));
    assert.ok(equalBytes(await contentOf(late), next));
    assert.equal(late.readOnly, true);
  }
  const { repository } = place.server.provider('');
  for (const { id } of repository.snapshots('disk')) {
    await using snapshot = await connect(place.env, place.uriOf(`disk@${id.slice(0, 8)}`));
    const bytes = await contentOf(snapshot);
    assert.ok(contents.some((content) => equalBytes(content, bytes)));
  }
  await using latest = await connect(place.env, place.uriOf('disk@latest'));
  assert.ok(equalBytes(await contentOf(latest), contents.at(-1)!));
  for (const name of ['nothing', 'disk@ffff', 'disk@', '../disk', '', 'acme/disk']) {
    await assert.rejects(
      connect(place.env, place.uriOf(name)),
      { code: 'NBD_UNKNOWN_EXPORT' },
      name,
    );
  }
});

test('an epoch is exported by a provider that has just started, before its agent comes', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const bytes = noise(100 * KIB, 1);
  {
    await using agent = await place.connect('web');
    await send(agent, 'disk', bytes);
  }
  await place.server[Symbol.asyncDispose]();
  const { tenants } = await place.start();
  const exports = replicaExports(place.env, tenants);
  assert.deepEqual(await exports.list(), ['disk']);
  const found = await exports.find('disk');
  assert.ok(found !== undefined && 'device' in found);
  assert.ok(equalBytes(await contentOf(found.device), bytes));
  await found.close?.();
});

test('a snapshot whose digest is not that of its agent is not committed', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  await using agent = await place.connect('web');
  // An agent that lies of its digest, or a defect on either side: what is read twice differs.
  const bytes = noise(256 * KIB, 1);
  const device = memory('disk', bytes.byteLength);
  await device.write(bytes, 0, 0);
  const volume = await agent.open('disk', bytes.byteLength);
  const { provider } = place.server.tenants[0]!;
  const replica = (await provider.known('disk'))!;
  const commit = replica.commit.bind(replica);
  replica.commit = (epoch) => commit({ ...epoch, digest: new Uint8Array(32).fill(7) });
  await volume.send({ device, changed: 'compare', changedBytes: bytes.byteLength, wallMs: 0 });
  await assert.rejects(volume.snapshot(), { remoteCode: 'REPLICATE_DIGEST' });
  assert.deepEqual(provider.repository.snapshots(), []);
  assert.equal(place.counts.errors.get('STORE_DIGEST'), 1);
  assert.deepEqual([...place.counts.failing.keys()], ['disk']);
  // The next comparison that is told rightly heals it.
  replica.commit = commit;
  await (await send(agent, 'disk', bytes)).snapshot();
  assert.equal(provider.repository.snapshots().length, 1);
});

test('a volume grows and shrinks: each epoch has the size of its time', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const sizes = [300 * KIB, MIB + 4096, MIB + 4096, 70_000, 130_000];
  for (const [at, size] of sizes.entries()) {
    await using agent = await place.connect('web');
    const bytes = noise(size, 1);
    bytes.fill(0, size / 2 + 1000 * at);
    const replica = await place.server.provider('').known('disk');
    await agent.open('disk', size);
    if (replica !== undefined && size !== sizes[at - 1]) {
      // Until an epoch has come in the new size the present one is as it was.
      await using before = await replica.hold();
      assert.equal(before.device.sizeBytes, sizes[at - 1]);
    }
    const volume = await send(agent, 'disk', bytes);
    {
      await using held = (await place.server.provider('').hold('disk'))!;
      assert.ok(equalBytes(await contentOf(held.device), bytes), `of ${size} bytes`);
    }
    if (at % 2 === 1) await volume.snapshot();
    if (at === 2) {
      await place.server[Symbol.asyncDispose]();
      await place.start();
      await using again = (await place.server.provider('').hold('disk'))!;
      assert.ok(equalBytes(await contentOf(again.device), bytes), 'after a restart');
    }
  }
  const { repository } = place.server.provider('');
  const found = repository.snapshots('disk').map(({ sizeBytes }) => sizeBytes);
  assert.deepEqual([...new Set(found)], [300 * KIB, MIB + 4096, 70_000]);
});

test('snapshots are made of what has changed, and older ones forgotten, but none that is needed', async () => {
  await using place = await Place.make();
  const { tenants } = await place.start();
  await place.pair('web');
  await using agent = await place.connect('web');
  const { provider } = place.server.tenants[0]!;
  const stop = new AbortController();
  const count = () => place.counts.volumes.get('')?.get('disk')?.snapshots ?? 0;
  const options = { everyMs: 20, keep: { last: 2 }, log: silent };
  const done = runSchedule(place.env, tenants, options, stop.signal);
  for (let seed = 1; seed < 6; seed += 1) {
    const before = count();
    await send(agent, 'disk', noise(KIB, seed));
    await place.event(() => count() > before);
  }
  await send(agent, 'disk', noise(KIB, 6));
  stop.abort();
  await done;
  const { length } = provider.repository.snapshots('disk');
  assert.ok(length <= 3 && length >= 2, `${length} are left`);
});

test('what is on its way at a stop is durable or not acknowledged, and a restart goes on', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const first = noise(2 * MIB, 1);
  const agent = await place.connect('web');
  await send(agent, 'disk', first);
  const second = noise(2 * MIB, 2);
  const sending = send(agent, 'disk', second).then(
    () => second,
    () => undefined,
  );
  await place.server[Symbol.asyncDispose]();
  const acknowledged = await sending;
  assert.ok(place.server.isStopping);
  await place.start();
  await using held = (await place.server.provider('').hold('disk'))!;
  const content = await contentOf(held.device);
  const whole = [first, second].filter((bytes) => equalBytes(bytes, content));
  assert.equal(whole.length, 1, 'one of the two epochs, whole');
  if (acknowledged !== undefined) assert.equal(whole[0], second);
  await using again = await place.connect('web');
  await send(again, 'disk', second);
  assert.ok(!hasCode(place.events.at(-1), 'REPLICATE_JOURNAL'));
});
