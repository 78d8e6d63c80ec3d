/** Goal: the object store's contract and a repository's life hold on a real Ceph. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import type { S3ObjectStore } from '../../src/objects/index.ts';
import { objectStoreSuite } from '../../src/objects/object-store.suite.ts';
import { noise } from '../../src/transfer/backup/model-repository.fixture.ts';
import { ferryPath } from '../cli/ferry.ts';
import { start } from '../interop/processes.ts';
import { killStorage, startStorage } from './ceph.ts';
import { makeBucket, Place, storeAt, WAIT_MS } from './place.ts';

const MIB = 1024 * 1024;
const folder = process.env.FERRY_TEST_CEPH!;

let bucket: string;
before(async () => {
  bucket = await makeBucket();
});

function newStore(): S3ObjectStore {
  return storeAt(`s3://${bucket}/${randomUUID()}`);
}

objectStoreSuite({
  name: 'S3 store on Ceph',
  withStore: async (use) => {
    await using store = newStore();
    await use(store);
  },
  historyCount: 5,
});

test('Ceph is found to honour If-None-Match', async () => {
  await using store = newStore();
  assert.deepEqual(await store.probe(), { putIfAbsent: true });
  assert.deepEqual(await Array.fromAsync(store.list('')), []);
});

test('a large object goes up in parts, and a taken name is refused', async () => {
  await using store = newStore();
  const bytes = noise(20 * MIB, 1);
  for (const expected of ['done', 'OBJECT_EXISTS']) {
    await using writer = await store.create('packs/a');
    await writer.append(bytes);
    const found = await writer.commit().then(
      () => 'done',
      (error: { readonly code?: string }) => error.code,
    );
    assert.equal(found, expected);
  }
  const target = new Uint8Array(100_000);
  await store.getRange('packs/a', target, 8 * MIB - 50_000);
  assert.deepEqual(target, bytes.slice(8 * MIB - 50_000, 8 * MIB + 50_000));
});

test('backups, restores and a check, with a storage daemon killed in between', async () => {
  await using place = await Place.make(bucket);
  const disk = noise(40 * MIB, 3);
  await place.disk('disk.img', disk);
  await place.ok('backup', 'disk.img');
  killStorage(folder, 1);
  const changed = new Uint8Array(disk);
  for (let at = 0; at < 50; at++) changed.set(noise(4096, at), at * 800_000);
  await place.disk('disk.img', changed);
  await place.ok('backup', 'disk.img');
  await place.assertRestores('disk@latest~1', disk);
  await place.assertRestores('disk@latest', changed);
  startStorage(folder, 1);
  await place.ok('backup', 'disk.img');
  await place.assertRestores('disk@latest', changed);
  assert.match(await place.ok('check', '--read-data'), /no damage in 3 snapshots/);
});

test('a backup that is killed is gone on with, and what was there stays', async () => {
  await using place = await Place.make(bucket);
  const disk = noise(16 * MIB, 4);
  await place.disk('disk.img', disk);
  await place.ok('backup', 'disk.img');
  const larger = noise(120 * MIB, 5);
  await place.disk('disk.img', larger);
  await using objects = storeAt(place.location);
  const packs = async () => (await Array.fromAsync(objects.list('packs/'))).length;
  const before = await packs();
  {
    await using child = start(ferryPath, ['backup', 'disk.img'], place.options);
    // The first pack of the new backup is there: it is in mid-upload of the next.
    const deadline = Date.now() + WAIT_MS;
    while ((await packs()) === before) assert.ok(Date.now() < deadline, 'no pack came');
    child.kill('SIGKILL');
    await child.finished();
  }
  await place.assertRestores('disk@latest', disk);
  await place.ok('backup', 'disk.img');
  await place.assertRestores('disk@latest', larger);
  await place.assertRestores('disk@latest~1', disk);
  await place.ok('check', '--read-data');
});

test('two writers at once, with chunks in common: every snapshot is there and whole', async () => {
  await using place = await Place.make(bucket);
  const common = noise(8 * MIB, 6);
  const rounds = 4;
  const contents = ['a', 'b'].map((_, writer) =>
    Array.from({ length: rounds }, (_, round) => {
      const disk = new Uint8Array(common);
      disk.set(noise(MIB, 10 * writer + round), (2 * round + writer) * MIB);
      return disk;
    }),
  );
  await Promise.all(
    ['a', 'b'].map(async (name, writer) => {
      for (const disk of contents[writer]!) {
        await place.disk(`${name}.img`, disk);
        await place.ok('backup', `${name}.img`);
      }
    }),
  );
  for (const [writer, name] of ['a', 'b'].entries()) {
    for (let round = 0; round < rounds; round++) {
      const snapshot = `${name}@latest~${rounds - 1 - round}`;
      await place.assertRestores(snapshot, contents[writer]![round]!);
    }
  }
  assert.match(await place.ok('check', '--read-data'), /no damage in 8 snapshots/);
});
