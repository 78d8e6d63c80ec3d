/** Goal: providers mirror each other: what one commits the other has, once, and no loop goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, hasCode, toHex } from '../core/index.ts';
import { Forwarder } from './forwarder.ts';
import type { Log } from './log.ts';
import { KIB, noise, Place, send } from './provider.suite.ts';
import { connectProvider, pairWith } from './provider-link.ts';
import type { ServerEvent } from './replica-server.ts';

const log: Log = { error() {}, warn() {}, info() {}, debug() {} };

type Forwarding = AsyncDisposable & { readonly forwarder: Forwarder };

/** `from` sends on to `to`, whose node it has been paired with. */
async function forward(from: Place, to: Place): Promise<Forwarding> {
  const { env } = from;
  const node = await from.node('provider');
  const { address } = to.server;
  assert(address.kind === 'tcp');
  const link = { ...node, address, written: `127.0.0.1:${address.port}` };
  const peer = await pairWith(env, link, to.server.invite());
  const forwarder = new Forwarder(env, {
    provider: from.server.provider(''),
    own: toHex(node.identity.fingerprint),
    ...{ target: peer.fingerprint, written: link.written, log },
    connect: () => connectProvider(env, { ...link, lane: 'control' }),
  });
  from.onEpoch.push((volume, changed) => forwarder.committed(volume, changed));
  const stop = new AbortController();
  const done = forwarder.run(stop.signal);
  return {
    forwarder,
    async [Symbol.asyncDispose]() {
      stop.abort();
      await done;
    },
  };
}

async function until(place: Place, volume: string, bytes: Uint8Array): Promise<void> {
  const { provider } = place.server.tenants[0]!;
  for (;;) {
    const count = place.events.length;
    await using held = await provider.hold(volume);
    if (held?.device.sizeBytes === bytes.byteLength) {
      const content = new Uint8Array(bytes.byteLength);
      await held.device.read(content, 0);
      if (equalBytes(content, bytes)) return;
    }
    await place.event(() => place.events.length > count);
  }
}

test('what is committed is forwarded: all of it at first, then what changed, and after a restart the rest', async () => {
  await using first = await Place.make();
  await using second = await Place.make();
  await first.start();
  await second.start();
  await first.pair('web');
  await using agent = await first.connect('web');
  const bytes = noise(10 * 64 * KIB, 1);
  await send(agent, 'old', bytes);
  {
    await using _forwarding = await forward(first, second);
    await until(second, 'old', bytes);
    bytes.set(noise(4 * KIB, 2), 70_000);
    await send(agent, 'old', bytes);
    await until(second, 'old', bytes);
    const tallies = second.events.flatMap((one) => (one.event === 'epoch' ? [one.tally] : []));
    assert.equal(tallies.at(-1)!.dataBytes, 64 * KIB, 'the chunk that came, and no other');
    await send(agent, 'new', bytes);
    await until(second, 'new', bytes);
  }
  bytes.set(noise(4 * KIB, 3), 200_000);
  await send(agent, 'old', bytes);
  await using again = await forward(first, second);
  await until(second, 'old', bytes);
  const last = second.events.findLast((one) => one.event === 'epoch')!;
  assert(last.event === 'epoch');
  assert.deepEqual([last.tally.dataBytes, last.tally.patchedBytes], [64 * KIB, 0]);
  assert.deepEqual(again.forwarder.status.refused, {});
  const grown = noise(12 * 64 * KIB, 4);
  await send(agent, 'new', grown);
  await until(second, 'new', grown);
});

test('two providers mirror each other, a third one behind them has all, and nothing goes round', async () => {
  await using first = await Place.make();
  await using second = await Place.make();
  await using third = await Place.make();
  for (const place of [first, second, third]) await place.start();
  await first.pair('web');
  await second.pair('mail');
  await using _there = await forward(first, second);
  await using back = await forward(second, first);
  await using web = await first.connect('web');
  await using mail = await second.connect('mail');
  const contents = { web: noise(100 * KIB, 1), mail: noise(90 * KIB, 2) };
  await send(web, 'web', contents.web);
  await send(mail, 'mail', contents.mail);
  for (const place of [first, second]) {
    await until(place, 'web', contents.web);
    await until(place, 'mail', contents.mail);
  }
  const replica = (await second.server.provider('').known('web'))!;
  assert.equal(replica.via.length, 1);
  // A ring: the third one sends on to the second, which has the same volume by another way.
  await using _on = await forward(first, third);
  await until(third, 'web', contents.web);
  await until(third, 'mail', contents.mail);
  await using _ring = await forward(third, second);
  const taken = (event: ServerEvent) =>
    event.event === 'failed' && hasCode(event.error, 'REPLICATE_VOLUME_TAKEN');
  await second.event(taken);
  const own = toHex((await second.node('provider')).identity.fingerprint);
  await assert.rejects(mail.open('ring', KIB, { via: [own] }), { remoteCode: 'REPLICATE_LOOP' });
  assert.deepEqual(back.forwarder.status.refused, {});
  const epochs = second.counts.volumes.get('')!.get('mail')!.epochs;
  assert.equal(epochs, 1, 'its own volume did not come back');
});
