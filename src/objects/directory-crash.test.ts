/** Goal: whatever fails, whenever the power is cut, what a directory store promised holds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hash32, SimulatedDisk, simulatedEnv, tryCrashes } from '../../sim/index.ts';
import { type Env, type EnvErrorCode, hasCode } from '../core/index.ts';
import { directoryStore } from './directory.ts';
import { ObjectError, type ObjectStore } from './object-store.ts';

const SEEDS = 100;
const ROOT = '/store';

function open(env: Env): Promise<ObjectStore> {
  return directoryStore(env.files, ROOT, env.random);
}

test('after a power cut every put that resolved is whole, every other object absent or whole', async () => {
  for (let seed = 0; seed < SEEDS; seed++) {
    assert.deepEqual(await tryCrashes(seed, { open }), []);
  }
});

for (const failsSync of ['sync', 'sync-directory'] as const) {
  test(`the same holds when one ${failsSync} fails`, async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      assert.deepEqual(await tryCrashes(seed, { open, failsSync }), []);
    }
  });
}

const small = Uint8Array.of(1, 2, 3);
const large = new Uint8Array(20_000).fill(9);

/** Two objects in new folders; tells for each how it went. */
async function storeBoth(store: ObjectStore): Promise<Map<string, unknown>> {
  const outcomes = new Map<string, unknown>();
  const attempt = (key: string, work: () => Promise<void>): Promise<void> =>
    work().then(
      () => void outcomes.set(key, 'done'),
      (error: unknown) => void outcomes.set(key, error),
    );
  await attempt('log/1', () => store.putIfAbsent('log/1', small));
  await attempt('packs/aa/1', async () => {
    await using writer = await store.create('packs/aa/1');
    await writer.append(large.subarray(0, 15_000));
    await writer.append(large.subarray(15_000));
    await writer.commit();
  });
  return outcomes;
}

const contents: readonly (readonly [string, Uint8Array])[] = [
  ['log/1', small],
  ['packs/aa/1', large],
];

const codes: readonly (readonly [EnvErrorCode, string])[] = [
  ['ENV_IO', 'OBJECT_IO'],
  ['ENV_NO_SPACE', 'OBJECT_NO_SPACE'],
  ['ENV_LIMIT', 'OBJECT_IO'],
  ['ENV_ACCESS', 'OBJECT_ACCESS'],
];

type NthFault = { number: number; code: EnvErrorCode; expected: string; applied: boolean };

/** Fails one call of a run, then looks at the same disk, and after a power cut, and tries again. */
async function failNth({ number, code, expected, applied }: NthFault): Promise<boolean> {
  const world = simulatedEnv(number);
  const fault = world.disk.inject({ number, code, applied });
  const outcomes = await world.run(async () => {
    try {
      await using store = await open(world.env);
      return await storeBoth(store);
    } catch (error) {
      return new Map(contents.map(([key]) => [key, error])); // The store did not even open.
    }
  });
  for (const outcome of outcomes.values()) {
    if (outcome === 'done') continue;
    assert(outcome instanceof ObjectError, String(outcome));
    // A call that succeeded and said otherwise may show as a name that is taken.
    assert([expected, 'OBJECT_IO', 'OBJECT_EXISTS'].includes(outcome.code), String(outcome));
  }
  for (const disk of [world.disk.copy(), world.disk.crash(hash32(number))]) {
    await checkAndRetry(disk, outcomes);
  }
  return fault.met;
}

async function checkAndRetry(
  disk: SimulatedDisk,
  outcomes: ReadonlyMap<string, unknown>,
): Promise<void> {
  const world = simulatedEnv(1, { disk });
  await world.run(async () => {
    await using store = await open(world.env);
    for (const [key, content] of contents) {
      const found = await store.get(key, 100_000).catch((error: unknown) => {
        assert(hasCode(error, 'OBJECT_NOT_FOUND') && outcomes.get(key) !== 'done', String(error));
      });
      if (found) assert.deepEqual(found, content);
      else await store.putIfAbsent(key, content);
    }
    assert.deepEqual(await Array.fromAsync(store.list(''), ({ key }) => key), [
      'log/1',
      'packs/aa/1',
    ]);
  });
}

for (const [code, expected] of codes) {
  for (const applied of [false, true]) {
    const when = applied ? 'after it took effect' : 'at once';
    test(`any single call that fails ${when} with ${code} loses nothing and blocks nothing`, async () => {
      let number = 1;
      while (await failNth({ number, code, expected, applied })) number++;
      assert(number > 25, `only ${number} calls were failed`);
    });
  }
}

test('a failed sync of the file leaves nothing behind, and the next put works', async () => {
  const world = simulatedEnv(1);
  world.disk.inject({ operation: 'sync', number: 1, code: 'ENV_IO' });
  await world.run(async () => {
    await using store = await open(world.env);
    await assert.rejects(store.putIfAbsent('log/1', small), { code: 'OBJECT_IO' });
    assert.deepEqual(await Array.fromAsync(store.list('')), []);
    const names = await world.env.files.list(`${ROOT}/tmp`);
    assert.deepEqual(
      names.filter((name) => !name.startsWith('lock-')),
      [],
    );
    await store.putIfAbsent('log/1', small);
  });
});

test('a link that a network file system repeated, its answer lost, is known as our own', async () => {
  const world = simulatedEnv(1);
  world.disk.inject({ operation: 'link', number: 1, code: 'ENV_EXISTS', applied: true });
  await world.run(async () => {
    await using store = await open(world.env);
    await store.putIfAbsent('log/1', small);
    assert.deepEqual(await store.get('log/1', 10), small);
  });
});

test('a folder that could not be made is made by the next put', async () => {
  const world = simulatedEnv(1);
  world.disk.inject({
    operation: 'make-directory',
    number: 1,
    code: 'ENV_ACCESS',
    pathPart: 'log',
  });
  await world.run(async () => {
    await using store = await open(world.env);
    await assert.rejects(store.putIfAbsent('log/1', small), { code: 'OBJECT_ACCESS' });
    await store.putIfAbsent('log/1', small);
  });
});

test('after a failed sync of a directory the store reads on and takes nothing more', async () => {
  const world = simulatedEnv(1);
  await world.run(async () => {
    await using store = await open(world.env);
    await store.putIfAbsent('log/1', small);
    world.disk.inject({ operation: 'sync-directory', number: 1, code: 'ENV_IO' });
    await assert.rejects(store.putIfAbsent('log/2', small), { code: 'OBJECT_IO' });
    await assert.rejects(store.putIfAbsent('log/3', small), { code: 'OBJECT_IO' });
    assert.deepEqual(await store.get('log/1', 10), small);
    await using again = await open(world.env);
    await again.putIfAbsent('log/3', small);
  });
});

test('a full disk is told as such, with a hint; what was written is given back; reading goes on', async () => {
  const world = simulatedEnv(1, { disk: new SimulatedDisk({ capacityBytes: 40_960 }) });
  await world.run(async () => {
    await using store = await open(world.env);
    await store.putIfAbsent('packs/aa/1', large);
    const usedBytes = world.disk.usedBytes;
    await assert.rejects(
      store.putIfAbsent('packs/aa/2', new Uint8Array(30_000)),
      (error: unknown) =>
        hasCode(error, 'OBJECT_NO_SPACE') && /space/.test((error as ObjectError).hint),
    );
    assert.equal(world.disk.usedBytes, usedBytes);
    const names = await world.env.files.list(`${ROOT}/tmp`);
    assert.deepEqual(
      names.filter((name) => !name.startsWith('lock-')),
      [],
    );
    assert.deepEqual(await store.get('packs/aa/1', 100_000), large);
    await store.putIfAbsent('packs/aa/3', small);
  });
});

test('a writer killed at any event harms neither the objects nor another writer', async () => {
  let killed = true;
  for (let events = 1; killed; events++) {
    const world = simulatedEnv(events);
    const victim = world.startProcess('victim');
    let outcomes = new Map<string, unknown>();
    const other: string[] = [];
    const outcome = await world.runObserved(
      async () => {
        const dying = open(victim.env)
          .then(storeBoth)
          .then((told) => {
            outcomes = told;
          });
        await using store = await open(world.env);
        for (const key of ['log/1', 'log/2', 'packs/aa/2']) {
          const result = await store.putIfAbsent(key, small).then(
            () => 'done',
            (error: unknown) => (hasCode(error, 'OBJECT_EXISTS') ? 'exists' : String(error)),
          );
          other.push(result);
        }
        await Promise.race([dying, new Promise<void>((wake) => world.env.clock.after(1e6, wake))]);
      },
      (event) => {
        if (event === events) victim.kill();
        return 'go-on';
      },
    );
    assert(!outcome.cut);
    killed = outcomes.size === 0;
    assert(['done', 'exists'].includes(other[0]!), other[0]);
    assert.deepEqual(other.slice(1), ['done', 'done']);
    await checkAndRetryShared(world.disk.copy());
  }
});

async function checkAndRetryShared(disk: SimulatedDisk): Promise<void> {
  const world = simulatedEnv(1, { disk });
  await world.run(async () => {
    await using store = await open(world.env);
    for (const key of ['log/1', 'log/2', 'packs/aa/2']) {
      assert.deepEqual(await store.get(key, 10), small);
    }
    await store.putIfAbsent('packs/aa/1', large).catch(async (error: unknown) => {
      assert(hasCode(error, 'OBJECT_EXISTS'));
      assert.deepEqual(await store.get('packs/aa/1', 100_000), large);
    });
  });
}

test('unfinished files are swept when their writer is dead, and not before', async () => {
  const world = simulatedEnv(1);
  const victim = world.startProcess('victim');
  await world.run(async () => {
    await using other = await open(world.env);
    const store = await open(victim.env);
    const finished = await store.create('packs/aa/1');
    const unfinished = await store.create('packs/aa/2');
    for (const writer of [finished, unfinished]) await writer.append(large);
    assert.deepEqual(await other.locks?.sweep(), { files: 0, bytes: 0 });
    await finished.commit();
    victim.kill();
    assert.deepEqual(await other.locks?.sweep(), { files: 1, bytes: large.byteLength });
    assert.deepEqual(await other.get('packs/aa/1', 100_000), large);
    assert.deepEqual(await world.env.files.list(`${ROOT}/tmp`), []);
  });
});
