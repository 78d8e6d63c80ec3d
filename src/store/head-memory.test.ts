/** Goal: a log that was cut, replaced or put back is refused by everybody who had seen its head. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { codecPool } from '../codec/index.ts';
import { nodeEnv } from '../core/index.ts';
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import { type HeadMemory, headFiles } from './head-memory.ts';
import { CHECKPOINT_INTERVAL } from './limits.ts';
import { logKey } from './log-entry.ts';
import { Repository } from './repository.ts';

const env = nodeEnv();
const ID = '0123456789abcdef0123456789abcdef';
const hash = (digit: string) => digit.repeat(64);

async function withFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-heads-'));
  try {
    await work(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function memoryIn(folder: string): HeadMemory {
  return headFiles(env, {
    directory: join(folder, 'heads'),
    makeDirectory: () => env.files.makeDirectory(join(folder, 'heads')),
  });
}

test('the newest head stays, whatever the order in which processes tell theirs', async () => {
  await withFolder(async (folder) => {
    const numbers = [5, 3, 9, 1, 7, 8, 2, 6, 4, 9];
    // Each with a memory of its own: as many processes.
    await Promise.all(
      numbers.map((sequence) => memoryIn(folder).remember(ID, { sequence, hash: hash('a') })),
    );
    assert.deepEqual(await memoryIn(folder).recall(ID), { sequence: 9, hash: hash('a') });
    await memoryIn(folder).replace(ID, { sequence: 2, hash: hash('b') });
    assert.deepEqual(await memoryIn(folder).recall(ID), { sequence: 2, hash: hash('b') });
    // Nothing but the lock and the one file is left.
    assert.deepEqual((await readdir(join(folder, 'heads'))).sort(), [ID, 'lock']);
  });
});

test('a file that does not parse is told, and replaced by the next head', async () => {
  await withFolder(async (folder) => {
    const memory = memoryIn(folder);
    await memory.remember(ID, { sequence: 4, hash: hash('a') });
    for (const text of ['', '{', '{"sequence":-1,"hash":"00"}', 'null']) {
      await writeFile(join(folder, 'heads', ID), text);
      await assert.rejects(memory.recall(ID), { code: 'STORE_HEAD_MEMORY' });
    }
    await memory.remember(ID, { sequence: 2, hash: hash('b') });
    assert.deepEqual(await memory.recall(ID), { sequence: 2, hash: hash('b') });
    assert.match(await readFile(join(folder, 'heads', ID), 'utf8'), /\n$/);
  });
});

async function emptySnapshot(repository: Repository, volume: string): Promise<void> {
  await using pool = codecPool(env, 0);
  await using session = await repository.beginBackup({
    volume,
    sizeBytes: 0,
    parent: undefined,
    pool,
  });
  await session.commit({ source: 'test', origin: 'test', readBytes: 0, unreadable: [] });
}

/** A repository with so many entries, and a memory that has seen the newest. */
async function seen(folder: string, entries: number) {
  const objects = memoryStore('a');
  await Repository.init(env, objects);
  const heads = { memory: memoryIn(folder) };
  const repository = await Repository.open(env, objects, { heads });
  for (let at = 0; at < entries; at++) await emptySnapshot(repository, `v${at}`);
  return { objects, heads, repository };
}

async function replace(objects: ObjectStore, key: string, bytes: Uint8Array): Promise<void> {
  await objects.remove(key);
  await objects.putIfAbsent(key, bytes);
}

const refused = { code: 'STORE_ROLLED_BACK' };

test('the loss of the newest entry is refused by who saw it, not by others', async () => {
  await withFolder(async (folder) => {
    const { objects, heads, repository } = await seen(folder, 3);
    await objects.remove(logKey(3));
    await assert.rejects(Repository.open(env, objects, { heads }), refused);
    assert.equal((await Repository.open(env, objects)).snapshots().length, 2);
    // A process that runs all the time notices it before it writes, even without its memory.
    await rm(join(folder, 'heads'), { recursive: true });
    await assert.rejects(emptySnapshot(repository, 'more'), refused);
    await assert.rejects(objects.size(logKey(4)), { code: 'OBJECT_NOT_FOUND' });
  });
});

test('an older copy that others wrote on is refused, also behind a checkpoint', async () => {
  for (const more of [1, CHECKPOINT_INTERVAL + 3]) {
    await withFolder(async (folder) => {
      const { objects, heads } = await seen(folder, 3);
      await objects.remove(logKey(3));
      const other = await Repository.open(env, objects);
      for (let at = 0; at < more; at++) await emptySnapshot(other, `w${at}`);
      await assert.rejects(Repository.open(env, objects, { heads }), refused);
    });
  }
});

test('who only looks is told, cannot write, and may accept the log as it is', async () => {
  await withFolder(async (folder) => {
    const { objects, heads } = await seen(folder, 3);
    await objects.remove(logKey(3));
    const told: string[] = [];
    const looking = await Repository.open(env, objects, {
      heads: { ...heads, onRolledBack: ({ message }) => told.push(message) },
    });
    assert.equal(looking.snapshots().length, 2);
    assert.match(told[0]!, /seen entry 3 .* ends at entry 2/);
    await assert.rejects(emptySnapshot(looking, 'more'), refused);
    // What is found later does not lower what is known: only a person does.
    await assert.rejects(Repository.open(env, objects, { heads }), refused);
    await looking.acceptHead();
    await emptySnapshot(looking, 'more');
    assert.equal((await Repository.open(env, objects, { heads })).snapshots().length, 3);
  });
});

test('what others commit meanwhile is no rollback, and a damaged old entry is none either', async () => {
  await withFolder(async (folder) => {
    const { objects, heads } = await seen(folder, 3);
    const other = await Repository.open(env, objects);
    for (let at = 0; at < CHECKPOINT_INTERVAL; at++) await emptySnapshot(other, `w${at}`);
    const bytes = (await objects.get(logKey(3), 2 ** 20)).slice();
    bytes[30] = bytes[30]! ^ 1;
    await replace(objects, logKey(3), bytes);
    const repository = await Repository.open(env, objects, { heads });
    assert.equal(repository.snapshots().length, CHECKPOINT_INTERVAL + 3);
    assert.equal((await heads.memory.recall(repository.superblock.repositoryId))?.sequence, 67);
  });
});

test('a memory that cannot be kept is told once, and the backup is made all the same', async () => {
  const told: string[] = [];
  const failing = () => env.files.makeDirectory('/proc/no-such-place');
  const memory = headFiles(env, { directory: '/proc/no-such-place', makeDirectory: failing });
  const objects = memoryStore('a');
  await Repository.init(env, objects);
  const repository = await Repository.open(env, objects, {
    heads: { memory, onTrouble: ({ message }) => told.push(message) },
  });
  await emptySnapshot(repository, 'a');
  await emptySnapshot(repository, 'b');
  assert.equal(repository.snapshots().length, 2);
  assert.equal(told.length, 1);
});
