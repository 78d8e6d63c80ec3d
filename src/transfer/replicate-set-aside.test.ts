/** Goal: a replica whose snapshot is gone is kept aside, and begins anew when its agent comes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, simulatedEnv } from '../../sim/index.ts';
import { type Env, equalBytes, hasCode } from '../core/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { Provider, type ProviderEvent, replicaFolder } from './replicate/index.ts';
import {
  applied,
  drawWrites,
  makePlace,
  makeSnapshotIn,
  presentOf,
  SIZE,
  sendEpoch,
} from './replicate.suite.ts';

async function begin(env: Env, events: ProviderEvent[] = []) {
  const objects = await directoryStore(env.files, '/repo', env.random);
  const repository = await Repository.open(env, objects);
  const makeSnapshot = makeSnapshotIn(env, repository);
  const onEvent = (event: ProviderEvent) => void events.push(event);
  return new Provider({ env, repository, directory: '/replica', makeSnapshot, onEvent });
}

/** Two epochs, of which the first is a snapshot; answers the name of the replica. */
async function made(env: Env): Promise<string> {
  await using provider = await begin(env);
  const replica = await provider.replica('vol', 'agent', SIZE);
  await sendEpoch(replica, 1, drawWrites(new Draws(1)));
  await replica.assemble();
  await sendEpoch(replica, 2, drawWrites(new Draws(2)));
  return replica.id;
}

async function forgetAll(env: Env): Promise<void> {
  const objects = await directoryStore(env.files, '/repo', env.random);
  await using repository = await Repository.open(env, objects);
  await repository.hold(repository.snapshots('vol'), false);
  await repository.forget(repository.snapshots('vol'));
}

test('a replica whose snapshot was forgotten is set aside, and its agent sends all anew', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    const before = await made(env);
    await forgetAll(env);
    const events: ProviderEvent[] = [];
    await using provider = await begin(env, events);
    await assert.rejects(provider.known('vol'), { code: 'REPLICATE_BASE_GONE' });
    const replica = await provider.replica('vol', 'agent', SIZE);
    assert.notEqual(replica.id, before);
    assert.equal(replica.isEmpty, true);
    const told = events.find((one) => one.event === 'failed');
    assert.ok(
      hasCode(told!.error, 'REPLICATE_BASE_GONE') && /is kept in/.test(String(told!.error)),
    );
    const kept = `/replica/aside/${replicaFolder('vol')}-${before.slice(0, 8)}`;
    assert.deepEqual(await env.files.list(kept), ['journal-2', 'replica.json']);
    const writes = drawWrites(new Draws(3));
    await sendEpoch(replica, 1, writes);
    assert.ok(equalBytes(await presentOf(replica), applied(new Uint8Array(SIZE), writes)));
    assert.deepEqual(
      (await provider.list()).map(({ volume }) => volume),
      ['vol'],
    );
  });
});

test('a power cut at any moment of that leaves it there or aside, and it goes on', async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const world = simulatedEnv(seed);
    await world.run(async () => {
      await makePlace(world.env);
      await made(world.env);
      await forgetAll(world.env);
    });
    const first = world.eventCount;
    await world.runObserved(
      async () => {
        await using provider = await begin(world.env);
        await provider.replica('vol', 'agent', SIZE);
      },
      (event) => (event > first + 14 * seed ? 'cut' : 'go-on'),
    );
    const after = simulatedEnv(seed + 100, { disk: world.disk.crash(seed) });
    await after.run(async () => {
      await using provider = await begin(after.env);
      const replica = await provider.replica('vol', 'agent', SIZE);
      await sendEpoch(replica, 1, drawWrites(new Draws(3)));
      const [kept] = await after.env.files.list('/replica/aside');
      const files = await after.env.files.list(`/replica/aside/${kept}`);
      assert.deepEqual(files, ['journal-2', 'replica.json'], `seed ${seed}`);
    });
  }
});

test('what a promotion wrote over a snapshot that is gone stays where it is', async () => {
  const world = simulatedEnv(2);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    await made(env);
    {
      await using provider = await begin(env);
      await provider.promote('vol', { isForced: true, isAgentDead: true });
    }
    await forgetAll(env);
    await using provider = await begin(env);
    const opening = provider.replica('vol', 'agent', SIZE);
    await assert.rejects(opening, { code: 'REPLICATE_BASE_GONE' });
    assert.ok(!(await env.files.list('/replica')).includes('aside'));
  });
});
