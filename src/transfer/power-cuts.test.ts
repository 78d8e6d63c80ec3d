/** Goal: a power cut at any step of gc or of a copy loses nothing; the next run ends its work. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, hash32, type SimulatedDisk, simulatedEnv } from '../../sim/index.ts';
import { type Env, equalBytes } from '../core/index.ts';
import { directoryStore, type ObjectStore } from '../objects/index.ts';
import { originalId, Repository } from '../store/index.ts';
import {
  backUp,
  checked,
  type Expected,
  noise,
  open,
  restored,
  verifyAll,
} from './backup/model-repository.fixture.ts';
import { copy, select } from './copy/index.ts';

const SEEDS = 5;
const CHUNK_BYTES = 16 * 1024;
const packTargetBytes = 40_000;

type Moment = {
  readonly event: number;
  readonly disk: SimulatedDisk;
  /** What the repository must have, and what of it must have been copied. */
  readonly expected: Expected;
  readonly copied: ReadonlySet<string>;
};

type Stage = { readonly expected: Expected; readonly copied: Set<string>; cuts: boolean };

const storeAt = (env: Env, root: string): Promise<ObjectStore> =>
  directoryStore(env.files, root, env.random);

async function collect(env: Env, objects: ObjectStore, similar = false) {
  const repository = await open(env, objects);
  return repository.collectGarbage({ waitMs: 0, packTargetBytes, similar });
}

async function copyAll(env: Env, from: ObjectStore, to: ObjectStore, done?: Set<string>) {
  const source = await open(env, from);
  const destination = await open(env, to);
  const { wanted } = select(source, destination, []);
  const { copied, refused } = await copy(env, source, destination, wanted, { packTargetBytes });
  assert.deepEqual(refused, []);
  for (const { snapshot } of copied) done?.add(snapshot.id);
}

/** Versions that share most; of the older ones much is needed no more. */
async function fill(env: Env, objects: ObjectStore, stage: Stage, seed: number): Promise<void> {
  await Repository.init(env, objects, { chunkBytes: CHUNK_BYTES });
  let bytes = noise(200_000, seed);
  for (let version = 0; version < 4; version++) {
    bytes = bytes.slice();
    bytes.set(noise(50_000, seed + version + 1), version * 37_000);
    const { snapshot } = await backUp(env, await open(env, objects), bytes, { packTargetBytes });
    stage.expected.set(snapshot.id, bytes);
  }
}

async function forgetOld(env: Env, objects: ObjectStore, { expected }: Stage): Promise<void> {
  const repository = await open(env, objects);
  const old = repository.snapshots().slice(0, 3);
  for (const { id } of old) expected.delete(id);
  await repository.forget(old);
}

type Step = (env: Env, stage: Stage, objects: ObjectStore) => Promise<void>;

/** `prepare`, then `step`, at so many of whose events the power goes. */
type Trial = { readonly prepare: Step; readonly step: Step; readonly share: number };

/** Answers with what power cuts at seeded events of the step leave. */
async function cutRun(seed: number, { prepare, step, share }: Trial): Promise<Moment[]> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 2 === 0 });
  const { env, disk } = world;
  const draws = new Draws(seed, 2);
  const stage: Stage = { expected: new Map(), copied: new Set(), cuts: false };
  const moments: Moment[] = [];
  const note = (event: number) => {
    const expected = new Map(stage.expected);
    const copied = new Set(stage.copied);
    moments.push({ event, disk: disk.crash(hash32(seed, event)), expected, copied });
  };
  await world.runObserved(
    async () => {
      await using objects = await storeAt(env, '/repository');
      await fill(env, objects, stage, seed);
      await prepare(env, stage, objects);
      stage.cuts = true;
      await step(env, stage, objects);
      stage.cuts = false;
    },
    (event) => {
      if (stage.cuts && draws.chance(share)) note(event);
      return 'go-on';
    },
  );
  note(world.eventCount);
  return moments;
}

type Judge = (env: Env, objects: ObjectStore, moment: Moment) => Promise<void>;

async function allCuts(trial: Trial, judge: Judge): Promise<void> {
  let cuts = 0;
  for (let seed = 0; seed < SEEDS; seed++) {
    for (const moment of await cutRun(seed, trial)) {
      const world = simulatedEnv(seed + 1, { disk: moment.disk });
      try {
        await world.run(async () => {
          await using objects = await storeAt(world.env, '/repository');
          await judge(world.env, objects, moment);
        });
      } catch (cause) {
        throw new Error(`seed ${seed}, power cut after event ${moment.event}`, { cause });
      }
      cuts++;
    }
  }
  assert(cuts > SEEDS * 3, `${cuts} cuts`);
}

test('power cuts at any event of gc', () =>
  allCuts(
    {
      prepare: (env, stage, objects) => forgetOld(env, objects, stage),
      step: async (env, _stage, objects) => void (await collect(env, objects)),
      share: 0.02,
    },
    async (env, objects, { expected }) => {
      await verifyAll(env, objects, expected);
      await collect(env, objects);
      await verifyAll(env, objects, expected);
      const { orphanPacks } = await checked(env, await open(env, objects), false);
      assert.equal(orphanPacks, 0);
    },
  ));

test('power cuts at any event of storing what is similar anew', () =>
  allCuts(
    {
      prepare: async (env, { expected }, objects) => {
        const bytes = [...expected.values()].at(-1)!;
        const other = new Uint8Array(bytes.byteLength);
        other.set(bytes.subarray(7000));
        const request = { volume: 'other', packTargetBytes };
        const { snapshot } = await backUp(env, await open(env, objects), other, request);
        expected.set(snapshot.id, other);
      },
      step: async (env, _stage, objects) => {
        const { similarChunks } = await collect(env, objects, true);
        assert(similarChunks > 3, `${similarChunks} chunks`);
      },
      share: 0.008,
    },
    async (env, objects, { expected }) => {
      await verifyAll(env, objects, expected);
      await collect(env, objects, true);
      await verifyAll(env, objects, expected);
      const { orphanPacks } = await checked(env, await open(env, objects), false);
      assert.equal(orphanPacks, 0);
    },
  ));

test('power cuts at any event of a copy', () =>
  allCuts(
    {
      prepare: async (env) => {
        await using target = await storeAt(env, '/copies');
        await Repository.init(env, target, { chunkBytes: CHUNK_BYTES });
      },
      step: async (env, { copied }, objects) => {
        await using target = await storeAt(env, '/copies');
        await copyAll(env, objects, target, copied);
      },
      share: 0.008,
    },
    async (env, objects, { expected, copied }) => {
      await using target = await storeAt(env, '/copies');
      const there = await copiesThere(env, target, expected);
      for (const id of copied) assert(there.includes(id), `the copy of ${id} is lost`);
      await copyAll(env, objects, target);
      assert.deepEqual(await copiesThere(env, target, expected), [...expected.keys()]);
    },
  ));

/** The originals of all copies; each is what its original was, and nothing is damaged. */
async function copiesThere(env: Env, target: ObjectStore, expected: Expected): Promise<string[]> {
  const repository = await open(env, target);
  const snapshots = repository.snapshots();
  for (const snapshot of snapshots) {
    const bytes = expected.get(originalId(snapshot))!;
    assert(equalBytes(await restored(env, repository, snapshot), bytes), `${snapshot.id} differs`);
  }
  assert.deepEqual((await checked(env, repository)).problems, []);
  return snapshots.map(originalId);
}
