/** Goal: after a kill of either side only blocks travel that the provider does not have. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type SimulatedDisk, simulatedEnv } from '../../sim/index.ts';
import { type Env, equalBytes, sha256 } from '../core/index.ts';
import type { EpochReport } from './replicate/agent/send-epoch.ts';
import { keepReplica } from './replicate/index.ts';
import { GIVEN_UP_BYTES_MAX } from './replicate/limits.ts';
import { Contents } from './replicate/provider/contents.ts';
import {
  BLOCK,
  commitOf,
  cutOf,
  dataOf,
  KIB,
  makePlace,
  openPlace,
  presentOf,
  sendEpoch,
} from './replicate.suite.ts';
import { deviceOf, TrackedModel } from './replicate-model.suite.ts';
import { connect, serve } from './replicate-simulation.suite.ts';

const noise = Uint8Array.from(
  Buffer.concat(Array.from({ length: 4096 }, (_, at) => sha256(Uint8Array.of(at, at >> 8)))),
);

/** One epoch, for which whole chunks are told to have changed. */
async function sendInDoubt(env: Env, model: TrackedModel): Promise<EpochReport> {
  const { report } = await keepReplica(env, {
    name: 'vol',
    source: {
      sizeBytes: model.sizeBytes,
      cut: async (held) => {
        const cut = (await model.cut(held))!;
        if (cut.changed === 'compare') return cut;
        const changed = [{ offsetBytes: 0, lengthBytes: 128 * KIB }];
        return {
          ...cut,
          changed,
          changedBytes: 128 * KIB,
          isInDoubt: true,
          device: deviceOf(model),
        };
      },
    },
    connect: () => connect(env),
  });
  return report!;
}

test('of a chunk that may have changed only the blocks are sent that have', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const { env } = world;
    await makePlace(env);
    await serve(env, 0);
    const model = new TrackedModel(env);
    model.write(0, noise.slice(0, 128 * KIB));
    await sendInDoubt(env, model);
    model.write(5 * BLOCK, new Uint8Array(BLOCK).fill(7));
    model.write(20 * BLOCK, new Uint8Array(BLOCK));
    const { dataBytes, zeroBytes, sameBytes } = await sendInDoubt(env, model);
    assert.deepEqual({ dataBytes, zeroBytes }, { dataBytes: BLOCK, zeroBytes: BLOCK });
    assert.equal(sameBytes, 128 * KIB - 2 * BLOCK);
  });
});

const piece = noise.slice(0, 3 * BLOCK);
const hashes = [0, 1, 2].map((at) => sha256(piece.subarray(at * BLOCK, (at + 1) * BLOCK)));

/** A disk on which an epoch was begun, and a piece of three blocks has come for it. */
async function interrupted(): Promise<SimulatedDisk> {
  const world = simulatedEnv(2);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    await place.replica.begin(cutOf(1, 0));
    await place.replica.put(dataOf(1, [{ offsetBytes: BLOCK, bytes: piece }]));
  });
  return world.disk;
}

test('blocks of what came for an epoch that did not end are found, and once more by a later life', async () => {
  const before = simulatedEnv(3, { disk: await interrupted() });
  const reference = { offsetBytes: 8 * BLOCK, lengthBytes: BLOCK, hash: hashes[1]! };
  const commit = { ...commitOf(2, []), messageCount: 1, recordCount: 1 };
  await before.run(async () => {
    await using place = await openPlace(before.env);
    const { replica } = place;
    assert.deepEqual(await replica.knows(hashes), [true, true, true]);
    await replica.begin(cutOf(2, 0));
    await replica.refer({ volume: 1, epoch: 2, request: 0, references: [reference] });
    assert.equal(await replica.commit(commit), true);
  });
  const after = simulatedEnv(4, { disk: before.disk });
  await after.run(async () => {
    await using place = await openPlace(after.env);
    const content = await presentOf(place.replica);
    const block = content.subarray(8 * BLOCK, 9 * BLOCK);
    assert.ok(equalBytes(block, piece.subarray(BLOCK, 2 * BLOCK)));
    assert.ok(content.subarray(0, 8 * BLOCK).every((byte) => byte === 0));
  });
});

test('once an epoch is committed nothing is looked for in what was given up before', async () => {
  const world = simulatedEnv(5, { disk: await interrupted() });
  await world.run(async () => {
    await using place = await openPlace(world.env);
    await sendEpoch(place.replica, 2, [[{ offsetBytes: 0, bytes: new Uint8Array(BLOCK).fill(1) }]]);
    assert.deepEqual(await place.replica.knows(hashes), [false, false, false]);
  });
});

test('how much is looked into is bounded', async () => {
  const world = simulatedEnv(6);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    const { repository } = place;
    const unread = { fill: () => assert.fail('it was looked into') };
    const contents = new Contents(repository, unread as never);
    const lengthBytes = GIVEN_UP_BYTES_MAX + BLOCK;
    const content = { kind: 'section', journal: {}, place: {} } as never;
    contents.gaveUp([{ offsetBytes: 0, lengthBytes, skipBytes: 0, content }]);
    assert.deepEqual(await contents.knows(hashes), [false, false, false]);
  });
});

test('what cannot be looked into is told once, and nobody is held up by it later', async () => {
  const world = simulatedEnv(7);
  await world.run(async () => {
    await makePlace(world.env);
    await using place = await openPlace(world.env);
    const damaged = { fill: () => Promise.reject(new Error('a bad sector')) };
    const contents = new Contents(place.repository, damaged as never);
    const journal = { isClosed: false, use: () => () => {}, durable: async () => {} };
    const content = { kind: 'section', journal, place: {} } as never;
    const lost = { offsetBytes: 0, lengthBytes: BLOCK, skipBytes: 0, content };
    contents.gaveUp([lost]);
    await assert.rejects(contents.knows(hashes), /bad sector/);
    assert.deepEqual(await contents.knows(hashes), [false, false, false]);
    contents.gaveUp([lost]);
    await assert.rejects(contents.knows(hashes), /bad sector/);
  });
});
