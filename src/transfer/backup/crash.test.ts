/** Goal: after a power cut at any moment every committed snapshot is there, and backups go on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, hash32, type SimulatedDisk, simulatedEnv } from '../../../sim/index.ts';
import { type Env, FerryError } from '../../core/index.ts';
import { directoryStore, type ObjectStore } from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import { backUp, type Expected, noise, open, verifyAll } from './model-repository.fixture.ts';

const SEEDS = 30;
const CUTS_PER_SEED = 6;
const BACKUPS = 3;

function openObjects(env: Env): Promise<ObjectStore> {
  return directoryStore(env.files, '/repository', env.random);
}

/** The versions of one seed's volume: sizes and places differ, content mostly stays. */
function versionsOf(seed: number): Uint8Array[] {
  const draws = new Draws(seed, 1);
  let bytes = noise(100_000 + draws.below(900_000), seed);
  return Array.from({ length: BACKUPS }, (_, at) => {
    const next = new Uint8Array(Math.max(1, bytes.byteLength + draws.below(200_000) - 100_000));
    next.set(bytes.subarray(0, next.byteLength));
    for (let change = 0; change < 4; change++) {
      const place = draws.below(next.byteLength);
      next.set(
        noise(draws.below(60_000), at * 10 + change).subarray(0, next.length - place),
        place,
      );
    }
    bytes = next;
    return next;
  });
}

type Moment = { readonly disk: SimulatedDisk; readonly expected: Expected; readonly event: number };

/** init, then backups; answers with what power cuts at seeded events leave. */
async function cutRun(seed: number, failsSync: boolean): Promise<Moment[]> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 2 === 0 });
  const cuts = new Draws(seed, 2);
  const expected: Expected = new Map();
  const moments: Moment[] = [];
  const note = (event: number) => {
    const disk = world.disk.crash(hash32(seed, event));
    moments.push({ disk, expected: new Map(expected), event });
  };
  if (failsSync) {
    const operation = cuts.chance(0.5) ? 'sync' : 'sync-directory';
    world.disk.inject({ operation, number: 1 + cuts.below(30), code: 'ENV_IO' });
  }
  await world.runObserved(
    async () => {
      for (const bytes of [undefined, ...versionsOf(seed)]) {
        try {
          await using objects = await openObjects(world.env);
          if (bytes === undefined) await Repository.init(world.env, objects);
          else {
            const repository = await open(world.env, objects);
            const { snapshot } = await backUp(world.env, repository, bytes, {
              packTargetBytes: 60_000,
            });
            expected.set(snapshot.id, bytes);
          }
        } catch (error) {
          assert(error instanceof FerryError, String((error as Error).stack));
          // Names whose sync failed are lost even to later processes, until the next boot.
          return;
        }
      }
    },
    (event) => {
      // About this many of the few hundred events of a run.
      if (moments.length < CUTS_PER_SEED && cuts.chance(0.025)) note(event);
      return 'go-on';
    },
  );
  note(world.eventCount);
  return moments;
}

/** What the next boot finds: all that was reported, a clean check, a repository that goes on. */
async function judge(seed: number, { disk, expected, event }: Moment): Promise<void> {
  const world = simulatedEnv(seed + 1, { disk });
  const { env } = world;
  try {
    await world.run(async () => {
      await using objects = await openObjects(env);
      if (expected.size === 0) {
        await Repository.init(env, objects).catch((error: FerryError) => {
          assert.equal(error.code, 'STORE_EXISTS');
        });
      }
      const all = new Map(expected);
      const bytes = noise(300_000, seed);
      const { snapshot } = await backUp(env, await open(env, objects), bytes);
      all.set(snapshot.id, bytes);
      await verifyAll(env, objects, all);
    });
  } catch (cause) {
    throw new Error(`seed ${seed}, power cut after event ${event}`, { cause });
  }
}

for (const failsSync of [false, true]) {
  test(`power cuts at any event${failsSync ? ', where a sync had failed' : ''}`, async () => {
    let cuts = 0;
    let withSnapshots = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      for (const moment of await cutRun(seed, failsSync)) {
        await judge(seed, moment);
        cuts++;
        if (moment.expected.size > 0) withSnapshots++;
      }
    }
    assert(
      cuts > SEEDS * 3 && withSnapshots > SEEDS,
      `${cuts} cuts, ${withSnapshots} with content`,
    );
  });
}

test('a full disk fails the backup, and what is there still lists, checks and restores', async () => {
  const world = simulatedEnv(3);
  const { env, disk } = world;
  const expected: Expected = new Map();
  await world.run(async () => {
    await using objects = await openObjects(env);
    await Repository.init(env, objects);
    const [first, second] = versionsOf(3);
    const done = await backUp(env, await open(env, objects), first!);
    expected.set(done.snapshot.id, first!);
    for (let more = 0; more < 10; more++) {
      disk.capacityBytes = disk.usedBytes + more * 20_000;
      const repository = await open(env, objects);
      await backUp(env, repository, noise(1_500_000, more), { packTargetBytes: 60_000 }).then(
        () => assert.fail('there was no room for it'),
        (error: unknown) => assert(error instanceof FerryError, String(error)),
      );
      await verifyAll(env, objects, expected);
    }
    disk.capacityBytes = Number.POSITIVE_INFINITY;
    const next = await backUp(env, await open(env, objects), second!);
    expected.set(next.snapshot.id, second!);
    await verifyAll(env, objects, expected);
  });
});

test('a backup that is killed at any event leaves all that was committed', async () => {
  const [first, second] = versionsOf(5);
  let step = 0;
  for (let killed = true; killed; step++) {
    const world = simulatedEnv(step);
    const { env } = world;
    const victim = world.startProcess('victim');
    const expected: Expected = new Map();
    let begun = false;
    let done = false;
    let count = 0;
    await world.runObserved(
      async () => {
        await using objects = await openObjects(env);
        await Repository.init(env, objects);
        const { snapshot } = await backUp(env, await open(env, objects), first!);
        expected.set(snapshot.id, first!);
        begun = true;
        const dying = (async () => {
          const own = await openObjects(victim.env);
          const request = { packTargetBytes: 60_000 };
          const result = await backUp(victim.env, await open(victim.env, own), second!, request);
          expected.set(result.snapshot.id, second!);
          done = true;
        })();
        await Promise.race([dying, new Promise<void>((wake) => env.clock.after(1e6, wake))]);
        const next = await backUp(env, await open(env, objects), second!);
        expected.set(next.snapshot.id, second!);
        await verifyAll(env, objects, expected);
      },
      () => {
        if (begun && count++ === step * 4) victim.kill();
        return 'go-on';
      },
    );
    killed = !done;
  }
  assert(step > 10, `killed at ${step} moments only`);
});
