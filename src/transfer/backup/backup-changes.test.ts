/** Goal: a source that knows saves the reading; whatever happens, it hears how the run ended. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Extent, equalBytes, nodeEnv } from '../../core/index.ts';
import { type Device, memory } from '../../device/index.ts';
import { memoryStore } from '../../objects/index.ts';
import { type ChangeSource, checksumSource, fullSource } from '../../track/index.ts';
import { backupChanges, type ChangesRequest } from './backup-changes.ts';
import { init, noise, open, readAsDevice } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;
const SIZE = 5 * CHUNK + 1000;

/** A source that claims that just `changed` changed, with a moment of its own if there is one. */
function claims(changed: readonly Extent[], told: string[], view?: Device): ChangeSource {
  return {
    name: 'tracker',
    changes: async () => ({
      kind: 'changes',
      source: 'tracker',
      precision: 'exact',
      changed: (async function* () {
        yield* changed;
      })(),
      reason: 'it says so',
      ...(view && { view }),
      finish: async (outcome) => {
        told.push(outcome.kind === 'failed' ? 'failed' : outcome.snapshot.id);
      },
    }),
  };
}

async function deviceOf(bytes: Uint8Array): Promise<Device> {
  const device = memory('disk', bytes.byteLength);
  await device.write(bytes, 0, 0);
  return device;
}

async function begun(volumeBytes: Uint8Array) {
  const objects = memoryStore('changes');
  await init(env, objects, 'plain');
  const repository = await open(env, objects);
  const run = (device: Device, sources: ChangeSource[], more: Partial<ChangesRequest> = {}) =>
    backupChanges(env, repository, device, {
      volume: 'disk',
      origin: 'here',
      sources: [...sources, checksumSource(), fullSource()],
      choice: 'auto',
      ...more,
    });
  const first = await run(await deviceOf(volumeBytes), []);
  assert.equal(first.snapshot.source, 'full');
  return { objects, repository, run };
}

test('only what a source names is read, and it hears which snapshot came of it', async () => {
  const before = noise(SIZE, 1);
  const { repository, run } = await begun(before);
  const after = before.slice();
  after.set(noise(10, 2), 2 * CHUNK + 5000);
  const told: string[] = [];
  const extent = { offsetBytes: 2 * CHUNK + 4096, lengthBytes: 4096 };
  const result = await run(await deviceOf(after), [claims([extent], told)]);
  assert.equal(result.readBytes, CHUNK);
  assert.equal(result.snapshot.source, 'tracker');
  assert.deepEqual([result.isOneMoment, result.isSuperset], [false, false]);
  assert.deepEqual(told, [result.snapshot.id]);
  assert.ok(equalBytes(await readAsDevice(repository, result.snapshot), after));
});

test('the moment of the source is read, not what the device has become since', async () => {
  const before = noise(SIZE, 1);
  const { repository, run } = await begun(before);
  const view = await deviceOf(before);
  const all = [{ offsetBytes: 0, lengthBytes: SIZE }];
  const result = await run(await deviceOf(noise(SIZE, 9)), [claims(all, [], view)]);
  assert.equal(result.isOneMoment, true);
  assert.ok(equalBytes(await readAsDevice(repository, result.snapshot), before));
});

test('a run that fails is told to the source as failed, and nothing is committed', async () => {
  const { repository, run } = await begun(noise(SIZE, 1));
  const told: string[] = [];
  const broken = memory('disk', SIZE);
  const device: Device = { ...bound(broken), read: () => Promise.reject(new Error('no')) };
  const all = [{ offsetBytes: 0, lengthBytes: SIZE }];
  await assert.rejects(run(device, [claims(all, told)]), /no/);
  assert.deepEqual(told, ['failed']);
  assert.equal(repository.snapshots.length, 1);
});

test('a source that fails to take note does not take the snapshot away', async () => {
  const { run } = await begun(noise(SIZE, 1));
  const source = claims([], []);
  const forgets: ChangeSource = {
    name: 'tracker',
    async changes(question) {
      const answer = await source.changes(question);
      return { ...answer, finish: () => Promise.reject(new Error('disk full')) };
    },
  };
  const result = await run(await deviceOf(noise(SIZE, 1)), [forgets]);
  assert.match(String(result.finishFailure), /disk full/);
});

test('with a damaged parent another moment is taken, and all of it read', async () => {
  const before = noise(SIZE, 1);
  const { objects } = await begun(before);
  for await (const { key } of objects.list('packs/')) await objects.remove(key);
  await using repository = await open(env, objects);
  const asked: unknown[] = [];
  const told: string[] = [];
  const source: ChangeSource = {
    name: 'tracker',
    givesMoment: true,
    async changes(question) {
      asked.push(question.readsAll === true);
      // A moment that keeps what is asked for, and refuses the rest, as one under a writer does.
      const view = await deviceOf(noise(SIZE, 3));
      const isKept = question.readsAll === true;
      const read: Device['read'] = (target, offsetBytes) => {
        if (!isKept && offsetBytes !== 2 * CHUNK) throw new Error(`${offsetBytes} is not kept`);
        return view.read(target, offsetBytes);
      };
      const changed = [{ offsetBytes: 2 * CHUNK, lengthBytes: CHUNK }];
      return claims(changed, told, { ...bound(view), read }).changes(question);
    },
  };
  const result = await backupChanges(env, repository, await deviceOf(before), {
    ...{ volume: 'disk', origin: 'here', choice: 'auto', auditShare: 0 },
    sources: [source, checksumSource(), fullSource()],
  });
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(told, ['failed', result.snapshot.id]);
  assert.deepEqual([result.snapshot.source, result.isOneMoment], ['full', true]);
  assert.ok(result.damagedParent !== undefined);
  assert.ok(equalBytes(await readAsDevice(repository, result.snapshot), noise(SIZE, 3)));
});

test('`full` compares with nothing; a chosen source that cannot say ends the run', async () => {
  const bytes = noise(SIZE, 1);
  const { run } = await begun(bytes);
  const full = await run(await deviceOf(bytes), [], { choice: 'full' });
  assert.deepEqual([full.parent, full.snapshot.source, full.readBytes], [undefined, 'full', SIZE]);
  await assert.rejects(run(await deviceOf(bytes), [], { choice: 'qemu' }), {
    code: 'TRACK_SOURCE',
  });
});

/** A device as a plain object, so that one method can be another. */
function bound(device: Device): Device {
  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: device.blockSizes,
    readOnly: device.readOnly,
    hints: device.hints,
    durable: device.durable,
    read: (target, offsetBytes) => device.read(target, offsetBytes),
    write: (source, offsetBytes, flags) => device.write(source, offsetBytes, flags),
    flush: () => device.flush(),
    zero: (length, offsetBytes, flags) => device.zero(length, offsetBytes, flags),
    trim: (length, offsetBytes, flags) => device.trim(length, offsetBytes, flags),
    extents: (length, offsetBytes, limit) => device.extents(length, offsetBytes, limit),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}
