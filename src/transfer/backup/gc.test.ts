/** Goal: garbage collection frees what nobody needs, and never anything that somebody does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Env, FerryError, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import type { GcOptions, GcReport } from '../../store/index.ts';
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
