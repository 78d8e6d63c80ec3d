/** Goal: a mount keeps the snapshot as it is, and a commit is one moment of what was written. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Extent, nodeEnv } from '../../core/index.ts';
import { type Device, memory, WriteGate } from '../../device/index.ts';
import { memoryStore } from '../../objects/index.ts';
import { Repository, type Snapshot } from '../../store/index.ts';
import { mount, type Store } from './index.ts';

const env = nodeEnv();
const SIZE = 1024 * 1024;
const BLOCK = 4096;

type Place = AsyncDisposable & {
  readonly repository: Repository;
  readonly snapshot: Snapshot;
  readonly layerDirectory: string;
};

/** A snapshot of a volume of zeroes; only its name and size matter here. */
async function place(): Promise<Place> {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-mount-'));
  const objects = memoryStore('repository');
  await Repository.init(env, objects);
  const repository = await Repository.open(env, objects);
  const snapshot: Snapshot = {
    id: '1'.repeat(32),
    volume: 'disk',
    time: '2026-01-01T00:00:00.000Z',
    sizeBytes: SIZE,
    chunkBytes: repository.superblock.chunkBytes,
    root: undefined,
    digest: '0'.repeat(64),
    parent: undefined,
    source: 'full',
    origin: '0'.repeat(32),
    readBytes: 0,
    changedBytes: 0,
    storedBytes: 0,
    unreadable: [],
    tags: [],
    held: false,
  };
  const none = { packs: [], packsDropped: [], segments: [], segmentsDropped: [] };
  await repository.log.append(async ({ generation }) => {
    return { type: 'snapshot', snapshot, index: none, generation };
  });
  return {
    repository,
    snapshot,
    layerDirectory: join(folder, 'layer'),
    async [Symbol.asyncDispose]() {
      await repository[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

/** Remembers what it was handed instead of storing it. */
function recorder(snapshot: Snapshot) {
  const seen: { parent: string; changed: Extent[] }[] = [];
  const store: Store<{ snapshot: Snapshot }> = async (_device, { parent, changed }) => {
    seen.push({ parent: parent.id, changed: [...changed] });
    return { snapshot: { ...snapshot, id: String(seen.length + 1).repeat(32) } };
  };
  return { seen, store };
}

test('without a layer nothing can be written or committed', async () => {
  await using here = await place();
  await using mounted = await mount(env, here.repository, here.snapshot, {});
  assert.equal(mounted.device.readOnly, true);
  const { store } = recorder(here.snapshot);
  await assert.rejects(mounted.commit(store), { code: 'TRANSFER_LAYER' });
});

test('a commit hands over the blocks that were written, and the next one builds on it', async () => {
  await using here = await place();
  await using mounted = await mount(env, here.repository, here.snapshot, here);
  const { seen, store } = recorder(here.snapshot);
  await mounted.device.write(new Uint8Array(BLOCK).fill(1), 2 * BLOCK, 0);
  await mounted.commit(store);
  await mounted.device.write(new Uint8Array(1), 7 * BLOCK, 0);
  await mounted.commit(store);
  const two = { offsetBytes: 2 * BLOCK, lengthBytes: BLOCK };
  const seven = { offsetBytes: 7 * BLOCK, lengthBytes: BLOCK };
  assert.deepEqual(seen, [
    { parent: '1'.repeat(32), changed: [two] },
    { parent: '2'.repeat(32), changed: [two, seven] },
  ]);
});

test('a mount knows whether a commit has kept all that was written', async () => {
  await using here = await place();
  await using mounted = await mount(env, here.repository, here.snapshot, here);
  const { store } = recorder(here.snapshot);
  assert.equal(mounted.isCommitted, false);
  await mounted.device.write(new Uint8Array(BLOCK).fill(1), 0, 0);
  await mounted.commit(async (device, since) => {
    // Waits until the commit is over, and is not in it.
    void mounted.device.zero(BLOCK, BLOCK, 0);
    return await store(device, since);
  });
  await mounted.device.read(new Uint8Array(1), 0);
  await mounted.device.flush();
  assert.equal(mounted.isCommitted, false, 'the late one');
  await mounted.commit(store);
  assert.equal(mounted.isCommitted, true);
  await mounted.device.read(new Uint8Array(1), 0);
  assert.equal(mounted.isCommitted, true);
  await mounted.device.trim(BLOCK, 0, 0);
  assert.equal(mounted.isCommitted, false);
});

test('writes wait while a commit is under way', async () => {
  await using here = await place();
  await using mounted = await mount(env, here.repository, here.snapshot, here);
  const log: string[] = [];
  const { store } = recorder(here.snapshot);
  let late: Promise<unknown> | undefined;
  await mounted.commit(async (device, since) => {
    late = Promise.resolve(mounted.device.write(Uint8Array.of(9), 0, 0)).then(() => {
      log.push('written');
    });
    // Time enough for a write that does not wait.
    for (let turn = 0; turn < 3; turn++) await device.flush();
    const seen = new Uint8Array(1);
    await device.read(seen, 0);
    const result = await store(device, since);
    log.push(`committed ${seen[0]}`);
    return result;
  });
  await late;
  assert.deepEqual(log, ['committed 0', 'written']);
});

test('writes are kept when the mount ends, and must be taken up by name', async () => {
  await using here = await place();
  const { repository, snapshot, layerDirectory } = here;
  {
    await using first = await mount(env, repository, snapshot, { layerDirectory });
    assert.equal(first.continued, false);
  }
  {
    await using second = await mount(env, repository, snapshot, { layerDirectory });
    assert.equal(second.continued, false, 'nothing was written: nothing stands in the way');
    await second.device.write(new Uint8Array(BLOCK).fill(5), 0, 0);
    await second.device.flush();
  }
  const again = mount(env, repository, snapshot, { layerDirectory });
  await assert.rejects(again, { code: 'TRANSFER_LAYER' });
  const third = await mount(env, repository, snapshot, { layerDirectory, goOn: true });
  assert.deepEqual([third.continued, third.changedBytes()], [true, BLOCK]);
  const bytes = new Uint8Array(2);
  await third.device.read(bytes, BLOCK - 1);
  assert.deepEqual([...bytes], [5, 0]);
  await third.discard();
  await using fourth = await mount(env, repository, snapshot, { layerDirectory });
  assert.equal(fourth.changedBytes(), 0);
});

test('a commit that fails leaves the mount writable, and its parent as it was', async () => {
  await using here = await place();
  await using mounted = await mount(env, here.repository, here.snapshot, here);
  const failing = mounted.commit(() => Promise.reject(new Error('no space')));
  await assert.rejects(failing, /no space/);
  await mounted.device.write(new Uint8Array(BLOCK), 0, 0);
  const { seen, store } = recorder(here.snapshot);
  await mounted.commit(store);
  assert.equal(seen[0]!.parent, '1'.repeat(32));
});

test('a closed gate waits for the writes inside and holds back the others; reads pass', async () => {
  const base = memory('base', SIZE);
  const first = Promise.withResolvers<void>();
  const log: string[] = [];
  const slow: Device = Object.create(base, {
    write: {
      value: (source: Uint8Array) => {
        log.push(`write ${source[0]}`);
        return source[0] === 1 ? first.promise : undefined;
      },
    },
    read: { value: () => void log.push('read') },
  });
  const gate = new WriteGate(slow);
  const one = gate.write(Uint8Array.of(1), 0, 0);
  const closed = gate.close().then(() => log.push('closed'));
  const two = gate.write(Uint8Array.of(2), 0, 0);
  void gate.read(new Uint8Array(1), 0);
  assert.deepEqual(log, ['write 1', 'read']);
  first.resolve();
  await Promise.all([one, closed]);
  assert.deepEqual(log, ['write 1', 'read', 'closed']);
  gate.open();
  await two;
  assert.deepEqual(log, ['write 1', 'read', 'closed', 'write 2']);
});
