/** Goal: what volumes have in common at different places is stored once, and all restores. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { hasCode } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import { env, forget, gc, noneLeftOver, PACK_BYTES, sizeOf } from './gc.fixture.ts';
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

const SIZE_BYTES = 900_000;

/** The same content behind something else, with a byte changed here and there. */
function shifted(bytes: Uint8Array, byBytes: number, seed: number): Uint8Array {
  const other = new Uint8Array(bytes.byteLength);
  other.set(noise(byBytes, seed));
  other.set(bytes.subarray(0, bytes.byteLength - byBytes), byBytes);
  for (let at = 7000 * seed; at < other.byteLength; at += 50_000) other[at] = seed;
  return other;
}

async function store(objects: ObjectStore, expected: Expected, volume: string, bytes: Uint8Array) {
  const request = { volume, packTargetBytes: PACK_BYTES };
  const { snapshot } = await backUp(env, await open(env, objects), bytes, request);
  expected.set(snapshot.id, bytes);
  return snapshot.id;
}

/** Two volumes of much the same content. */
async function twins(kind: Kind) {
  const objects = memoryStore('similar');
  await init(env, objects, kind);
  const expected: Expected = new Map();
  const bytes = noise(SIZE_BYTES, 1);
  const first = await store(objects, expected, 'first', bytes);
  const second = await store(objects, expected, 'second', shifted(bytes, 21_000, 3));
  return { objects, expected, bytes, first, second };
}

for (const kind of kinds) {
  test(`${kind}: content that lies elsewhere in another volume is stored once`, async () => {
    const { objects, expected } = await twins(kind);
    const before = await sizeOf(objects, 'packs/');
    const planned = await gc(objects, { similar: true, dryRun: true });
    assert.equal(await sizeOf(objects, 'packs/'), before);
    const report = await gc(objects, { similar: true });
    const after = await sizeOf(objects, 'packs/');
    assert(after < before * 0.65, `${after} of ${before}`);
    assert(report.similarChunks > 8 && planned.similarChunks > 8);
    assert(planned.wouldFreeBytes > (before - after) * 0.7, `${planned.wouldFreeBytes} planned`);
    await verifyAll(env, objects, expected);
    await noneLeftOver(objects);
    const again = await gc(objects, { similar: true });
    assert.equal(again.similarChunks + again.sparsePacks, 0);
    assert.equal(await sizeOf(objects, 'packs/'), after);
  });

  test(`${kind}: backups and collections go on upon what was stored anew`, async () => {
    const { objects, expected, bytes, first } = await twins(kind);
    await gc(objects, { similar: true });
    let next = bytes;
    for (let day = 0; day < 2; day++) {
      next = next.slice();
      next.set(noise(3000, day + 50), 400_000 * day + 10_000);
      await store(objects, expected, day % 2 === 0 ? 'first' : 'second', next);
      await store(objects, expected, `third-${day}`, shifted(next, 33_000, day + 4));
      await gc(objects, { similar: true });
      await verifyAll(env, objects, expected);
    }
    await forget(objects, expected, [first]);
    for (const id of [...expected.keys()].slice(0, 4)) {
      await forget(objects, expected, [id]);
      await gc(objects, { similar: id > '8' });
      await verifyAll(env, objects, expected);
      await noneLeftOver(objects);
    }
  });
}

test('what patches stand on already stays whole, and what resembles it stands on it', async () => {
  const { objects, expected, bytes } = await twins('plain');
  const changed = shifted(bytes, 21_000, 3);
  for (let at = 100; at < SIZE_BYTES; at += 60_000) changed[at] = 77;
  await store(objects, expected, 'second', changed);
  for (let run = 0; run < 5; run++) {
    const report = await gc(objects, { similar: true });
    // Each time in another order: those of the second volume are never touched.
    assert(run > 0 || report.similarChunks > 8);
    await verifyAll(env, objects, expected);
  }
});

test('a backup stopped at any call finds again what was whole when it relied on it', async () => {
  const { objects, expected, bytes } = await twins('plain');
  const content = await dump(objects);
  let stopped = 0;
  for (let stopAt = 4; ; stopAt += 7) {
    const shared = sharedStore('shared');
    await fill(shared.inner, content);
    const known = new Map(expected);
    const process = shared.start();
    process.stopAt(stopAt);
    const next = bytes.slice();
    for (let at = 100; at < SIZE_BYTES; at += 60_000) next[at] = 99;
    // Patches against whole chunks that are about to become patches themselves.
    const writing = store(process.objects, known, 'second', next).catch((error: unknown) => error);
    let ended = false;
    void writing.then(() => {
      ended = true;
    });
    while (!ended && !process.isStopped) await turn();
    const { isStopped } = process;
    const { similarChunks } = await gc(shared.start().objects, { similar: true });
    assert(similarChunks > 0 || !isStopped, `${stopAt}`);
    await verifyAll(env, shared.inner, known);
    process.resume();
    const outcome = await writing;
    assert(typeof outcome === 'string' || hasCode(outcome, 'STORE_BUSY'), `${String(outcome)}`);
    await verifyAll(env, shared.inner, known);
    await gc(shared.start().objects);
    await verifyAll(env, shared.inner, known);
    if (!isStopped) break;
    if (typeof outcome === 'string') stopped++;
  }
  assert(stopped > 1, `${stopped} went on after all`);
});

test('without the key of an encrypted repository it is refused', async () => {
  const { objects } = await twins('encrypted');
  const host = await Repository.open(env, objects, { blind: true });
  await assert.rejects(host.collectGarbage({ similar: true }), (error) =>
    hasCode(error, 'STORE_NO_PASSWORD'),
  );
});
