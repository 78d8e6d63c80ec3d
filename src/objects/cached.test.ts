/** Goal: a cache never changes what a store answers, whatever happens to its folder. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EnvError, type Files, nodeEnv } from '../core/index.ts';
import { CacheFolder, type CacheOptions } from './cache-folder.ts';
import { cachedStore } from './cached.ts';
import { memoryStore } from './memory.ts';
import { objectStoreSuite } from './object-store.suite.ts';
import type { ObjectStore } from './object-store.ts';

const env = nodeEnv();
const MIB = 1024 * 1024;

type Setting = { readonly inner: ObjectStore; readonly folder: CacheFolder; readonly path: string };
type Change = Partial<CacheOptions>;

async function inFolder(change: Change, use: (setting: Setting) => Promise<void>): Promise<void> {
  const base = await mkdtemp(join(tmpdir(), 'ferry-cache-'));
  const path = join(base, 'objects');
  try {
    await using inner = memoryStore('far');
    const folder = folderAt(path, change);
    await use({ inner, folder, path }).finally(() => folder.settled());
  } finally {
    await rm(base, { recursive: true });
  }
}

function folderAt(directory: string, change: Change = {}): CacheFolder {
  const { files, random } = env;
  const makeDirectory = async () => void (await mkdir(directory, { recursive: true }));
  return new CacheFolder({ files, random, directory, makeDirectory, bytesMax: MIB, ...change });
}

type Whole = (key: string, bytes: Uint8Array) => boolean | undefined;

function cached(
  { inner, folder }: Pick<Setting, 'inner' | 'folder'>,
  repositoryId: string,
  isWhole: Whole = () => true,
): ObjectStore {
  const keeps = (key: string) => key.startsWith('packs/') || key.startsWith('a');
  return cachedStore(inner, { folder, repositoryId, keeps, isWhole });
}

objectStoreSuite({
  name: 'cached store',
  withStore: (use) => inFolder({}, (setting) => use(cached(setting, 'r'))),
  historyCount: 100,
});

const bytes = Uint8Array.from({ length: 1000 }, (_, at) => at);

async function readTwice(setting: Setting, key = 'packs/ab/x'): Promise<ObjectStore> {
  const { inner, folder } = setting;
  await inner.putIfAbsent(key, bytes);
  const store = cached(setting, 'r');
  await store.getRange(key, new Uint8Array(500), 100);
  await store.get(key, 1000);
  await folder.settled();
  return store;
}

async function range(store: ObjectStore, key = 'packs/ab/x'): Promise<Uint8Array> {
  const target = new Uint8Array(500);
  await store.getRange(key, target, 100);
  return target;
}

test('what was read once is read from the folder, by a later process too', () =>
  inFolder({}, async (setting) => {
    const store = await readTwice(setting);
    await setting.inner.remove('packs/ab/x');
    assert.deepEqual(await range(store), bytes.slice(100, 600));
    const later = cached({ inner: setting.inner, folder: folderAt(setting.path) }, 'r');
    assert.deepEqual(await range(later), bytes.slice(100, 600));
    assert.deepEqual(await later.get('packs/ab/x', 1000), bytes);
    await assert.rejects(later.get('packs/ab/x', 10), { code: 'OBJECT_NOT_FOUND' });
    await assert.rejects(later.size('packs/ab/x'), { code: 'OBJECT_NOT_FOUND' });
  }));

test('copies of one repository do not serve another', () =>
  inFolder({}, async (setting) => {
    await readTwice(setting);
    await setting.inner.remove('packs/ab/x');
    await setting.inner.putIfAbsent('packs/ab/x', bytes.toReversed());
    const other = cached(setting, 'other');
    assert.deepEqual(await other.get('packs/ab/x', 1000), bytes.toReversed());
  }));

test('a copy that was flipped, cut, lengthened, emptied or exchanged is not believed', () =>
  inFolder({}, async (setting) => {
    const store = await readTwice(setting);
    await setting.inner.putIfAbsent('packs/ab/y', bytes.toReversed());
    await range(store, 'packs/ab/y');
    await setting.folder.settled();
    const damages: ((copy: Buffer, others: readonly Buffer[]) => Buffer)[] = [
      ...[0, 5, 9, 41, 60, -1].map((at) => (copy: Buffer) => {
        copy[at < 0 ? copy.length + at : at]! ^= 1;
        return copy;
      }),
      (copy) => copy.subarray(0, copy.length >> 1),
      (copy) => Buffer.concat([copy, Buffer.of(0)]),
      () => Buffer.alloc(0),
      (copy, others) => others.find((other) => !other.equals(copy))!,
    ];
    for (const damage of damages) {
      const names = await readdir(setting.path);
      assert.equal(names.length, 3);
      const copies = await Promise.all(names.map((name) => readFile(join(setting.path, name))));
      for (const [at, name] of names.entries()) {
        await writeFile(join(setting.path, name), damage(Buffer.from(copies[at]!), copies));
      }
      assert.deepEqual(await range(store), bytes.slice(100, 600));
      assert.deepEqual(await range(store, 'packs/ab/y'), bytes.toReversed().slice(100, 600));
      assert.deepEqual(await store.get('packs/ab/x', 1000), bytes);
      await setting.folder.settled();
    }
  }));

test('the folder stays within its bound, and what is used stays in it', () =>
  inFolder({ bytesMax: 40_000 }, async (setting) => {
    const store = await readTwice(setting, 'a-used');
    for (let at = 0; at < 200; at++) {
      const key = `packs/ab/${at}`;
      await setting.inner.putIfAbsent(key, bytes);
      await store.get(key, 1000);
      await setting.folder.settled();
      await store.get('a-used', 1000);
      const names = await readdir(setting.path);
      const sizes = await Promise.all(names.map((name) => stat(join(setting.path, name))));
      assert.ok(sizes.reduce((sum, { size }) => sum + size, 0) <= 40_000);
    }
    const { misses } = setting.folder;
    await store.get('a-used', 1000);
    assert.equal(setting.folder.misses, misses);
    assert.ok((await readdir(setting.path)).length > 20);
  }));

test('a full disk costs the copies, once a message, and nothing else', async () => {
  const troubles: EnvError[] = [];
  const full = new EnvError('ENV_NO_SPACE', 'no space left', { hint: 'Make some.' });
  const files: Files = {
    ...env.files,
    open: async (path, mode) => {
      const file = await env.files.open(path, mode);
      if (mode === 'create') file.write = (_source, _offset, done) => done(full, 0);
      return file;
    },
  };
  await inFolder({ files, onTrouble: (error) => troubles.push(error) }, async (setting) => {
    const store = await readTwice(setting);
    assert.deepEqual(await range(store), bytes.slice(100, 600));
    await setting.folder.settled();
    assert.deepEqual(troubles, [full]);
    assert.deepEqual(await readdir(setting.path), []);
  });
});

test('bytes that came wrong are asked for again, and kept only once they are right', () =>
  inFolder({}, async ({ inner, folder }) => {
    await inner.putIfAbsent('packs/ab/x', bytes);
    let wrong = 1;
    let reads = 0;
    const lying: ObjectStore = {
      ...inner,
      async getRange(key, target, offsetBytes) {
        await inner.getRange(key, target, offsetBytes);
        reads++;
        if (wrong-- > 0) target[0]! ^= 1;
      },
    };
    const isWhole: Whole = (_key, found) => found[0] === bytes[100];
    const store = cached({ inner: lying, folder }, 'r', isWhole);
    assert.deepEqual(await range(store), bytes.slice(100, 600));
    assert.equal(reads, 2);
    await folder.settled();
    assert.deepEqual(await range(store), bytes.slice(100, 600));
    assert.equal(reads, 2, 'the right ones were kept');
    wrong = 9;
    const other = cached({ inner: lying, folder }, 'other', isWhole);
    await range(other);
    await folder.settled();
    const before = reads;
    await range(other);
    assert.ok(reads > before, 'the wrong ones were not');
  }));

test('what is read once is not kept, and what cannot be told to be whole neither', () =>
  inFolder({}, async (setting) => {
    await setting.inner.putIfAbsent('packs/ab/x', bytes);
    await cached(setting, 'r').getRange('packs/ab/x', new Uint8Array(9), 0, 'once');
    await range(cached(setting, 'r', () => undefined));
    await setting.folder.settled();
    await assert.rejects(readdir(setting.path), { code: 'ENOENT' });
  }));
