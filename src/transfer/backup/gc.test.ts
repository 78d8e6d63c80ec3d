/** Goal: garbage collection frees what nobody needs, and never anything that somebody does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codecPool } from '../../codec/index.ts';
import { type Env, equalBytes, FerryError, fromHex, hasCode, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import type { GcOptions, GcReport } from '../../store/index.ts';
import { sharedStore } from './gc-processes.fixture.ts';
import {
  backUp,
  dump,
  type Expected,
  fill,
  init,
  type Kind,
  kinds,
  noise,
  open,
  verifyAll,
} from './model-repository.fixture.ts';

const env: Env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const PACK_BYTES = 60_000;
const now: GcOptions = { waitMs: 0, packTargetBytes: PACK_BYTES };

/** Versions that share most, differ a little here and there, and drop something each time. */
function versionsOf(count: number, lengthBytes = 900_000): Uint8Array[] {
  let bytes = noise(lengthBytes, 1);
  return Array.from({ length: count }, (_, version) => {
    bytes = bytes.slice();
    for (let at = 1000 * version; at < bytes.byteLength; at += 200_000) bytes[at] = version;
    bytes.set(noise(130_000, version + 10), (version * 170_000) % 700_000);
    return bytes;
  });
}

type Filled = { objects: ObjectStore; expected: Expected };

async function filled(count: number, kind: Kind = 'plain'): Promise<Filled> {
  const objects = memoryStore('gc');
  await init(env, objects, kind);
  const expected: Expected = new Map();
  for (const bytes of versionsOf(count)) {
    const repository = await open(env, objects);
    const { snapshot } = await backUp(env, repository, bytes, { packTargetBytes: PACK_BYTES });
    expected.set(snapshot.id, bytes);
  }
  return { objects, expected };
}

async function forget(objects: ObjectStore, expected: Expected, ids: readonly string[]) {
  const repository = await open(env, objects);
  await repository.forget(repository.snapshots().filter(({ id }) => ids.includes(id)));
  for (const id of ids) expected.delete(id);
}

async function gc(objects: ObjectStore, options: GcOptions = {}): Promise<GcReport> {
  return (await open(env, objects)).collectGarbage({ ...now, ...options });
}

async function sizeOf(objects: ObjectStore, prefix: string): Promise<number> {
  let bytes = 0;
  for await (const { sizeBytes } of objects.list(prefix)) bytes += sizeBytes;
  return bytes;
}

/** Nothing is there that the log does not name. */
async function noneLeftOver(objects: ObjectStore): Promise<void> {
  assert.deepEqual(await Array.fromAsync(objects.list('sessions/')), []);
  const repository = await open(env, objects);
  const { state } = repository.log;
  assert.equal(state.condemned.size, 0);
  const index = await repository.index();
  for await (const { key } of objects.list('packs/')) {
    assert(index.hasPack(key.slice(-64)), `${key} belongs to nobody`);
  }
  for await (const { key } of objects.list('index/')) {
    assert(state.segments.has(key.slice(-64)), `${key} belongs to nobody`);
  }
}

for (const kind of kinds) {
  test(`${kind}: what only forgotten snapshots held is given back, and the rest restores`, () =>
    givesBack(kind));

  test(`${kind}: any snapshots can go, in any order`, () => anyOrder(kind));
}

async function givesBack(kind: Kind): Promise<void> {
  const { objects, expected } = await filled(6, kind);
  const before = await sizeOf(objects, 'packs/');
  await forget(objects, expected, [...expected.keys()].slice(0, 5));
  const planned = await gc(objects, { dryRun: true });
  assert.equal(await sizeOf(objects, 'packs/'), before);
  const report = await gc(objects);
  const after = await sizeOf(objects, 'packs/');
  assert(after < before * 0.8, `${after} of ${before}`);
  assert.equal(report.droppedPacks, report.deadPacks + report.sparsePacks);
  assert.equal(report.deadPacks, planned.deadPacks);
  assert(report.sparsePacks > 0 && report.newPacks > 0 && report.copiedBytes > 0);
  assert(planned.wouldFreeBytes > (before - after) * 0.7, `${planned.wouldFreeBytes} planned`);
  await verifyAll(env, objects, expected);
  await noneLeftOver(objects);
  const again = await gc(objects);
  assert.equal(again.droppedPacks + again.orphans, 0);
  assert.equal(await sizeOf(objects, 'packs/'), after);
}

async function anyOrder(kind: Kind): Promise<void> {
  const { objects, expected } = await filled(7, kind);
  const ids = [...expected.keys()];
  for (const at of [3, 0, 6, 1, 5, 2]) {
    await forget(objects, expected, [ids[at]!]);
    await gc(objects);
    await verifyAll(env, objects, expected);
    await noneLeftOver(objects);
  }
  await forget(objects, expected, [ids[4]!]);
  await gc(objects);
  assert.equal(await sizeOf(objects, 'packs/'), 0);
  const { snapshot } = await backUp(env, await open(env, objects), noise(300_000, 3));
  expected.set(snapshot.id, noise(300_000, 3));
  await verifyAll(env, objects, expected);
}

/** From the Nth call on every call fails, as after a death. `applied`: that one still worked. */
function dyingStore(inner: ObjectStore, number: number, applied: boolean) {
  const died = { met: false };
  const store = faultStore(inner, (call) => {
    if (call.number < number) return undefined;
    died.met = true;
    return { code: 'OBJECT_IO', applied: applied && call.number === number };
  });
  return { store, died };
}

for (const applied of [false, true]) {
  test(`a run that dies ${applied ? 'after' : 'before'} any call loses nothing, and the next one ends its work`, async () => {
    const { objects, expected } = await filled(5);
    await forget(objects, expected, [...expected.keys()].slice(0, 4));
    const content = await dump(objects);
    let calls = 0;
    for (let number = 1; ; number++) {
      const copy = await fill(memoryStore('copy'), content);
      const { store, died } = dyingStore(copy, number, applied);
      await gc(store).then(
        () => undefined,
        (error: unknown) => assert(error instanceof FerryError, String((error as Error).stack)),
      );
      if (!died.met) break;
      calls = number;
      if (number % 3 === 0) await verifyAll(env, copy, expected);
      await gc(copy);
      await verifyAll(env, copy, expected);
      await noneLeftOver(copy);
    }
    assert(calls > 40, `only ${calls} calls`);
  });
}

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

test('held snapshots are not forgotten, and tags are kept by the log', async () => {
  const { objects, expected } = await filled(2);
  const repository = await open(env, objects);
  const [first, second] = repository.snapshots();
  await repository.hold([first!], true);
  await assert.rejects(repository.forget([second!, first!]), { code: 'STORE_HELD' });
  await repository.tag([first!, second!], { added: ['b', 'a'] });
  await repository.tag([second!], { added: ['c'], removed: ['a'] });
  const again = await open(env, objects);
  const found = again.snapshots().map(({ held, tags }) => ({ held, tags }));
  assert.deepEqual(found, [
    { held: true, tags: ['a', 'b'] },
    { held: false, tags: ['b', 'c'] },
  ]);
  await assert.rejects(again.tag([first!], { added: ['two words'] }), { code: 'STORE_NAME' });
  await again.hold([first!], false);
  await again.forget([first!]);
  expected.delete(first!.id);
  await gc(objects);
  await verifyAll(env, objects, expected);
});

test('no room to rewrite packs leaves everything readable, and what nobody needs goes', async () => {
  const { objects, expected } = await filled(6);
  await forget(objects, expected, [...expected.keys()].slice(0, 5));
  const before = await sizeOf(objects, 'packs/');
  const full = faultStore(objects, ({ operation, key }) =>
    operation === 'create' && key.startsWith('packs/') ? { code: 'OBJECT_NO_SPACE' } : undefined,
  );
  const report = await gc(full);
  assert(report.noSpace && report.droppedPacks > 0);
  assert((await sizeOf(objects, 'packs/')) < before);
  await verifyAll(env, objects, expected);
  await gc(objects);
  await verifyAll(env, objects, expected);
  await noneLeftOver(objects);
});

test('a repository that lacks something that is needed is left alone', async () => {
  const { objects, expected } = await filled(4);
  await forget(objects, expected, [...expected.keys()].slice(0, 2));
  const repository = await open(env, objects);
  const index = await repository.index();
  const last = repository.latest('disk')!.root!;
  const { packId } = (await index.find(fromHex(last.record, 32)!, undefined, 'any'))!;
  await objects.remove(`packs/${packId.slice(0, 2)}/${packId}`);
  const names = async () => Array.fromAsync(objects.list(''), ({ key }) => key);
  const before = await names();
  await assert.rejects(gc(objects), { code: 'STORE_MISSING' });
  assert.deepEqual(await names(), before);
});
