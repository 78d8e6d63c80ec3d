/** Goal: who collects garbage learns from a writer's objects all that it may count on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeEnv } from '../core/index.ts';
import { memoryStore } from '../objects/index.ts';
import { presentSessions } from './gc-sessions.ts';
import { plainSealer, type SealedObjects, sealedObjects, sealJsonObject } from './sealer.ts';
import { findSessions, Session } from './session.ts';

const env = nodeEnv();
const packs = Array.from({ length: 130 }, (_, at) => at.toString(16).padStart(64, '0'));
const newStore = () => sealedObjects(memoryStore('sessions'), plainSealer);

test('a session that moves on names all its packs, and the newest generation counts', async () => {
  const objects = newStore();
  const session = await Session.begin(env, objects, 'disk', 3);
  for (const pack of packs.slice(0, 128)) await session.add(pack);
  await session.moveTo(5);
  const found = await findSessions(objects);
  assert.equal(found.length, 1);
  assert.deepEqual(found[0]!.state.packs, packs.slice(0, 128));
  assert.equal(found[0]!.state.generation, 5);
  for (const pack of packs.slice(128)) await session.add(pack);
  const [later] = await findSessions(objects);
  assert.deepEqual(later!.state.packs, packs);
  assert.equal(later!.state.generation, 5);
  assert(later!.keys.length > 1, 'earlier objects, of the earlier generation, are still there');
  await session.end();
  assert.deepEqual(await findSessions(objects), []);
});

test('a writer that goes on while it is looked for is found, with all its packs', async () => {
  const objects = newStore();
  const session = await Session.begin(env, objects, 'disk', 5);
  await session.add('ab'.repeat(32));
  let isLooked = false;
  const looked: SealedObjects = {
    ...objects,
    async get(key, bytesMax) {
      if (!isLooked) {
        isLooked = true;
        await session.add('cd'.repeat(32));
      }
      return objects.get(key, bytesMax);
    },
  };
  const found = await findSessions(looked);
  assert.deepEqual(
    found.map(({ state }) => state.packs),
    [['ab'.repeat(32), 'cd'.repeat(32)]],
  );
});

test('a session of an earlier version, which says nothing of locks, is watched for signs of life', async () => {
  const objects = newStore();
  const writer = 'ab'.repeat(16);
  const put = async (count: number) => {
    const key = `sessions/${writer}-0000000${count}`;
    const state = { writer, volume: 'disk', generation: 0, packs: packs.slice(0, count) };
    await objects.putIfAbsent(key, sealJsonObject(objects.sealer, 'session', key, state));
  };
  await put(0);
  const watched = presentSessions(env, objects, new Set(), 0);
  const { alive, dead } = await watched;
  assert.deepEqual([alive.length, dead.map(({ state }) => state.writer)], [0, [writer]]);
  const listed = { ...objects, list: objects.list.bind(objects) };
  let lists = 0;
  listed.list = async function* (prefix, after) {
    if (++lists === 2) await put(1); // It has gone on between the two looks.
    yield* objects.list(prefix, after);
  };
  const second = await presentSessions(env, listed, new Set(), 0);
  assert.deepEqual([second.alive.length, second.dead.length], [1, 0]);
  assert.deepEqual(second.alive[0]!.state.packs, packs.slice(0, 1));
});
