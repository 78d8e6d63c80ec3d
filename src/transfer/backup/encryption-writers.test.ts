/** Goal: writers of an encrypted repository, however they end, never seal two things alike. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type CodecPool, codecPool, type EncodeJob } from '../../codec/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import { backUp, checked, dump, init, noise, open, restored } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

type Content = Map<string, Uint8Array>;

/** A pool that tells which frames of which packs were sealed. */
function watchedPool(sealed: string[]): CodecPool {
  const pool = codecPool(env, 0);
  return {
    ...pool,
    run(job) {
      if (job.kind === 'encode') {
        const { pack, number } = (job as EncodeJob).place!;
        sealed.push(`${Buffer.from(pack.packId).toString('hex')}:${number}`);
      }
      return pool.run(job as never);
    },
  };
}

test('two writers, cut-off ones and those that go on: no frame number of a pack is used twice', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ seed: fc.nat(3), share: fc.nat(10), commit: fc.boolean() }), {
        minLength: 2,
        maxLength: 6,
      }),
      async (runs) => {
        const objects = memoryStore('two');
        await init(env, objects, 'encrypted');
        const sealed: string[] = [];
        const stored: Content = new Map();
        // Pairs of writers at the same time, each through a repository of its own.
        for (let at = 0; at < runs.length; at += 2) {
          await Promise.all(runs.slice(at, at + 2).map((run) => write(objects, run, sealed)));
          for (const [key, bytes] of await packsOf(objects)) {
            assert(equalBytes(stored.get(key) ?? bytes, bytes), `${key} was written again`);
            stored.set(key, bytes);
          }
        }
        assert.equal(new Set(sealed).size, sealed.length);
        assert.deepEqual((await checked(env, await open(env, objects))).problems, []);
      },
    ),
    { numRuns: 30 },
  ));

async function write(
  objects: ObjectStore,
  { seed, share, commit }: { seed: number; share: number; commit: boolean },
  sealed: string[],
): Promise<void> {
  const repository = await open(env, objects);
  const bytes = noise(655_360, seed);
  await using pool = watchedPool(sealed);
  const parent = repository.latest('disk');
  const options = { volume: 'disk', sizeBytes: bytes.byteLength, parent, pool };
  await using session = await repository.beginBackup({ ...options, packTargetBytes: 50_000 });
  const end = commit ? bytes.byteLength : share * 65_536;
  const batch = await session.writer.batch();
  batch.bytes.set(bytes.subarray(0, end));
  if (end > 0) session.writer.putData(batch, 0, end);
  if (!commit) await session.keep();
  else await session.commit({ source: 'full', origin: '', readBytes: 0, unreadable: [] });
}

test('what a cut-off writer left is taken up as it is', async () => {
  const objects = memoryStore('two');
  await init(env, objects, 'encrypted');
  await write(objects, { seed: 5, share: 5, commit: false }, []);
  const left = await packsOf(objects);
  assert(left.size > 0, 'the cut-off writer left packs');
  const repository = await open(env, objects);
  const { adoptedPacks, snapshot } = await backUp(env, repository, noise(655_360, 5));
  assert(adoptedPacks > 0);
  for (const [key, stored] of left) {
    assert(equalBytes(await objects.get(key, 2 ** 28), stored), `${key} was written again`);
  }
  const found = await restored(env, await open(env, objects), snapshot);
  assert(equalBytes(found, noise(655_360, 5)));
});

async function packsOf(objects: ObjectStore): Promise<Content> {
  return new Map([...(await dump(objects))].filter(([key]) => key.startsWith('packs/')));
}
