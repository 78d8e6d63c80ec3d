/** Goal: damage is named and never copied; whatever call fails, the next run goes on by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FerryError, hasCode } from '../core/index.ts';
import { faultStore, memoryStore, type ObjectStore, type StoreFault } from '../objects/index.ts';
import { filled } from './backup/gc.fixture.ts';
import {
  backUp,
  dump,
  type Expected,
  fill,
  init,
  kinds,
  noise,
  open,
} from './backup/model-repository.fixture.ts';
import { copy } from './copy/index.ts';
import { copyAll, env, verifyCopies } from './copy.fixture.ts';

for (const kind of kinds) {
  test(`${kind}: every pack of the source damaged in its middle, or gone`, async () => {
    const source = await filled(4, kind);
    const content = await dump(source.objects);
    let refusedCount = 0;
    let copiedCount = 0;
    for (const key of [...content.keys()].filter((each) => each.startsWith('packs/'))) {
      for (const gone of [false, true]) {
        const hurt = new Map(content);
        const bytes = content.get(key)!.slice();
        bytes[bytes.byteLength >> 1]! ^= 1;
        if (gone) hurt.delete(key);
        else hurt.set(key, bytes);
        const from = await fill(memoryStore('hurt'), hurt);
        const target = memoryStore('target');
        await init(env, target, 'plain');
        const { copied, refused } = await copyAll(from, target);
        assert.equal(copied.length + refused.length, 4);
        for (const { reason, error } of refused) {
          assert.equal(reason, 'damaged');
          assert(
            error instanceof FerryError && error.message.includes(key.slice(9, 25)),
            `${error}`,
          );
        }
        refusedCount += refused.length;
        copiedCount += copied.length;
        const there = await verifyCopies(target, source.expected);
        assert.equal(there.length, copied.length);
        // From a whole source the rest comes, if it is asked for by name.
        const names = refused.map(({ snapshot }) => `disk@${snapshot.id}`);
        await copyAll(source.objects, target, { names: ['disk', ...names] });
        const all = await verifyCopies(target, source.expected);
        assert.deepEqual(all.sort(), [...source.expected.keys()].sort());
      }
    }
    assert(refusedCount > 8 && copiedCount > 8, `${refusedCount} refused, ${copiedCount} copied`);
  });
}

test('a snapshot whose digest does not fit is not committed', async () => {
  const { objects } = await filled(1);
  const source = await open(env, objects);
  const [snapshot] = source.snapshots();
  source.log.state.snapshots.set(snapshot!.id, { ...snapshot!, digest: 'ab'.repeat(32) });
  const target = memoryStore('target');
  await init(env, target, 'plain');
  const destination = await open(env, target);
  const { copied, refused } = await copy(env, source, destination, source.snapshots(), {});
  assert.deepEqual(copied, []);
  assert(hasCode(refused[0]!.error, 'STORE_DIGEST'));
  assert.deepEqual((await open(env, target)).snapshots(), []);
});

test('a destination that is damaged gets its copies all the same, or says what is wrong', async () => {
  const source = await filled(2);
  const target = memoryStore('target');
  await init(env, target, 'plain');
  const [older] = (await open(env, source.objects)).snapshots();
  await copyAll(source.objects, target, { names: [`disk@${older!.id}`] });
  for await (const { key } of target.list('packs/')) await target.remove(key);
  await copyAll(source.objects, target);
  // What the newer one needs was stored again; what only the older one had is lost, and named.
  const repository = await open(env, target);
  const newest = repository.latest('disk')!;
  const other = memoryStore('other');
  await init(env, other, 'plain');
  const { copied } = await copyAll(target, other, { names: [`disk@${newest.id}`] });
  assert.equal(copied.length, 1);
  await verifyCopies(other, source.expected);
});

/** Fails one call, counted from when it is armed. */
function armed(inner: ObjectStore) {
  let left = 0;
  let fault: StoreFault | undefined;
  const objects = faultStore(inner, () => {
    if (fault === undefined || --left !== 0) return undefined;
    return fault;
  });
  const arm = (number: number, next: StoreFault | undefined) => {
    left = number;
    fault = next;
  };
  return { objects, arm, met: () => left <= 0 };
}

for (const side of ['source', 'destination'] as const) {
  test(`any Nth call of the ${side} fails: the next run copies what is left`, async () => {
    const { objects, expected } = await filled(2);
    let number = 1;
    for (let met = true; met; number += 2) {
      const target = memoryStore('target');
      await init(env, target, 'plain');
      const failing = armed(side === 'source' ? objects : target);
      const applied = number % 4 === 1;
      failing.arm(number, { code: 'OBJECT_IO', applied });
      const [from, to] = side === 'source' ? [failing.objects, target] : [objects, failing.objects];
      await copyAll(from, to).then(
        ({ refused }) => assert.deepEqual(refused, []),
        (error: unknown) => assert(hasCode(error, 'OBJECT_IO'), String(error)),
      );
      met = failing.met();
      await verifyCopies(target, expected);
      await copyAll(objects, target);
      assert.deepEqual(await verifyCopies(target, expected), [...expected.keys()]);
    }
    assert(number > 20, `only ${number} calls were failed`);
  });
}

test('an interrupted copy keeps its packs, and the next run takes them up', async () => {
  const objects = memoryStore('long');
  await init(env, objects, 'plain');
  const bytes = noise(4_000_000, 1);
  const { snapshot } = await backUp(env, await open(env, objects), bytes);
  const expected: Expected = new Map([[snapshot.id, bytes]]);
  const target = memoryStore('target');
  await init(env, target, 'encrypted');
  const stop = new AbortController();
  const onProgress =
    () =>
    ({ doneBytes }: { doneBytes: number }) => {
      if (doneBytes > 2_000_000) stop.abort();
    };
  await assert.rejects(copyAll(objects, target, { signal: stop.signal, onProgress }), (error) =>
    hasCode(error, 'TRANSFER_INTERRUPTED'),
  );
  assert.equal((await open(env, target)).snapshots().length, 0);
  const { copied } = await copyAll(objects, target);
  const { adoptedPacks, foundBytes, readBytes } = copied[0]!;
  assert(adoptedPacks > 0 && foundBytes >= 1_900_000, `${adoptedPacks} ${foundBytes}`);
  assert(readBytes <= 2_200_000, `${readBytes}`);
  assert.deepEqual(await verifyCopies(target, expected), [snapshot.id]);
});

test('a store far away that fails while much is being read: the copy ends', async () => {
  const inner = memoryStore('far');
  await init(env, inner, 'plain');
  const bytes = noise(40_000_000, 1);
  const { snapshot } = await backUp(env, await open(env, inner), bytes);
  const target = memoryStore('target');
  await init(env, target, 'plain');
  let readsLeft = Number.POSITIVE_INFINITY;
  // All from some read on: one alone is tried again.
  const failing = faultStore(inner, () => (--readsLeft < 0 ? { code: 'OBJECT_IO' } : undefined));
  const far: ObjectStore = Object.assign(failing, { readsInFlight: 64 });
  const threads = { ...env, workers: { ...env.workers, parallelism: 1 } };
  const source = await open(env, far);
  const destination = await open(env, target);
  readsLeft = 30;
  await assert.rejects(copy(threads, source, destination, source.snapshots(), {}), (error) =>
    hasCode(error, 'OBJECT_IO'),
  );
  readsLeft = Number.POSITIVE_INFINITY;
  const { copied } = await copy(threads, source, destination, source.snapshots(), {});
  assert.equal(copied[0]!.copy.digest, snapshot.digest);
});
