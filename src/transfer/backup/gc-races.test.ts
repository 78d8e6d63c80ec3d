/** Goal: writers and readers beside collectors lose nothing, however they are overtaken. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { codecPool } from '../../codec/index.ts';
import { equalBytes, hasCode } from '../../core/index.ts';
import type { ObjectStore } from '../../objects/index.ts';
import { rebuildIndex, repairAll } from '../../store/index.ts';
import { env, filled, forget, gc, noneLeftOver, PACK_BYTES, sizeOf } from './gc.fixture.ts';
import { type SharedStore, sharedStore } from './gc-processes.fixture.ts';
import {
  backUp,
  dump,
  type Expected,
  fill,
  init,
  noise,
  open,
  verifyAll,
} from './model-repository.fixture.ts';

test('a mounted snapshot reads on while its packs are rewritten, and after it was forgotten', async () => {
  const { objects, expected } = await filled(6);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  const reader = shared.start();
  const [id, bytes] = [...expected].at(-1)!;
  const reading = await open(env, reader.objects);
  const snapshot = reading.snapshots().find((each) => each.id === id)!;
  const pin = await reading.pin([snapshot], true);
  await using mounted = await reading.device(snapshot);
  const whole = new Uint8Array(bytes.byteLength);
  await mounted.read(whole.subarray(0, 1000), 0);
  await forget(shared.inner, expected, [...expected.keys()].slice(0, 5));
  const report = await gc(shared.start().objects);
  assert(report.droppedPacks > 0 && report.newPacks > 0);
  assert.deepEqual(report.waitingFor, []);
  await mounted.read(whole, 0);
  assert(equalBytes(whole, bytes));
  await using late = await reading.device(snapshot);
  await forget(shared.inner, expected, [id]);
  assert.equal((await gc(shared.start().objects)).droppedPacks, 0);
  await late.read(whole.fill(0), 0);
  assert(equalBytes(whole, bytes));
  assert((await gc(shared.start().objects, { breakPins: true })).droppedPacks > 0);
  await assert.rejects(reading.pin([snapshot], true), { code: 'STORE_SNAPSHOT_GONE' });
  await using device = await reading.device(snapshot);
  const error: unknown = await Promise.resolve(device.read(whole, 0)).catch((caught) => caught);
  assert(hasCode(error, 'DEVICE_IO') && hasCode((error as Error).cause, 'STORE_SNAPSHOT_GONE'));
  await pin[Symbol.asyncDispose]();
  await verifyAll(env, shared.inner, expected);
  await noneLeftOver(shared.inner);
});

test('what a restore or a backup under way may use stays until it has ended', async () => {
  const { objects, expected } = await filled(4);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  const reading = await open(env, shared.start().objects);
  const pin = await reading.pin([reading.snapshots().at(-1)!]);
  const writing = await open(env, shared.start().objects);
  await using pool = codecPool(env, 0);
  const options = { volume: 'other', sizeBytes: 0, parent: undefined, pool };
  const session = await writing.beginBackup(options);
  await forget(shared.inner, expected, [...expected.keys()].slice(0, 3));
  const packs = await sizeOf(shared.inner, 'packs/');
  const first = await gc(shared.start().objects);
  assert.deepEqual(first.waitingFor.map(({ kind }) => kind).sort(), ['backup', 'reader']);
  assert(first.condemnedPacks > 0 && first.droppedPacks === 0);
  assert((await sizeOf(shared.inner, 'packs/')) >= packs);
  await session[Symbol.asyncDispose]();
  assert.equal((await gc(shared.start().objects)).droppedPacks, 0);
  await pin[Symbol.asyncDispose]();
  const last = await gc(shared.start().objects);
  assert.equal(last.droppedPacks, first.condemnedPacks);
  await verifyAll(env, shared.inner, expected);
  await noneLeftOver(shared.inner);
});

/** A backup that stands still just before its entry is put. */
async function stoppedBackup(shared: SharedStore, bytes: Uint8Array, volume: string) {
  const process = shared.start();
  const repository = await open(env, process.objects);
  process.stopAtPut('log/');
  const result = backUp(env, repository, bytes, { volume, packTargetBytes: PACK_BYTES });
  result.catch(() => undefined); // Looked at when it has gone on.
  while (!process.isStopped) await turn();
  return { process, result };
}

test('a backup that gc overtook unseen refuses, and one that seems dead does too', async () => {
  for (const seen of [false, true]) {
    const { objects, expected } = await filled(6);
    const shared = sharedStore('shared');
    await fill(shared.inner, await dump(objects));
    const known = [...expected.values()].at(0)!;
    const { process, result } = await stoppedBackup(shared, known, 'other');
    process.loseLocks();
    if (!seen) {
      // As in a listing that is stale.
      const sessions = await Array.fromAsync(shared.inner.list('sessions/'));
      for (const { key } of sessions) await shared.inner.remove(key);
    }
    await forget(shared.inner, expected, [...expected.keys()].slice(0, 5));
    for (let run = 0; run < 2; run++) await gc(shared.start().objects);
    process.resume();
    await assert.rejects(result, { code: 'STORE_FENCED' });
    await verifyAll(env, shared.inner, expected);
    await gc(shared.start().objects);
    await noneLeftOver(shared.inner);
  }
});

test('a backup under way stores again what was condemned, and nothing needs to be spared', async () => {
  const { objects, expected } = await filled(6);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  const known = [...expected.values()].at(0)!;
  const { process, result } = await stoppedBackup(shared, known, 'other');
  await forget(shared.inner, expected, [...expected.keys()].slice(0, 5));
  const first = await gc(shared.start().objects);
  assert.equal(first.waitingFor.length, 1);
  assert(first.condemnedPacks > 1);
  process.resume();
  const { snapshot } = await result;
  expected.set(snapshot.id, known);
  await verifyAll(env, shared.inner, expected);
  const second = await gc(shared.start().objects);
  assert.equal(second.droppedPacks, first.condemnedPacks);
  assert.equal(second.sparedPacks, 0);
  await verifyAll(env, shared.inner, expected);
  await noneLeftOver(shared.inner);
});

// With a parent much waits until it is known what it resembles.
for (const [volume, freshBytes] of [
  ['disk', 10_000_000],
  ['other', 6_000_000],
] as const) {
  test(`a long backup of ${volume} moves on: what was condemned beside it goes before it ends`, async () => {
    const { objects, expected } = await filled(6);
    const shared = sharedStore('shared');
    await fill(shared.inner, await dump(objects));
    // What only a forgotten snapshot has, then enough for several packs.
    const bytes = Buffer.concat([[...expected.values()].at(0)!, noise(freshBytes, 99)]);
    const process = shared.start();
    const repository = await open(env, process.objects);
    process.stopAtPut('sessions/');
    const result = backUp(env, repository, bytes, { volume, packTargetBytes: 500_000 });
    result.catch(() => undefined); // Looked at when it has gone on.
    while (!process.isStopped) await turn();
    process.resume();
    process.stopAtPut('sessions/'); // Of its first pack.
    while (!process.isStopped) await turn();
    await forget(shared.inner, expected, [...expected.keys()].slice(0, 5));
    const first = await gc(shared.start().objects);
    assert.equal(first.waitingFor.length, 1);
    assert(first.condemnedPacks > 1 && first.droppedPacks === 0);
    process.resume();
    process.stopAtPut('log/');
    while (!process.isStopped) await turn();
    const second = await gc(shared.start().objects);
    assert.deepEqual(second.waitingFor, []);
    assert.equal(second.droppedPacks, first.condemnedPacks);
    await verifyAll(env, shared.inner, expected);
    process.resume();
    const { snapshot } = await result;
    expected.set(snapshot.id, bytes);
    await verifyAll(env, shared.inner, expected);
    await gc(shared.start().objects);
    await verifyAll(env, shared.inner, expected);
    await noneLeftOver(shared.inner);
  });
}

test('a backup that stores nothing of its own, overtaken unseen, refuses as well', async () => {
  const { objects, expected } = await filled(2);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  const { process, result } = await stoppedBackup(shared, [...expected.values()].at(-1)!, 'disk');
  process.loseLocks();
  for (const { key } of await Array.fromAsync(shared.inner.list('sessions/'))) {
    await shared.inner.remove(key);
  }
  await forget(shared.inner, expected, [...expected.keys()]);
  const report = await gc(shared.start().objects);
  assert(report.droppedPacks > 0 && report.deadSessions === 0);
  process.resume();
  await assert.rejects(result, { code: 'STORE_FENCED' });
  await verifyAll(env, shared.inner, expected);
});

test('two backups that store the same chunks as patches of different ones, then gc', async () => {
  const shared = sharedStore('shared');
  await init(env, shared.inner, 'plain');
  const expected: Expected = new Map();
  const [one, two, three] = [noise(400_000, 1), noise(400_000, 1), noise(400_000, 1)];
  for (let at = 100; at < 400_000; at += 65_536) {
    two.fill(7, at, at + 9000);
    three.fill(7, at, at + 4000);
  }
  for (const [volume, bytes] of [
    ['a', one],
    ['b', two],
  ] as const) {
    const { snapshot } = await backUp(env, await open(env, shared.inner), bytes, { volume });
    expected.set(snapshot.id, bytes);
  }
  const firsts = [...expected.keys()];
  for (const [a, b] of [
    [three, three],
    [two, one],
  ] as const) {
    const runs = [await stoppedBackup(shared, a, 'a'), await stoppedBackup(shared, b, 'b')];
    for (const { process, result } of runs) {
      process.resume();
      const { snapshot } = await result;
      expected.set(snapshot.id, snapshot.volume === 'a' ? a : b);
    }
    await verifyAll(env, shared.inner, expected);
    await gc(shared.start().objects);
    await verifyAll(env, shared.inner, expected);
  }
  await forget(shared.inner, expected, firsts);
  await gc(shared.start().objects);
  await verifyAll(env, shared.inner, expected);
});

test('what a killed backup left is gone after gc, and is taken up if a backup comes first', async () => {
  for (const resumed of [true, false]) {
    const { objects, expected } = await filled(1);
    const shared = sharedStore('shared');
    await fill(shared.inner, await dump(objects));
    const fresh = noise(700_000, 77);
    const { process, result } = await stoppedBackup(shared, fresh, 'other');
    process.kill();
    await assert.rejects(result, { code: 'OBJECT_IO' });
    assert((await Array.fromAsync(shared.inner.list('sessions/'))).length > 0);
    if (resumed) {
      const repository = await open(env, shared.start().objects);
      const { snapshot, adoptedPacks } = await backUp(env, repository, fresh, { volume: 'other' });
      assert(adoptedPacks > 0);
      expected.set(snapshot.id, fresh);
    }
    const report = await gc(shared.start().objects);
    assert.equal(report.deadSessions > 0 && report.orphans > 0, !resumed);
    await verifyAll(env, shared.inner, expected);
    await noneLeftOver(shared.inner);
  }
});

test('a snapshot that came to need condemned packs all the same makes them spared', async () => {
  const { objects, expected } = await filled(4);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  const repository = await open(env, shared.start().objects);
  const [old] = repository.snapshots();
  const bytes = expected.get(old!.id)!;
  const pin = await repository.pin([], false);
  await forget(shared.inner, expected, [...expected.keys()].slice(0, 3));
  assert((await gc(shared.start().objects)).condemnedPacks > 0);
  // As by a writer that does not know the rules.
  const index = { packs: [], packsDropped: [], segments: [], segmentsDropped: [] };
  await repository.log.append(async ({ generation }) => {
    return { type: 'snapshot', snapshot: old!, index, generation };
  });
  expected.set(old!.id, bytes);
  await pin[Symbol.asyncDispose]();
  const report = await gc(shared.start().objects);
  assert(report.sparedPacks > 0, JSON.stringify(report));
  await verifyAll(env, shared.inner, expected);
  await noneLeftOver(shared.inner);
});

test('gc whose segment is replaced before it was read looks again', async () => {
  const { objects, expected } = await filled(6);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  await rebuildIndex(env, await open(env, shared.inner));
  const [first, ...others] = [...expected.keys()].slice(0, 5);
  await forget(shared.inner, expected, [first!]);
  const process = shared.start();
  let hasReplaced = false;
  const late: ObjectStore = {
    ...process.objects,
    async size(key) {
      if (key.startsWith('index/') && !hasReplaced) {
        hasReplaced = true;
        await forget(shared.inner, expected, others);
        assert((await gc(shared.start().objects)).droppedPacks > 0);
        await assert.rejects(shared.inner.size(key), { code: 'OBJECT_NOT_FOUND' });
      }
      return process.objects.size(key);
    },
  };
  await gc(late);
  assert(hasReplaced);
  await verifyAll(env, shared.inner, expected);
  await noneLeftOver(shared.inner);
});

/** Stands still just before its entry is put, and is then taken for dead. */
async function stoppedAtEntry<T>(process: ReturnType<SharedStore['start']>, run: () => Promise<T>) {
  process.stopAtPut('log/');
  const result = run();
  result.catch(() => undefined); // Looked at when it has gone on.
  while (!process.isStopped) await turn();
  process.loseLocks();
  return { result };
}

test('an index that is made while gc drops packs brings none of them back', async () => {
  const { objects, expected } = await filled(6);
  const shared = sharedStore('shared');
  await fill(shared.inner, await dump(objects));
  await forget(shared.inner, expected, [...expected.keys()].slice(0, 5));
  const process = shared.start();
  const repository = await open(env, process.objects);
  const { result } = await stoppedAtEntry(process, () => rebuildIndex(env, repository));
  assert((await gc(shared.start().objects)).droppedPacks > 0);
  process.resume();
  await assert.rejects(result, { code: 'STORE_FENCED' });
  await verifyAll(env, shared.inner, expected);
  await gc(shared.start().objects);
  await noneLeftOver(shared.inner);
});

test('what a repair has rescued is not named after gc took it for left over', async () => {
  const { objects } = await filled(3);
  const damaged = await dump(objects);
  const key = [...damaged.keys()].find((name) => name.startsWith('packs/'))!;
  damaged.get(key)![100]! ^= 1;
  await using pool = codecPool(env, 0);
  const alone = await repairAll(env, await fill(sharedStore('alone').inner, damaged), {
    pool,
    dryRun: false,
  });
  const shared = sharedStore('shared');
  await fill(shared.inner, damaged);
  const process = shared.start();
  const { result } = await stoppedAtEntry(process, () =>
    repairAll(env, process.objects, { pool, dryRun: false }),
  );
  // It refuses to go further where something is damaged, but has cleared up before.
  await gc(shared.start().objects).catch((error) =>
    assert(hasCode(error, 'STORE_MISSING') || hasCode(error, 'STORE_DAMAGED')),
  );
  process.resume();
  await assert.rejects(result, { code: 'STORE_FENCED' });
  const again = await repairAll(env, shared.start().objects, { pool, dryRun: false });
  assert.deepEqual(again.check?.problems, alone.check?.problems);
});

for (const rebuilds of [true, false]) {
  const who = rebuilds ? 'an index made anew' : 'a second repair';
  test(`${who} beside a repair names nothing that was set aside meanwhile`, async () => {
    const { objects } = await filled(3);
    const damaged = await dump(objects);
    const key = [...damaged.keys()].find((name) => name.startsWith('packs/'))!;
    damaged.get(key)![100]! ^= 1;
    const shared = sharedStore('shared');
    await fill(shared.inner, damaged);
    await using pool = codecPool(env, 0);
    const slow = shared.start();
    const { result } = await stoppedAtEntry(slow, async () => {
      if (rebuilds) await rebuildIndex(env, await open(env, slow.objects));
      else await repairAll(env, slow.objects, { pool, dryRun: false });
    });
    const fast = await repairAll(env, shared.start().objects, { pool, dryRun: false });
    assert(fast.notes.some(({ action, object }) => action === 'set-aside' && object === key));
    slow.resume();
    await assert.rejects(result, { code: 'STORE_FENCED' });
    const again = await repairAll(env, shared.start().objects, { pool, dryRun: false });
    assert.deepEqual(again.check?.problems, fast.check?.problems);
  });
}
