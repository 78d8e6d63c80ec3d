/** Goal: the directory store keeps the contract on a real disk, and trusts nothing there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { simulatedEnv } from '../../sim/index.ts';
import { type Files, nodeEnv } from '../core/index.ts';
import { directoryStore } from './directory.ts';
import { IDLE_HANDLES_MAX } from './limits.ts';
import { objectStoreSuite } from './object-store.suite.ts';
import type { ObjectStore } from './object-store.ts';

const env = nodeEnv();

async function inDirectory(
  use: (store: ObjectStore, path: string) => Promise<void>,
): Promise<void> {
  const base = mkdtempSync(join(tmpdir(), 'ferry-objects-'));
  try {
    const path = join(base, 'store');
    await using store = await directoryStore(env.files, path, env.random);
    await use(store, path);
  } finally {
    rmSync(base, { recursive: true });
  }
}

let simulatedSeed = 0;

objectStoreSuite({ name: 'directory store', withStore: inDirectory, historyCount: 25 });

objectStoreSuite({
  name: 'directory store on a simulated disk with short transfers',
  withStore: async (use) => {
    const world = simulatedEnv(++simulatedSeed, { shortTransfers: true });
    await world.run(async () => {
      await using store = await directoryStore(world.env.files, '/store', world.env.random);
      await use(store);
    });
  },
  historyCount: 100,
});

/** What lies in the temporary folder beside locks. */
function unfinishedIn(path: string): string[] {
  return readdirSync(join(path, 'tmp')).filter((name) => !name.startsWith('lock-'));
}

test('reading an absent store makes nothing, and the first object makes the directory', () =>
  inDirectory(async (store, path) => {
    await assert.rejects(store.get('a', 1), { code: 'OBJECT_NOT_FOUND' });
    await store.remove('a');
    assert.throws(() => readdirSync(path), { code: 'ENOENT' });
    await store.putIfAbsent('log/1', Uint8Array.of(7));
    assert.deepEqual(readdirSync(path).sort(), ['log', 'tmp']);
    assert.deepEqual([...readFileSync(join(path, 'log/1'))], [7]);
    assert.deepEqual(unfinishedIn(path), []);
  }));

test('a store whose place is taken by a file is refused', () =>
  inDirectory(async (_, path) => {
    writeFileSync(path, '');
    await assert.rejects(directoryStore(env.files, path, env.random), { code: 'OBJECT_FOREIGN' });
  }));

test('a missing parent directory is not made up', () =>
  inDirectory(async (_, path) => {
    await using store = await directoryStore(env.files, join(path, 'x', 'y'), env.random);
    await assert.rejects(store.putIfAbsent('a', new Uint8Array(1)), { code: 'OBJECT_IO' });
    assert.throws(() => readdirSync(path), { code: 'ENOENT' });
  }));

/** Everything that must refuse an object which was replaced. */
async function assertForeign(store: ObjectStore, key: string): Promise<void> {
  for (const call of [
    () => store.get(key, 1000),
    () => store.getRange(key, new Uint8Array(1), 0),
    () => store.size(key),
  ]) {
    await assert.rejects(call, { code: 'OBJECT_FOREIGN' });
  }
}

test('links, FIFOs and directories in place of objects are refused and not listed', () =>
  inDirectory(async (store, path) => {
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    writeFileSync(join(path, '..', 'secret'), 'secret');
    symlinkSync('../../secret', join(path, 'log/2'));
    execFileSync('mkfifo', [join(path, 'log/3')]);
    mkdirSync(join(path, 'log/4'));
    symlinkSync('nowhere', join(path, 'log/5'));
    for (const key of ['log/2', 'log/3', 'log/4', 'log/5']) {
      await assertForeign(store, key);
      await assert.rejects(store.putIfAbsent(key, Uint8Array.of(9)), { code: 'OBJECT_EXISTS' });
    }
    await assert.rejects(store.remove('log/4'), { code: 'OBJECT_FOREIGN' });
    const listed = await Array.fromAsync(store.list(''), ({ key }) => key);
    assert.deepEqual(listed, ['log/1']);
    assert.equal(readFileSync(join(path, '..', 'secret'), 'latin1'), 'secret');
  }));

test('a folder that is a link leads nowhere', () =>
  inDirectory(async (store, path) => {
    const outside = join(path, '..', 'outside');
    mkdirSync(path);
    mkdirSync(outside);
    writeFileSync(join(outside, 'a'), 'secret');
    symlinkSync(outside, join(path, 'packs'));
    await assertForeign(store, 'packs/a');
    await assert.rejects(store.putIfAbsent('packs/b', Uint8Array.of(9)), {
      code: 'OBJECT_FOREIGN',
    });
    await assert.rejects(store.remove('packs/a'), { code: 'OBJECT_FOREIGN' });
    await assert.rejects(Array.fromAsync(store.list('packs/')), { code: 'OBJECT_FOREIGN' });
    assert.deepEqual(await Array.fromAsync(store.list('')), []);
    assert.deepEqual(readdirSync(outside), ['a']);
    assert.deepEqual(unfinishedIn(path), []);
  }));

test('names that no store writes are not listed', () =>
  inDirectory(async (store, path) => {
    await store.putIfAbsent('a', Uint8Array.of(1));
    for (const name of ['lost+found', '.hidden', 'UPPER']) writeFileSync(join(path, name), '');
    assert.deepEqual(await Array.fromAsync(store.list(''), ({ key }) => key), ['a']);
  }));

test('an object that was cut short behind the back of an open handle is an error, not zeroes', () =>
  inDirectory(async (store, path) => {
    await store.putIfAbsent('a', new Uint8Array(100));
    await store.getRange('a', new Uint8Array(10), 90);
    truncateSync(join(path, 'a'), 95);
    await assert.rejects(store.getRange('a', new Uint8Array(10), 90), { code: 'OBJECT_RANGE' });
  }));

test('open handles are bounded, and closed on disposal', () =>
  inDirectory(async (_, path) => {
    let openCount = 0;
    let openCountMax = 0;
    const open: Files['open'] = async (name, mode) => {
      const file = await env.files.open(name, mode);
      openCountMax = Math.max(openCountMax, ++openCount);
      const close = file.close.bind(file);
      file.close = async () => {
        await close();
        openCount--;
      };
      return file;
    };
    const store = await directoryStore({ ...env.files, open }, path, env.random);
    const target = new Uint8Array(1);
    for (let index = 0; index < 2 * IDLE_HANDLES_MAX; index++) {
      await store.putIfAbsent(`a/${index}`, Uint8Array.of(index));
      await store.getRange(`a/${index}`, target, 0);
    }
    await store.getRange('a/0', target, 0); // Closed by now, and opened again.
    assert.equal(target[0], 0);
    assert(openCountMax <= IDLE_HANDLES_MAX + 2, `${openCountMax} files were open at once`);
    await store[Symbol.asyncDispose]();
    assert.equal(openCount, 0);
    await store[Symbol.asyncDispose]();
  }));

test('an object that is replaced between look and open is refused', () =>
  inDirectory(async (_, path) => {
    const open: Files['open'] = async (name, mode) => {
      if (mode === 'read') {
        rmSync(name);
        symlinkSync('../../secret', name);
      }
      return env.files.open(name, mode);
    };
    await using store = await directoryStore({ ...env.files, open }, path, env.random);
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    writeFileSync(join(path, '..', 'secret'), 'secret');
    await assert.rejects(store.get('log/1', 100), { code: 'OBJECT_FOREIGN' });
  }));

test('a folder that vanished is an error once, and is made again by the next put', () =>
  inDirectory(async (store, path) => {
    await store.putIfAbsent('log/1', Uint8Array.of(1));
    rmSync(join(path, 'log'), { recursive: true });
    await assert.rejects(store.putIfAbsent('log/2', Uint8Array.of(2)), { code: 'OBJECT_IO' });
    await store.putIfAbsent('log/2', Uint8Array.of(2));
    assert.deepEqual(readdirSync(join(path, 'log')), ['2']);
  }));
