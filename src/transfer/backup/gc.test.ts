/** Goal: garbage collection frees what nobody needs, and never anything that somebody does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FerryError, fromHex } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import { env, filled, forget, gc, noneLeftOver, sizeOf } from './gc.fixture.ts';
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

for (const kind of kinds) {
  test(`${kind}: a patch that is all that is left of its chain is stored whole`, async () => {
    const objects = memoryStore('chain');
    await init(env, objects, kind);
    const expected: Expected = new Map();
    let bytes = noise(400_000, 5);
    for (let day = 0; day < 4; day++) {
      bytes = bytes.slice();
      for (let at = 10_000 * day; at < bytes.byteLength; at += 65_536) bytes.fill(day, at, at + 99);
      const { snapshot } = await backUp(env, await open(env, objects), bytes);
      expected.set(snapshot.id, bytes);
    }
    const depths = async () => {
      const index = await (await open(env, objects)).index();
      const tables = await Promise.all(index.packIds().map((pack) => index.tableOf(pack)));
      return tables.flatMap(({ depths: each, count }) => [...each.subarray(0, count)]);
    };
    const ids = [...expected.keys()];
    const before = await sizeOf(objects, 'packs/');
    // With two left, both stand on what is forgotten: it stays, and so do they.
    await forget(objects, expected, ids.slice(0, 2));
    await gc(objects);
    await verifyAll(env, objects, expected);
    assert(Math.max(...(await depths())) > 0);
    await forget(objects, expected, [ids[2]!]);
    const report = await gc(objects);
    assert(report.sparsePacks > 0 && report.droppedPacks > 0, JSON.stringify(report));
    assert.equal(Math.max(...(await depths())), 0);
    assert((await sizeOf(objects, 'packs/')) < before);
    await verifyAll(env, objects, expected);
    await noneLeftOver(objects);
  });
}

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
