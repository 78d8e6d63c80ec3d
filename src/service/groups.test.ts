/** Goal: volumes of a group are committed, stored and promoted together, at one epoch. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { equalBytes } from '../core/index.ts';
import { type Device, memory } from '../device/index.ts';
import { type Agent, type EpochSource, keepReplica } from '../transfer/replicate/index.ts';
import { KIB, MIB, noise, Place } from './provider.suite.ts';

const SIZE = 128 * KIB;
const NAMES = ['data', 'log'] as const;
const forced = { isForced: true, isAgentDead: true };

/** A source that is what a test makes of it. */
function sourceOf(bytes: Uint8Array): EpochSource & { device: Device } {
  return {
    sizeBytes: SIZE,
    device: memory('source', SIZE),
    async cut() {
      await this.device.write(bytes, 0, 0);
      return {
        ...{ device: this.device, changed: 'compare', wallMs: 0 },
        acknowledged: async () => undefined,
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}

/** One epoch of both volumes, and a snapshot of it. */
async function sendGroup(place: Place, seed: number) {
  const [data, log] = NAMES.map((name, at) => ({ name, source: sourceOf(noise(SIZE, seed + at)) }));
  const group = { name: 'db', others: [log!] };
  const connect = () => place.connect('web');
  return await keepReplica(place.env, { ...data!, group, connect, mayPass: () => false });
}

async function contentOf(place: Place, name: string): Promise<Uint8Array> {
  const replica = (await place.server.provider('').known(name))!;
  return await replica.read(0, SIZE);
}

function openBoth(agent: Agent) {
  const group = { name: 'db', members: [...NAMES] };
  return Promise.all(NAMES.map((name) => agent.open(name, SIZE, { group })));
}

test('an epoch of a group is there for all of its volumes, and so are its snapshots', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  for (const seed of [1, 5]) {
    const { held } = await sendGroup(place, seed);
    const provider = place.server.provider('');
    for (const [at, name] of NAMES.entries()) {
      const replica = (await provider.known(name))!;
      assert.equal(replica.epoch, held.epoch);
      assert.ok(equalBytes(await contentOf(place, name), noise(SIZE, seed + at)));
      await replica.assemble();
      const [newest] = provider.repository.snapshots(name).slice(-1);
      assert.deepEqual(newest!.tags, [`db@${held.epoch}`]);
    }
    // All of them have it: nobody will ask.
    assert.deepEqual(await readdir(join(place.folder, 'replicas-/groups')), []);
    const groups = (await provider.list()).map(({ group }) => group);
    assert.deepEqual(groups, ['db', 'db']);
  }
});

test('what has come whole for one volume does not count before the others have', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const { held } = await sendGroup(place, 1);
  {
    await using agent = await place.connect('web');
    const [data] = await openBoth(agent);
    const { device } = sourceOf(new Uint8Array(0));
    await device.write(noise(SIZE, 9), 0, 0);
    const sent = data!.send({ device, changed: 'compare', wallMs: 0 });
    // All of it has been acknowledged but the commit itself, which waits for the other volume.
    const begun = new Promise<void>((resolve) => {
      const look = () => (agent.session.backlogBytes === 0 ? resolve() : setImmediate(look));
      setImmediate(look);
    });
    await Promise.race([begun, sent]);
    assert.ok(equalBytes(await contentOf(place, 'data'), noise(SIZE, 1)));
    agent.session.end();
    await assert.rejects(sent, { code: 'REPLICATE_CLOSED' });
  }
  const replica = await place.server.provider('').known('data');
  assert.equal(replica!.epoch, held.epoch);
  const { held: next } = await sendGroup(place, 20);
  assert.ok(next.epoch > held.epoch);
  assert.ok(equalBytes(await contentOf(place, 'data'), noise(SIZE, 20)));
});

test('one of a group is promoted with the others, at their epoch, also after a restart', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const { held } = await sendGroup(place, 1);
  await place.server[Symbol.asyncDispose]();
  await place.start();
  const provider = place.server.provider('');
  const arePromoted = async () =>
    (await place.server.provider('').list()).map((volume) => volume.isPromoted);
  assert.deepEqual(await arePromoted(), [false, false]);
  const promoted = await provider.promote('log', forced);
  assert.deepEqual(await arePromoted(), [true, true]);
  assert.equal(promoted.volume, 'log');
  assert.deepEqual(promoted.missing, []);
  const [other] = promoted.others!;
  assert.deepEqual([other!.volume, other!.authority], ['data', promoted.authority]);
  assert.deepEqual([other!.loss.epoch, promoted.loss.epoch], [held.epoch, held.epoch]);
  await assert.rejects(sendGroup(place, 5), { remoteCode: 'REPLICATE_FENCED' });
  await place.server[Symbol.asyncDispose]();
  await place.start();
  assert.deepEqual(await arePromoted(), [true, true]);
});

test('a volume that left its group goes on alone, and is not promoted with it', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  await sendGroup(place, 1);
  const { epoch } = (
    await keepReplica(place.env, {
      ...{ name: 'log', source: sourceOf(noise(SIZE, 3)), mayPass: () => false },
      connect: () => place.connect('web'),
    })
  ).held;
  const provider = place.server.provider('');
  assert.equal((await provider.known('log'))!.epoch, epoch);
  const promoted = await provider.promote('data', forced);
  assert.deepEqual([promoted.others, promoted.missing], [[], ['log']]);
  assert.equal((await provider.known('log'))!.authority.state.promotion, undefined);
});

test('a group that its volume is not in, or whose name is no word, is refused', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  for (const group of [
    { name: 'db', members: ['others'] },
    { name: 'd b', members: ['data'] },
    { name: 'db', members: ['data', 'data'] },
    { name: 'db', members: ['log', 'data'] },
    { name: 'db', members: Array.from({ length: 33 }, (_, at) => `data${10 + at}`) },
  ]) {
    await using agent = await place.connect('web');
    await assert.rejects(agent.open('data', SIZE, { group }), /REPLICATE_PROTOCOL|no word|group/);
  }
  await using agent = await place.connect('web');
  const twice = Promise.all([openBoth(agent), openBoth(agent)]);
  await assert.rejects(twice, { remoteCode: 'REPLICATE_PROTOCOL' });
});

test('many members that compare at once are sent window by window, as one is', async () => {
  await using place = await Place.make();
  await place.start();
  await place.pair('web');
  const names = ['a', 'b', 'c', 'd', 'e'];
  await using agent = await place.connect('web');
  const group = { name: 'five', members: names };
  const sizeBytes = 17 * MIB;
  const volumes = await Promise.all(names.map((name) => agent.open(name, sizeBytes, { group })));
  const device = memory('source', sizeBytes);
  await device.write(new Uint8Array(sizeBytes), 0, 0); // It does not know that they are zeroes.
  const sendAll = async (epoch: number) => {
    const request = { device, changed: 'compare', wallMs: 0 } as const;
    return await Promise.all(volumes.map((volume) => volume.send(request, epoch)));
  };
  await sendAll(1);
  // Each window asks for hashes now: a session may have 64 requests.
  const same = (await sendAll(2)).map(({ sameBytes }) => sameBytes);
  assert.deepEqual(same, Array(5).fill(sizeBytes));
});
