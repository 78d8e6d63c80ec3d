/** Goal: repositories that were written once stay readable, and today's writer agrees with them. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { codecPool, patchLimits, patchLimitsAtFirst } from '../../src/codec/index.ts';
import { equalBytes, nodeEnv } from '../../src/core/index.ts';
import { memory } from '../../src/device/index.ts';
import { directoryStore, memoryStore, type ObjectStore } from '../../src/objects/index.ts';
import { check } from '../../src/store/index.ts';
import { restore } from '../../src/transfer/backup/index.ts';
import { type Golden, goldenEnv, goldens, openGolden, writeGolden } from './golden.ts';

const env = goldenEnv('test');

async function readsAs(objects: ObjectStore, golden: Golden): Promise<void> {
  const repository = await openGolden(env, objects);
  assert.equal(repository.superblock.chunkBytes, golden.chunkBytes);
  const snapshots = repository.snapshots();
  assert.deepEqual(
    snapshots.map(({ volume }) => volume),
    golden.versions.map(({ volume }) => volume),
  );
  for (const [at, snapshot] of snapshots.entries()) {
    const { bytes } = golden.versions[at]!;
    assert.equal(snapshot.sizeBytes, bytes.byteLength);
    await using target = memory('target', bytes.byteLength);
    await restore(env, repository, snapshot, target, { blank: true });
    await using device = await repository.device(snapshot);
    for (const each of [target, device]) {
      const found = new Uint8Array(bytes.byteLength);
      await each.read(found, 0);
      assert(equalBytes(found, bytes), `snapshot ${at} of ${golden.name} differs`);
    }
  }
  await using pool = codecPool(env, 0);
  const report = await check(repository, { readData: true, pool });
  assert.deepEqual(report.problems, []);
  assert.equal(report.orphanPacks, 0);
}

for (const golden of goldens) {
  test(`the golden repository ${golden.name} reads as it was written`, async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'ferry-golden-'));
    t.after(() => rm(folder, { recursive: true }));
    const source = fileURLToPath(new URL(golden.name, import.meta.url));
    await cp(source, folder, { recursive: true });
    const { files, random } = nodeEnv();
    await using objects = await directoryStore(files, folder, random);
    await readsAs(objects, golden);
    const index = await (await openGolden(env, objects)).index();
    const isLarge = golden.parts.includes('many parents');
    // A writer keeps to what programs know that may read the repository.
    assert.deepEqual(index.patchLimits, isLarge ? patchLimits : patchLimitsAtFirst);
  });

  test(`today's writer makes a ${golden.name} that holds the same, by name and digest`, async () => {
    const objects = memoryStore('today');
    const written = await writeGolden(objects, golden);
    await readsAs(objects, golden);
    const { files, random } = nodeEnv();
    const root = fileURLToPath(new URL(golden.name, import.meta.url));
    await using then = await directoryStore(files, root, random);
    const old = await openGolden(env, then);
    const facts = ({ volume, sizeBytes, digest }: (typeof written)[number]) => ({
      volume,
      sizeBytes,
      digest,
    });
    // Volume digests depend on nothing but the bytes: they never change.
    assert.deepEqual(written.map(facts), old.snapshots().map(facts));
  });
}
