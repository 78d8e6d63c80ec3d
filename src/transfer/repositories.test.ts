/** Goal: a repository in S3 works as one in a directory, with few requests, one writer at most. */
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { codecPool } from '../codec/index.ts';
import { equalBytes, nodeEnv } from '../core/index.ts';
import { BUCKET, FakeS3, fakeCredentials } from '../objects/s3-server.suite.ts';
import { check, type Repository } from '../store/index.ts';
import { backUp, noise, restored } from './backup/model-repository.fixture.ts';
import { initRepository, openRepository, type PlaceOptions } from './repository/index.ts';

const env = nodeEnv();
const LOCATION = `s3://${BUCKET}/disks`;
const MIB = 1024 * 1024;

/** What one node says about itself; its memory lies in `folder`. */
function nodeAt(server: FakeS3, folder: string, takeOver = false): PlaceOptions {
  return {
    s3: {
      access: { endpoint: server.endpoint, credentials: fakeCredentials },
      pace: { pauseMs: 1 },
      writer: {
        directory: join(folder, 'writers'),
        makeDirectory: async () => void (await mkdir(join(folder, 'writers'), { recursive: true })),
        nodeName: folder.split('/').at(-1)!,
        takeOver,
      },
    },
  };
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-s3-'));
  try {
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function backUpOne(options: PlaceOptions, bytes: Uint8Array, volume = 'disk') {
  await using repository = await openRepository(env, LOCATION, options);
  return await backUp(env, repository, bytes, { volume });
}

async function assertWhole(repository: Repository): Promise<void> {
  await using pool = codecPool(env, 0);
  const { problems } = await check(repository, { readData: true, pool });
  assert.deepEqual(problems, []);
}

test('a backup to S3 is restored, and takes a handful of requests, not one per chunk', () =>
  inFolder(async (folder) => {
    await using server = await FakeS3.start();
    const options = nodeAt(server, folder);
    const made = await initRepository(env, LOCATION, options);
    assert.deepEqual(made.features.writer, []);
    const bytes = noise(8 * MIB, 1);
    const beganWith = server.requests;
    const first = await backUpOne(options, bytes);
    const chunks = first.stats.newChunks;
    assert.ok(chunks >= 100, `${chunks} chunks`);
    const forFirst = server.requests - beganWith;
    assert.ok(forFirst < 40, `${forFirst} requests for a first backup of ${chunks} chunks`);
    for (let at = 0; at < 100; at++) bytes.set(noise(4096, at), at * 80_000);
    const before = server.requests;
    await backUpOne(options, bytes);
    const forSecond = server.requests - before;
    assert.ok(forSecond < 250, `${forSecond} requests for a second backup`);
    assert.ok((server.counts.PUT ?? 0) < 30, `${server.counts.PUT} objects and parts`);
    await using repository = await openRepository(env, LOCATION, options);
    const snapshot = repository.resolve('disk@latest');
    assert.ok(equalBytes(await restored(env, repository, snapshot), bytes));
    await assertWhole(repository);
    assert.equal(server.uploads.size, 0);
  }));

test('what a server answers wrongly, late or not at all leaves every snapshot whole', () =>
  inFolder(async (folder) => {
    let state = 7;
    await using server = await FakeS3.start({
      listsStale: 3,
      plan: () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        const share = state / 2 ** 32;
        if (share < 0.3) return 'busy';
        if (share < 0.36) return 'lost-answer';
        if (share < 0.39) return 'cut-body';
        return share < 0.42 ? 'reset' : undefined;
      },
    });
    const options = nodeAt(server, folder);
    await initRepository(env, LOCATION, options);
    const contents = [1, 2, 3].map((seed) => noise(MIB, seed));
    for (const bytes of contents) await backUpOne(options, bytes);
    await using repository = await openRepository(env, LOCATION, options);
    const snapshots = repository.snapshots();
    assert.equal(snapshots.length, contents.length);
    for (const [at, snapshot] of snapshots.entries()) {
      assert.ok(equalBytes(await restored(env, repository, snapshot), contents[at]!));
    }
  }));

test('a server that is lost at any request of a backup loses nothing, and the next run works', () =>
  inFolder(async (folder) => {
    let lastNumber = Number.POSITIVE_INFINITY;
    await using server = await FakeS3.start({
      // The last request takes effect, and nothing is heard of it any more.
      plan: ({ number }) => {
        if (number < lastNumber) return undefined;
        return number === lastNumber ? 'lost-answer' : 'denied';
      },
    });
    const options = nodeAt(server, folder);
    await initRepository(env, LOCATION, options);
    const before = noise(MIB / 8, 0);
    await backUpOne(options, before);
    const objects = new Map(server.objects);
    let lostCommits = 0;
    for (let nth = 1; ; nth++) {
      server.objects.clear();
      for (const [key, object] of objects) server.objects.set(key, object);
      const bytes = noise(MIB / 8, nth);
      lastNumber = server.requests + nth;
      const code = await backUpOne(options, bytes).then(
        () => 'done',
        (error: { readonly code?: string }) => error.code,
      );
      const wasCut = server.requests >= lastNumber;
      lastNumber = Number.POSITIVE_INFINITY;
      if (!wasCut) break;
      await assertNewest(options, code === 'done' ? [bytes] : [before, bytes]);
      if (code !== 'done') assert.equal(code, 'OBJECT_ACCESS');
      const after = await backUpOne(options, bytes);
      if (code !== 'done' && after.stats.newChunks === 0) lostCommits++;
      await assertNewest(options, [bytes]);
    }
    assert.ok(lostCommits > 0, 'the commit itself was among the requests');
  }));

async function assertNewest(options: PlaceOptions, either: readonly Uint8Array[]): Promise<void> {
  await using repository = await openRepository(env, LOCATION, options);
  const found = await restored(env, repository, repository.resolve('disk@latest'));
  assert.ok(either.some((bytes) => equalBytes(found, bytes)));
}

test('where put-if-absent does not hold, one node writes, until a person hands it over', () =>
  inFolder(async (folder) => {
    await using server = await FakeS3.start({ ignoresConditions: true });
    const [here, there] = ['here', 'there'].map((name) => join(folder, name)) as [string, string];
    const made = await initRepository(env, LOCATION, nodeAt(server, here));
    assert.deepEqual(made.features.writer, ['single-writer']);
    const bytes = noise(MIB, 1);
    await backUpOne(nodeAt(server, here), bytes);
    await backUpOne(nodeAt(server, here), bytes);
    const refused = backUpOne(nodeAt(server, there), bytes);
    await assert.rejects(refused, (error: Error & { code?: string }) => {
      assert.equal(error.code, 'STORE_OWNED');
      assert.match(error.message, /is written by here \(claim 2\)/);
      return true;
    });
    {
      await using reader = await openRepository(env, LOCATION, nodeAt(server, there));
      assert.equal(reader.snapshots().length, 2, 'reading needs no claim');
    }
    await backUpOne(nodeAt(server, there, true), bytes);
    await backUpOne(nodeAt(server, there), bytes);
    await assert.rejects(backUpOne(nodeAt(server, here), bytes), { code: 'STORE_OWNED' });
    await using repository = await openRepository(env, LOCATION, nodeAt(server, there));
    assert.equal(repository.snapshots().length, 4);
    await assertWhole(repository);
  }));

test('a writer whose repository was taken over in mid-backup does not commit', () =>
  inFolder(async (folder) => {
    await using server = await FakeS3.start({ ignoresConditions: true });
    const [here, there] = ['here', 'there'].map((name) => join(folder, name)) as [string, string];
    await initRepository(env, LOCATION, nodeAt(server, here));
    await using slow = await openRepository(env, LOCATION, nodeAt(server, here));
    await backUp(env, slow, noise(MIB, 1), {});
    await backUpOne(nodeAt(server, there, true), noise(MIB, 2));
    await assert.rejects(backUp(env, slow, noise(MIB, 3), {}), { code: 'STORE_OWNED' });
    await using repository = await openRepository(env, LOCATION, nodeAt(server, there));
    assert.equal(repository.snapshots().length, 2);
  }));

test('two processes of one node do not write at the same time where one may write', () =>
  inFolder(async (folder) => {
    await using server = await FakeS3.start({ ignoresConditions: true });
    const options = nodeAt(server, folder);
    await initRepository(env, LOCATION, options);
    {
      await using first = await openRepository(env, LOCATION, options);
      await backUp(env, first, noise(MIB, 1), {});
      await assert.rejects(backUpOne(options, noise(MIB, 2)), { code: 'STORE_BUSY' });
    }
    await backUpOne(options, noise(MIB, 2));
  }));

test('a copy of a node is refused once the other one has written', () =>
  inFolder(async (folder) => {
    await using server = await FakeS3.start({ ignoresConditions: true });
    const [node, copy] = [join(folder, 'node'), join(folder, 'copy')];
    await initRepository(env, LOCATION, nodeAt(server, node));
    await backUpOne(nodeAt(server, node), noise(MIB, 1));
    await cp(node, copy, { recursive: true });
    await backUpOne(nodeAt(server, node), noise(MIB, 2));
    await assert.rejects(backUpOne(nodeAt(server, copy), noise(MIB, 3)), { code: 'STORE_OWNED' });
  }));

test('init does not touch a repository that is there, whatever the server can do', () =>
  inFolder(async (folder) => {
    for (const ignoresConditions of [false, true]) {
      await using server = await FakeS3.start({ ignoresConditions });
      const options = nodeAt(server, folder);
      const { repositoryId } = await initRepository(env, LOCATION, options);
      await assert.rejects(initRepository(env, LOCATION, options), { code: 'STORE_EXISTS' });
      await using repository = await openRepository(env, LOCATION, options);
      assert.equal(repository.superblock.repositoryId, repositoryId);
    }
  }));

test('init leaves nothing unfinished and no lock behind', () =>
  inFolder(async (folder) => {
    await initRepository(env, join(folder, 'repo'), {});
    assert.deepEqual(await readdir(join(folder, 'repo/tmp')), []);
  }));
