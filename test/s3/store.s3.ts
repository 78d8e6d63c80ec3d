/** Goal: the object store's contract and a repository's life hold on a real Ceph. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { nodeEnv } from '../../src/core/index.ts';
import { type S3ObjectStore, s3Store } from '../../src/objects/index.ts';
import { objectStoreSuite } from '../../src/objects/object-store.suite.ts';
import { noise } from '../../src/transfer/backup/model-repository.fixture.ts';
import { ferryPath } from '../cli/ferry.ts';
import { type Finished, run, start } from '../interop/processes.ts';
import { killStorage, startStorage } from './ceph.ts';

const env = nodeEnv();
const MIB = 1024 * 1024;
const bucket = `ferry-${randomUUID().slice(0, 8)}`;
const folder = process.env.FERRY_TEST_CEPH!;
const endpoint = process.env.AWS_ENDPOINT_URL!;

/** Ceph answers late while a storage daemon is missing and nobody has noticed. */
const WAIT_MS = 300_000;

before(async () => {
  const client = new S3Client({ forcePathStyle: true });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
});

function newStore(): S3ObjectStore {
  const location = `s3://${bucket}/${randomUUID()}`;
  return s3Store({ location, access: { endpoint }, clock: env.clock, random: env.random });
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

/** A repository of its own on Ceph, used through bin/ferry. */
class Place implements AsyncDisposable {
  readonly path: string;
  readonly #variables: Record<string, string | undefined>;

  private constructor(path: string) {
    this.path = path;
    this.#variables = {
      ...process.env,
      FERRY_REPO: `s3://${bucket}/${randomUUID()}`,
      FERRY_STATE_DIR: join(path, 'state'),
      FERRY_CACHE_DIR: join(path, 'cache'),
    };
  }

  static async make(): Promise<Place> {
    const place = new Place(await mkdtemp(join(tmpdir(), 'ferry-s3-')));
    await place.ok('init');
    return place;
  }

  get options() {
    return { cwd: this.path, env: this.#variables, timeoutMs: WAIT_MS };
  }

  run(...words: string[]): Promise<Finished> {
    return run(ferryPath, words, this.options);
  }

  async ok(...words: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(...words);
    assert.equal(exitCode, 0, `ferry ${words.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** Writes what the disk holds from now on. */
  async disk(name: string, bytes: Uint8Array): Promise<void> {
    await writeFile(join(this.path, name), bytes);
  }

  async assertRestores(snapshot: string, bytes: Uint8Array): Promise<void> {
    const target = join(this.path, 'restored');
    await this.ok('restore', snapshot, target, '--verify');
    assert.ok((await readFile(target)).equals(bytes), `${snapshot} differs`);
    await rm(target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

test('backups, restores and a check, with a storage daemon killed in between', async () => {
  await using place = await Place.make();
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
  await using place = await Place.make();
  const disk = noise(16 * MIB, 4);
  await place.disk('disk.img', disk);
  await place.ok('backup', 'disk.img');
  const larger = noise(120 * MIB, 5);
  await place.disk('disk.img', larger);
  const counting = s3Store({
    location: place.options.env.FERRY_REPO!,
    access: { endpoint },
    clock: env.clock,
    random: env.random,
  });
  await using objects = counting;
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
  await using place = await Place.make();
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
