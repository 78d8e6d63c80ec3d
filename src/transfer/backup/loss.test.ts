/** Goal: what is lost stays lost alone; the next backup brings back what the source still has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeEnv } from '../../core/index.ts';
import { memory } from '../../device/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import { backup } from './backup.ts';
import { backUp, checked, noise, open, restored } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;
const PACK = { packTargetBytes: 70_000 };

async function emptyStore(): Promise<ObjectStore> {
  const objects = memoryStore('loss');
  await Repository.init(env, objects);
  return objects;
}

async function packsOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list('packs/')) keys.push(key);
  return keys;
}

/** Loses each pack in turn and backs the same bytes up again. */
async function loseEach(history: number, tell: (healed: boolean) => void): Promise<void> {
  const bytes = noise(12 * CHUNK + 77, 5);
  const count = await (async () => {
    const objects = await emptyStore();
    await backUp(env, await open(env, objects), bytes, PACK);
    return (await packsOf(objects)).length;
  })();
  for (let lost = 0; lost < count; lost++) {
    const objects = await emptyStore();
    await backUp(env, await open(env, objects), bytes, PACK);
    const packs = await packsOf(objects);
    for (let round = 0; round < history; round++) {
      const other = noise(CHUNK, 100 + round);
      await backUp(env, await open(env, objects), other, { volume: `v${round}` });
    }
    await objects.remove(packs[lost]!);
    const next = await backUp(env, await open(env, objects), bytes, PACK);
    const found = await restored(env, await open(env, objects), next.snapshot);
    assert.deepEqual(found, bytes, `pack ${lost} of ${count}`);
    tell(next.snapshot.storedBytes > 0);
  }
}

test('a backup of unchanged data stores again what a lost pack held', async () => {
  await loseEach(0, (healed) => assert(healed, 'something was stored'));
});

test('a lost pack that only a segment names is noticed too', async () => {
  await loseEach(34, (healed) => assert(healed, 'something was stored'));
});

test('what another volume stores again heals the one that lost it', async () => {
  const objects = await emptyStore();
  const bytes = noise(4 * CHUNK, 6);
  await backUp(env, await open(env, objects), bytes, PACK);
  const packs = await packsOf(objects);
  for (const key of packs) await objects.remove(key);
  const next = await backUp(env, await open(env, objects), bytes, { ...PACK, volume: 'copy' });
  assert.deepEqual(await restored(env, await open(env, objects), next.snapshot), bytes);
  const first = (await open(env, objects)).resolve('disk');
  assert.deepEqual(await restored(env, await open(env, objects), first), bytes);
});

test('equal leaves in volumes of unequal size have digests of their own', async () => {
  const objects = await emptyStore();
  const data = noise(300_000, 3);
  for (const megabytes of [20, 21, 22]) {
    await using device = memory('grown', megabytes * 2 ** 20);
    await device.write(data, 0, 0);
    const repository = await open(env, objects);
    const request = { origin: 'test', changeSource: 'full' };
    await backup(env, repository, device, { ...request, volume: 'grown' });
    await backup(env, await open(env, objects), device, { ...request, volume: `at-${megabytes}` });
  }
  assert.deepEqual((await checked(env, await open(env, objects))).problems, []);
});
