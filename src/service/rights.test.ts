/** Goal: an agent may do what it was granted, in its own tenant, and nothing else. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { equalBytes, hasCode, sha256 } from '../core/index.ts';
import { memory } from '../device/index.ts';
import { isWithin, names, parseWindow } from './grant.ts';
import { Pace } from './pace.ts';
import { PeerPolicy } from './peer-policy.ts';
import { KIB, MIB, noise, Place, send } from './provider.suite.ts';

const remote = (code: string) => (error: unknown) =>
  (error as { remoteCode?: string }).remoteCode === code;

test('names of volumes fit their patterns, and no others', () => {
  assert.ok(names(['web-*', 'mail'], 'web-1') && names(['*'], 'anything'));
  assert.ok(names(['a*b*c'], 'abc') && names(['a*b*c'], 'a-b-b-c') && names(['web*'], 'web'));
  for (const name of ['web', 'xweb-1', 'mailbox']) assert.ok(!names(['web-*', 'mail'], name));
  assert.ok(!names(['ab*ba'], 'aba') && !names(['a*b*c'], 'acb') && !names([], 'a'));
});

test('hours may pass midnight, and what is none is refused', () => {
  const at = (hour: number, minute: number) => new Date(2026, 0, 5, hour, minute).getTime();
  const night = parseWindow('22:00-06:00')!;
  assert.ok(isWithin(night, at(22, 0)) && isWithin(night, at(0, 0)) && isWithin(night, at(5, 59)));
  assert.ok(!isWithin(night, at(6, 0)) && !isWithin(night, at(21, 59)));
  const day = parseWindow('08:30-17:00')!;
  assert.ok(isWithin(day, at(8, 30)) && !isWithin(day, at(8, 29)) && !isWithin(day, at(17, 0)));
  for (const text of ['24:00-01:00', '8:00-9:00', '08:60-09:00', '08:00']) {
    assert.equal(parseWindow(text), undefined, text);
  }
});

test('a rate holds over any time, whatever the size of messages', () => {
  const pace = new Pace();
  let nowMs = 0;
  let bytes = 0;
  while (nowMs < 100_000) {
    const size = 1 + ((bytes * 7919) % 300_000);
    const delayMs = pace.take(size, 100_000, nowMs);
    if (delayMs === 0) bytes += size;
    nowMs += delayMs;
  }
  assert.ok(bytes <= 100_000 * 101 + 300_000 && bytes >= 100_000 * 98, `${bytes} in 100 s`);
});

test('who waits for a rate or for hours is let go at once when the session ends', async () => {
  const timers: (() => void)[] = [];
  const clock = {
    monotonicMs: () => 0,
    bootMs: () => 0,
    wallMs: () => new Date(2026, 0, 5, 12, 0).getTime(),
    after: (_delayMs: number, run: () => void) => {
      timers.push(run);
      return { cancel() {} };
    },
  };
  const policy = new PeerPolicy({ clock }, { window: '22:00-06:00' });
  policy.grants = new Map([['agent', {}]]);
  const stop = new AbortController();
  const waiting = policy.admit('agent', 1, stop.signal);
  assert.equal(timers.length, 1);
  stop.abort();
  await waiting;
  // Granted other hours, the next look lets it through.
  const again = policy.admit('agent', 1, new AbortController().signal);
  policy.grants = new Map([['agent', { window: '11:00-13:00' }]]);
  timers[1]!();
  await again;
});

test('an agent sends what it may, and learns only of what it may read', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const { peers } = await place.node('provider');
  await using agent = await place.connect('web');
  await send(agent, 'web-1', noise(100 * KIB, 1));
  await peers.grant('web', () => ({ volumes: ['web-*'], rights: ['write'] }));
  await using narrowed = await place.connect('web');
  await assert.rejects(narrowed.open('mail', MIB), remote('REPLICATE_DENIED'));
  await send(narrowed, 'web-2', noise(100 * KIB, 1));
  // What is there already could be compared: that is reading.
  await assert.rejects(send(narrowed, 'web-1', noise(100 * KIB, 2)), remote('REPLICATE_DENIED'));
  await peers.grant('web', () => ({ rights: [] }));
  await using idle = await place.connect('web');
  await assert.rejects(idle.open('web-1', 100 * KIB), remote('REPLICATE_DENIED'));
});

test('quotas bound volumes, what they come to, and what they take', async () => {
  await using place = await Place.make();
  await place.start({ defaults: { volumesMax: 2, logicalBytesMax: MIB } });
  await place.pair('web');
  const { peers } = await place.node('provider');
  await using agent = await place.connect('web');
  await send(agent, 'a', noise(300 * KIB, 1));
  await assert.rejects(agent.open('b', MIB), remote('REPLICATE_QUOTA'));
  await send(agent, 'b', noise(300 * KIB, 2));
  await assert.rejects(agent.open('c', KIB), remote('REPLICATE_QUOTA'));
  await peers.grant('web', () => ({ storedBytesMax: 700 * KIB }));
  await using more = await place.connect('web');
  await send(more, 'a', noise(300 * KIB, 3));
  const over = await send(more, 'a', noise(300 * KIB, 4)).then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(remote('REPLICATE_QUOTA')(over), String(over));
  assert.equal((await place.server.provider('').known('a'))!.epoch, 2);
});

test('a volume that finds its quota full stops alone, and goes on when there is room', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const { peers } = await place.node('provider');
  await using agent = await place.connect('web');
  const full = await send(agent, 'full', noise(300 * KIB, 1));
  await peers.grant('web', () => ({ storedBytesMax: 200 * KIB }));
  // A new session is told of the grant at once; the one that is open hears of it, too.
  await (await place.connect('web'))[Symbol.asyncDispose]();
  const device = memory('more', 300 * KIB);
  await device.write(noise(300 * KIB, 2), 0, 0);
  const epoch = { device, changed: 'compare', wallMs: 0 } as const;
  await assert.rejects(full.send(epoch), remote('REPLICATE_QUOTA'));
  assert.equal(place.counts.failing.get('full'), 'REPLICATE_QUOTA');
  // Zeroes and what is unchanged take a few bytes, which count as well: only asking goes on.
  const other = await agent.open('other', MIB);
  assert.equal(agent.session.state, 'open');
  await peers.grant('web', () => ({ storedBytesMax: 2 * MIB }));
  await (await place.connect('web'))[Symbol.asyncDispose]();
  const whole = memory('other', MIB);
  await other.send({ device: whole, changed: 'compare', wallMs: 0 });
  await full.send(epoch);
  assert.equal(place.counts.failing.get('full'), undefined);
  assert.ok(equalBytes(await contentOf(place, 'full'), noise(300 * KIB, 2)));
});

async function contentOf(place: Place, name: string): Promise<Uint8Array> {
  const replica = (await place.server.provider('').known(name))!;
  return await replica.read(0, replica.sizeBytes);
}

test('tenants share nothing: neither repository, nor names, nor what an offer tells', async () => {
  await using place = await Place.make();
  await place.start({}, ['', 'acme']);
  await place.pair('first');
  await place.pair('second', 'acme');
  assert.throws(
    () => place.server.invite('nobody'),
    (error) => hasCode(error, 'SERVICE_UNKNOWN_TENANT'),
  );
  const bytes = noise(8 * 64 * KIB, 1);
  await using first = await place.connect('first');
  await (await send(first, 'disk', bytes)).snapshot();
  await using second = await place.connect('second');
  const volume = await send(second, 'disk', bytes);
  const hash = (await volume.hashes(0, 1)).slice();
  await volume.snapshot();
  const tallies = place.events.flatMap((event) => (event.event === 'epoch' ? [event.tally] : []));
  assert.deepEqual(
    tallies.map(({ knownBytes, dataBytes }) => [knownBytes, dataBytes]),
    [0, 0].map(() => [0, bytes.byteLength]),
    'what another tenant has is sent all the same',
  );
  const unknown = noise(64 * KIB, 9);
  await (await send(first, 'secret', unknown)).snapshot();

  const isWanted = await second.offer(volume.facts.number, Buffer.concat([sha256(unknown), hash]));
  assert.deepEqual([isWanted(0), isWanted(1)], [true, false]);
  const counted = place.server.tenants.map(
    ({ provider }) => provider.repository.snapshots().length,
  );
  assert.deepEqual(counted, [2, 1]);
});

test('a revoked agent leaves at once, and one that moved to another tenant comes again', async () => {
  await using place = await Place.make();
  await place.start({}, ['', 'acme']);
  await place.pair('web');
  const { peers } = await place.node('provider');
  const agent = await place.connect('web');
  await send(agent, 'disk', noise(KIB, 1));
  await peers.grant('web', () => ({ tenant: 'acme' }));
  await place.event((event) => event.event === 'ended' && hasCode(event.error, 'WIRE_BUSY'));
  const moved = await place.connect('web');
  await send(moved, 'disk', noise(KIB, 1));
  assert.deepEqual(
    place.events.flatMap((event) => (event.event === 'epoch' ? [event.tenant] : [])),
    ['', 'acme'],
  );
  await peers.revoke('web');
  await place.event((event) => event.event === 'ended' && hasCode(event.error, 'WIRE_NOT_TRUSTED'));
  assert.deepEqual(
    place.events.flatMap((event) =>
      event.event === 'came' || event.event === 'ended' ? [`${event.name} ${event.event}`] : [],
    ),
    // It paired, wrote as one tenant's, and as another's.
    [1, 2, 3].flatMap(() => ['web came', 'web ended']),
  );
  await assert.rejects(place.connect('web'), remote('WIRE_NOT_TRUSTED'));
  assert.equal(place.counts.refused.get('WIRE_NOT_TRUSTED'), 1);
});

test('a peer book in which a revocation cannot be read lets nobody in', async () => {
  await using place = await Place.make();
  const { peers } = await place.node('provider');
  const fingerprint = sha256(new TextEncoder().encode('name:web'));
  await peers.add({ role: 'agent', name: 'web', address: null, fingerprint, isVouchedFor: true });
  await peers.revoke('web');
  const path = `${place.folder}/node-provider/peers.json`;
  const text = await readFile(path, 'utf8');
  assert.equal((await peers.peers('agent'))[0]!.isRevoked, true);
  await writeFile(path, text.replace('"isRevoked": true', '"isRevoked": "yes"'));
  await assert.rejects(peers.peers('agent'), { code: 'SERVICE_STATE' });
});
