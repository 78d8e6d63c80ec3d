/**
 * Goal: what parity can undo is undone, byte for byte, by reads and by repairs; what it cannot is
 * named, and nothing is made up.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CodecError, type CodecPool, codecPool } from '../../codec/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import { parityKey, type Repository, repairAll, setParity } from '../../store/index.ts';
import {
  backUp,
  checked,
  dump,
  fill,
  init,
  kinds,
  noise,
  open,
  readAsDevice,
  restored,
  rightOrTyped,
  secret,
} from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const STRIPE = 4096;
const PERCENT = 10;

type Content = Map<string, Uint8Array>;

/** One large pack (two columns of stripes), and a small one. */
async function build(kind: 'plain' | 'encrypted') {
  const objects = memoryStore('good');
  await init(env, objects, kind, { chunkBytes: STRIPE });
  const repository = await open(env, objects);
  await setParity(repository, PERCENT);
  const first = random(180 * STRIPE);
  const second = first.slice();
  second.set(noise(500, 5), 40 * STRIPE + 9);
  const versions = [first, second];
  for (const bytes of versions) await backUp(env, repository, bytes);
  return { content: await dump(objects), versions };
}

/** Does not compress. */
function random(lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = 1;
  for (let at = 0; at < lengthBytes; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

const built = { plain: await build('plain'), encrypted: await build('encrypted') };

function packsOf(content: Content): string[] {
  return [...content.keys()]
    .filter((key) => key.startsWith('packs/'))
    .sort((a, b) => content.get(b)!.byteLength - content.get(a)!.byteLength);
}

const idOf = (key: string) => key.slice(key.lastIndexOf('/') + 1);

/** A copy in which the stripes of the object are other bytes. */
async function damaged(content: Content, key: string, stripes: Iterable<number>) {
  const all = new Map(content);
  const bytes = all.get(key)!.slice();
  for (const stripe of stripes) {
    for (let at = stripe * STRIPE; at < Math.min(bytes.byteLength, (stripe + 1) * STRIPE); at++) {
      bytes[at] = bytes[at]! ^ 0x5a;
    }
  }
  all.set(key, bytes);
  return fill(memoryStore('hurt'), all);
}

async function repaired(objects: ObjectStore) {
  await using pool = codecPool(env, 0);
  return repairAll(env, objects, { pool, dryRun: false, open: { secret } });
}

async function readAll(
  repository: Repository,
  versions: readonly Uint8Array[],
  how: typeof restored,
) {
  for (const [at, snapshot] of repository.snapshots().entries()) {
    const bytes = await how(env, repository, snapshot);
    assert(equalBytes(bytes, versions[at]!), `snapshot ${at} reads wrongly`);
  }
}

for (const kind of kinds) {
  describe(kind, () => {
    const { content, versions } = built[kind];
    const [large = '', small = ''] = packsOf(content);

    test('every pack has parity, of the share that was asked for', () => {
      for (const key of packsOf(content)) assert(content.has(parityKey(idOf(key))), key);
      const share =
        content.get(parityKey(idOf(large)))!.byteLength / content.get(large)!.byteLength;
      assert(share > 0.1 && share < 0.12, String(share));
    });

    test('a restore and a mount read around damage, and tell of it', async () => {
      // Header, frames, table: a tenth of the stripes.
      const last = Math.floor((content.get(large)!.byteLength - 1) / STRIPE);
      for (const how of [
        restored,
        (_env: unknown, repository: Repository, snapshot) => readAsDevice(repository, snapshot),
      ] satisfies (typeof restored)[]) {
        const objects = await damaged(content, large, [0, 1, 2, 50, 51, 90, last]);
        const healed: string[] = [];
        const repository = await open(env, objects, { onHealed: (key) => healed.push(key) });
        await readAll(repository, versions, how);
        assert.deepEqual(healed, [large]);
      }
    });

    test('any damage within the bound is repaired to the same bytes; beyond it is named', async () => {
      const stripes = Math.ceil(content.get(large)!.byteLength / STRIPE);
      const columns = Math.ceil(stripes / 100);
      const parityRows = Math.ceil((Math.ceil(stripes / columns) * PERCENT) / 100);
      let [within, beyond] = [0, 0];
      const places = fc.uniqueArray(fc.integer({ min: 0, max: stripes - 1 }), {
        minLength: 1,
        maxLength: 2 * parityRows + 6,
      });
      await fc.assert(
        fc.asyncProperty(places, async (bad) => {
          const worst = Math.max(
            ...Array.from(
              { length: columns },
              (_, column) => bad.filter((stripe) => stripe % columns === column).length,
            ),
          );
          const objects = await damaged(content, large, bad);
          const { notes } = await repaired(objects);
          if (worst <= parityRows) {
            within++;
            assert(equalBytes(await objects.get(large, 2 ** 28), content.get(large)!));
            assert(notes.some(({ action, object }) => action === 'mended' && object === large));
            const report = await checked(env, await open(env, objects, { heals: false }));
            assert.deepEqual(report.problems, []);
          } else {
            beyond++;
            assert(!notes.some(({ action }) => action === 'mended'));
            const repository = await open(env, objects);
            for (const [at, snapshot] of repository.snapshots().entries()) {
              const read = () => restored(env, repository, snapshot);
              await rightOrTyped(read, versions[at]!, `snapshot ${at}`);
            }
          }
        }),
        { numRuns: 12, examples: [[[...Array(2 * parityRows).keys()]]] },
      );
      assert(within > 0);
      assert(beyond + within >= 12);
    });

    test('check sees the damage that reads pass over, and damage of parity itself', async () => {
      const objects = await damaged(content, large, [7]);
      const report = await checked(env, await open(env, objects, { heals: false }));
      assert.equal(report.problems[0]?.object, large);
      const parity = parityKey(idOf(small));
      const all = content.get(parity)!;
      for (const at of [0, 70, 200, Math.floor(all.byteLength / 2), all.byteLength - 1]) {
        const bytes = all.slice();
        bytes[at]! ^= 1;
        const hurt = await fill(memoryStore('hurt'), new Map([...content, [parity, bytes]]));
        const found = await checked(env, await open(env, hurt));
        assert.deepEqual(
          found.problems.map(({ object, code }) => [object, code]),
          [[parity, 'STORE_DAMAGED']],
          `byte ${at}`,
        );
        const { check } = await repaired(hurt);
        assert.deepEqual(check?.problems, []);
        assert(equalBytes(await hurt.get(parity, 2 ** 28), all), 'parity is made anew');
      }
    });

    test('damage in the pack and in its parity together is undone as far as both reach', async () => {
      const parity = parityKey(idOf(large));
      const hurt = await damaged(content, large, [3, 4]);
      const bytes = (await hurt.get(parity, 2 ** 28)).slice();
      bytes.fill(0, 0, 3000); // The first head, and some parity.
      const objects = await fill(
        memoryStore('hurt'),
        new Map([...(await dump(hurt)), [parity, bytes]]),
      );
      const { check } = await repaired(objects);
      assert.deepEqual(check?.problems, []);
      assert(equalBytes(await objects.get(large, 2 ** 28), content.get(large)!));
    });
  });
}

test('a truncated pack is made whole again, if no more is missing than parity makes up for', async () => {
  const { content } = built.plain;
  const [large = ''] = packsOf(content);
  const cut = new Map(content);
  cut.set(large, cut.get(large)!.slice(0, -9 * STRIPE));
  const objects = await fill(memoryStore('cut'), cut);
  const repository = await open(env, objects);
  await readAll(repository, built.plain.versions, restored);
  const { check } = await repaired(objects);
  assert.deepEqual(check?.problems, []);
  assert(equalBytes(await objects.get(large, 2 ** 28), content.get(large)!));
});

test('a repair that is cut off at any write has lost nothing: run again it ends the same', async () => {
  const { content } = built.plain;
  const [large = ''] = packsOf(content);
  for (let number = 1, done = false; !done; number++) {
    const objects = await damaged(content, large, [1, 5, 60]);
    let writes = 0;
    const failing = faultStore(objects, ({ operation }) => {
      const changes = ['put', 'create', 'append', 'commit', 'remove'].includes(operation);
      return changes && ++writes === number ? { code: 'OBJECT_UNAVAILABLE' } : undefined;
    });
    await repaired(failing).then(
      () => {
        done = true;
      },
      () => undefined,
    );
    await repaired(objects);
    assert(equalBytes(await objects.get(large, 2 ** 28), content.get(large)!), `write ${number}`);
    const report = await checked(env, await open(env, objects, { heals: false }));
    assert.deepEqual(report.problems, []);
  }
});

test('parity is off at first, made by gc once it is wanted, and goes with its pack', async () => {
  const objects = memoryStore('r');
  await init(env, objects, 'plain', { chunkBytes: STRIPE });
  const repository = await open(env, objects);
  const { snapshot } = await backUp(env, repository, random(10 * STRIPE));
  const parities = async () => [...(await dump(objects)).keys()].filter((k) => /^parity/.test(k));
  await repository.collectGarbage();
  assert.deepEqual(await parities(), []);
  await setParity(repository, 5);
  assert.equal((await checked(env, await open(env, objects))).unprotectedPacks, 1);
  assert.equal((await repository.collectGarbage()).protectedPacks, 1);
  assert.equal((await parities()).length, 1);
  assert.equal((await checked(env, await open(env, objects))).unprotectedPacks, 0);
  await repository.forget([snapshot]);
  await repository.collectGarbage();
  assert.deepEqual(await parities(), []);
  await objects.putIfAbsent(parityKey('ab'.repeat(32)), new Uint8Array(5));
  await repository.collectGarbage();
  assert.deepEqual(await parities(), [], 'what is left of a pack that is gone');
  await assert.rejects(setParity(repository, 51), { code: 'STORE_LIMIT' });
});

test('parity is never made of a damaged pack', async () => {
  const { content } = built.plain;
  const [large = ''] = packsOf(content);
  const objects = await damaged(content, large, [7]);
  await objects.remove(parityKey(idOf(large)));
  const report = await (await open(env, objects)).collectGarbage();
  assert.deepEqual([report.protectedPacks, report.unprotectedPacks], [0, 1]);
});

test('a backup whose pack does not read as it was written says so', async () => {
  const objects = memoryStore('flips');
  await init(env, objects, 'plain', { chunkBytes: STRIPE });
  const flipping: ObjectStore = {
    ...objects,
    async getRange(key, target, offsetBytes) {
      await objects.getRange(key, target, offsetBytes);
      if (key.startsWith('packs/') && target.byteLength > 0) target[0] = target[0]! ^ 1;
    },
  };
  const repository = await open(env, flipping);
  await setParity(repository, PERCENT);
  const { parityTrouble } = await backUp(env, repository, random(10 * STRIPE));
  assert.equal(parityTrouble?.code, 'STORE_DAMAGED');
});

test('a backup whose thread dies at the parity has made its snapshot all the same', async () => {
  const objects = memoryStore('dies');
  await init(env, objects, 'plain', { chunkBytes: STRIPE });
  const repository = await open(env, objects);
  await setParity(repository, PERCENT);
  await using own = codecPool(env, 0);
  const died = new CodecError('CODEC_WORKER', 'it died', { hint: '' });
  const pool: CodecPool = {
    ...own,
    run: (job) => (job.kind === 'parity' ? Promise.reject(died) : own.run(job as never)),
  };
  const bytes = random(10 * STRIPE);
  const { parityTrouble } = await backUp(env, repository, bytes, { pool });
  assert.equal(parityTrouble?.code, 'CODEC_WORKER');
  await readAll(await open(env, objects), [bytes], restored);
});

test('a host without the key makes parity, and drops it with the pack', async () => {
  const { content, versions } = built.encrypted;
  const [large = ''] = packsOf(content);
  const parity = parityKey(idOf(large));
  const without = new Map(content);
  without.delete(parity);
  const objects = await fill(memoryStore('host'), without);
  const host = await open(env, objects, { blind: true });
  assert.equal((await host.collectGarbage()).protectedPacks, 1);
  assert(equalBytes(await objects.get(parity, 2 ** 28), content.get(parity)!));
  await readAll(await open(env, objects), versions, restored);
});

test('an unreadable sector is damage like any other: what is around it is read', async () => {
  const { content, versions } = built.plain;
  const [large = ''] = packsOf(content);
  const objects = await fill(memoryStore('sector'), content);
  const isBad = (from: number, lengthBytes: number) =>
    from < 31 * STRIPE && from + lengthBytes > 30 * STRIPE;
  const bad: ObjectStore = {
    ...objects,
    async getRange(key, target, offsetBytes) {
      // The test's own repair removes the object, and the sector with it.
      const isOld =
        key === large &&
        (await objects.size(`quarantine/${key.replaceAll('/', '-')}.1`).catch(() => 0)) === 0;
      if (isOld && isBad(offsetBytes, target.byteLength))
        return failing.getRange(key, target, offsetBytes);
      return objects.getRange(key, target, offsetBytes);
    },
  };
  const failing = faultStore(objects, () => ({ code: 'OBJECT_IO' }));
  await readAll(await open(env, bad), versions, restored);
  const { check } = await repaired(bad);
  assert.deepEqual(check?.problems, []);
  assert(equalBytes(await objects.get(large, 2 ** 28), content.get(large)!));
});
