/** Goal: what never becomes an epoch fills no disk, and stands in the way of no later one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, simulatedEnv } from '../../sim/index.ts';
import { type Env, hasCode } from '../core/index.ts';
import { directoryStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { Provider, type Replica } from './replicate/index.ts';
import {
  cutOf,
  dataOf,
  drawWrites,
  KIB,
  makePlace,
  makeSnapshotIn,
  openPlace,
  SIZE,
  sendEpoch,
} from './replicate.suite.ts';

const BOUND = 200 * KIB;
/** Of one message here: eight blocks at most. */
const MESSAGE_BYTES_MAX = 40 * KIB;

/** Epochs that begin and never end, until one is refused; answers its error. */
async function fill(replica: Replica): Promise<unknown> {
  const draws = new Draws(1, 2);
  const bytes = new Uint8Array(32 * KIB);
  for (let count = 0; count < 100; count += 1) {
    const epoch = replica.seenEpoch + 1;
    await replica.begin(cutOf(epoch, replica.epoch));
    draws.fill(bytes);
    try {
      await replica.put(dataOf(epoch, [{ offsetBytes: 0, bytes: bytes.slice() }]));
    } catch (error) {
      return error;
    }
    assert.ok(replica.journalBytes < BOUND + MESSAGE_BYTES_MAX, 'the journal grows');
  }
  return undefined;
}

test('epochs that never end take no more than the bound, and make room for each other', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env, { journalBytesMax: BOUND });
    const { replica } = place;
    assert.equal(await fill(replica), undefined);
    await sendEpoch(replica, replica.seenEpoch + 1, drawWrites(new Draws(1)));
  });
});

test('with an epoch below them they make room once their session has ended', async () => {
  const world = simulatedEnv(2);
  await world.run(async () => {
    await makePlace(world.env);
    const sizes = { journalBytesMax: BOUND, journalBytesDue: BOUND / 2 };
    await using place = await openPlace(world.env, sizes);
    const { replica } = place;
    await sendEpoch(replica, 1, drawWrites(new Draws(1)));
    assert.ok(hasCode(await fill(replica), 'REPLICATE_JOURNAL_FULL'));
    await replica.greet(1);
    await replica.assemble();
    await sendEpoch(replica, replica.seenEpoch + 1, drawWrites(new Draws(2)));
    assert.ok(replica.journalBytes < BOUND / 2, 'what was given up still lies there');
  });
});

async function begin(env: Env) {
  const objects = await directoryStore(env.files, '/repo', env.random);
  const repository = await Repository.open(env, objects);
  const makeSnapshot = makeSnapshotIn(env, repository);
  return new Provider({ env, repository, directory: '/replica', makeSnapshot });
}

test('journals of replicas that nobody has opened yet are told and counted', async () => {
  const world = simulatedEnv(3);
  await world.run(async () => {
    await makePlace(world.env);
    let journalBytes: number;
    {
      await using provider = await begin(world.env);
      const replica = await provider.replica('vol', 'agent', SIZE);
      await sendEpoch(replica, 1, drawWrites(new Draws(1)));
      ({ journalBytes } = replica);
    }
    await using provider = await begin(world.env);
    const other = await provider.replica('other', 'agent', SIZE);
    assert.equal(provider.storedBytes('agent'), journalBytes + other.journalBytes);
    const [, vol] = await provider.list();
    assert.deepEqual([vol!.isOpen, vol!.journalBytes], [false, journalBytes]);
    await provider.replica('vol', 'agent', SIZE);
    assert.equal(provider.storedBytes('agent'), journalBytes + other.journalBytes);
  });
});
