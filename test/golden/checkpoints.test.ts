/** Goal: checkpoints of every form stay readable, by us and by a reader made from the document. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nodeEnv } from '../../src/core/index.ts';
import { directoryStore } from '../../src/objects/index.ts';
import { Repository } from '../../src/store/index.ts';
import { Reader } from '../format-reader.ts';
import { CHECKPOINT_PASSWORD, CHECKPOINTS, writeCheckpoints } from './checkpoints.ts';
import { goldenEnv, openGolden } from './golden.ts';

const env = goldenEnv('test');
const rootOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const storeAt = (root: string) => directoryStore(nodeEnv().files, root, nodeEnv().random);

for (const encrypted of [false, true]) {
  const suffix = encrypted ? '-encrypted' : '';

  test(`checkpoints${suffix} of each form, and those of today, say the same`, async () => {
    const today = await writeCheckpoints(encrypted);
    assert.equal(today.snapshots.length, 120);
    const stores = [today.objects];
    for (const form of ['json', 'table']) {
      stores.push(await storeAt(rootOf(`checkpoints-${form}${suffix}`)));
    }
    for (const objects of stores) {
      const repository = await openGolden(env, objects);
      assert.deepEqual(repository.snapshots(), today.snapshots, objects.name);
    }
  });

  test(`a reader made from the document finds the same in checkpoints${suffix}`, async () => {
    const { snapshots } = await writeCheckpoints(encrypted);
    for (const form of ['json', 'table']) {
      const password = encrypted ? CHECKPOINT_PASSWORD : '';
      const fromCheckpoint = CHECKPOINTS.at(-1)!;
      const root = rootOf(`checkpoints-${form}${suffix}`);
      const reader = new Reader(root, { fromCheckpoint, password });
      assert(reader.met.has('checkpoint since another'));
      assert.equal(reader.met.has('table of snapshots'), form === 'table');
      const found = reader.snapshots.map((one) => ({
        ...{ parent: undefined, unreadable: [], tags: [], held: false },
        ...Object.fromEntries(Object.entries(one).filter(([, value]) => value !== undefined)),
        root: one.root ?? undefined,
      }));
      assert.deepEqual(found, snapshots);
    }
  });
}

test('a host without the key sees of a checkpoint what it sees of the log', async () => {
  const objects = await storeAt(rootOf('checkpoints-table-encrypted'));
  const repository = await Repository.open(env, objects, { blind: true });
  const { snapshots } = await writeCheckpoints(true);
  const shown = (each: (typeof snapshots)[number]) => {
    const { id, sizeBytes, chunkBytes, root } = each;
    return { id, sizeBytes, chunkBytes, root };
  };
  assert.deepEqual(repository.snapshots().map(shown), snapshots.map(shown));
  assert(repository.snapshots().every(({ volume }) => volume === '(sealed)'));
});
