/** Goal: what cannot be restored is known before anything is written, at the price of metadata. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FerryError, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type StoreCall } from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import { backUp, dump, fill, noise, open } from './model-repository.fixture.ts';
import { prepareRestore } from './prepare-restore.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

async function twoSnapshots() {
  const objects = memoryStore('prepare');
  await Repository.init(env, objects);
  const bytes = noise(40 * 65536, 1);
  const request = { packTargetBytes: 300_000 };
  await backUp(env, await open(env, objects), bytes, request);
  bytes.set(noise(3 * 65536, 2), 5 * 65536);
  await backUp(env, await open(env, objects), bytes, request);
  return dump(objects);
}

test('whichever pack is lost, whoever needs it is told so, and the others restore', async () => {
  const content = await twoSnapshots();
  const packs = [...content.keys()].filter((key) => key.startsWith('packs/'));
  assert(packs.length > 3);
  const refused = { newest: 0, oldest: 0 };
  for (const pack of packs) {
    const without = new Map(content);
    without.delete(pack);
    const repository = await open(env, await fill(memoryStore('lost'), without));
    const snapshots = repository.snapshots();
    for (const [at, which] of (['newest', 'oldest'] as const).entries()) {
      await prepareRestore(repository, snapshots.at(at - 1)!).catch((error: unknown) => {
        assert(error instanceof FerryError && /^(STORE|OBJECT)_/.test(error.code), String(error));
        refused[which]++;
      });
    }
  }
  assert(refused.newest + refused.oldest >= packs.length, JSON.stringify(refused));
  assert(refused.oldest < packs.length, 'what only the newest needs does not stop the oldest');
});

test('a repository that is whole passes, and no chunk is read for it', async () => {
  const calls: StoreCall[] = [];
  const inner = await fill(memoryStore('whole'), await twoSnapshots());
  const watched = faultStore(inner, (call) => {
    calls.push(call);
    return undefined;
  });
  const repository = await open(env, watched);
  await prepareRestore(repository, repository.latest('disk')!);
  const reads = calls.filter(({ key }) => key.startsWith('packs/'));
  const packs = new Set(reads.map(({ key }) => key));
  // Per pack its footer and its table, and a few manifest records.
  assert(reads.length <= 2 * packs.size + 6, `${reads.length} reads of ${packs.size} packs`);
});

test('an interrupted preparation stops', async () => {
  const repository = await open(env, await fill(memoryStore('stop'), await twoSnapshots()));
  const run = prepareRestore(repository, repository.latest('disk')!, {
    signal: AbortSignal.abort(),
  });
  await assert.rejects(run, { code: 'TRANSFER_INTERRUPTED' });
});
