/** Goal: whatever call fails, nothing committed is lost and the next run works by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, FerryError, hasCode, nodeEnv } from '../../core/index.ts';
import { type Device, DeviceError, memory } from '../../device/index.ts';
import {
  faultStore,
  memoryStore,
  type ObjectStore,
  type StoreCall,
  type StoreFault,
} from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import { backup } from './backup.ts';
import {
  backUp,
  checked,
  deviceOf,
  type Expected,
  noise,
  open,
  restored,
  verifyAll,
} from './model-repository.fixture.ts';
import { restore } from './restore.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;
const PACK = { packTargetBytes: 70_000 };

const first = noise(3 * CHUNK + 100, 1);
/** Long enough for three frames, and so for three packs. */
const second = noise(20 * CHUNK + 5, 2);
second.set(first);
second[2 * CHUNK + 5] = 1;

async function repositoryWith(versions: readonly Uint8Array[]) {
  const objects = memoryStore('faults');
  await Repository.init(env, objects);
  const expected: Expected = new Map();
  for (const bytes of versions) {
    const { snapshot } = await backUp(env, await open(env, objects), bytes, PACK);
    expected.set(snapshot.id, bytes);
  }
  return { objects, expected };
}

/** A store whose planted fault is met by one call, from when it is armed. */
function armed(inner: ObjectStore) {
  let callCount = 0;
  let plan: { number: number; fault: StoreFault; lasting: boolean } | undefined;
  let met = false;
  const objects = faultStore(inner, (_call: StoreCall) => {
    if (plan === undefined) return undefined;
    callCount++;
    const due = callCount === plan.number || (plan.lasting && callCount > plan.number);
    if (due) met = true;
    return due ? plan.fault : undefined;
  });
  return {
    objects,
    arm(number: number, fault: StoreFault, lasting: boolean) {
      callCount = 0;
      met = false;
      plan = { number, fault, lasting };
    },
    disarm() {
      plan = undefined;
      return met;
    },
  };
}

for (const code of ['OBJECT_NO_SPACE', 'OBJECT_IO'] as const) {
  for (const [applied, lasting] of [
    [false, false],
    [true, false],
    [false, true],
  ] as const) {
    const when = applied ? ', after it took effect' : '';
    const how = `${code}${when}${lasting ? ', and all later' : ''}`;
    test(`any Nth call of a backup fails with ${how}: the same open repository goes on`, async () => {
      let number = 1;
      for (; ; number++) {
        const { objects: inner, expected } = await repositoryWith([first]);
        const { objects, arm, disarm } = armed(inner);
        const repository = await open(env, objects);
        arm(number, { code, applied }, lasting);
        const failed = await backUp(env, repository, second, PACK).then(
          ({ snapshot }) => {
            expected.set(snapshot.id, second);
            return undefined;
          },
          (error: unknown) => error,
        );
        const met = disarm();
        assert(failed === undefined || failed instanceof FerryError, String(failed));
        if (failed !== undefined) assert(met && hasCode(failed, code), String(failed));
        await verifyAll(env, inner, expected);
        // Through the same object, and after opening again, without manual steps.
        for (const next of [repository, await open(env, inner)]) {
          const third = second.slice();
          third.set(noise(100, number), 2 * CHUNK);
          const { snapshot } = await backUp(env, next, third, PACK);
          expected.set(snapshot.id, third);
        }
        await verifyAll(env, inner, expected);
        if (!met) break;
      }
      assert(number > 20, `only ${number} calls were failed`);
    });
  }
}

test('any Nth call of init fails: init again, or use what is there', async () => {
  for (let number = 1; number < 20; number++) {
    for (const applied of [false, true]) {
      const inner = memoryStore('init');
      const { objects, arm, disarm } = armed(inner);
      arm(number, { code: 'OBJECT_IO', applied }, false);
      await Repository.init(env, objects).catch((error: unknown) => {
        assert(hasCode(error, 'OBJECT_IO'));
      });
      disarm();
      await Repository.init(env, inner).catch((error: unknown) => {
        assert(hasCode(error, 'STORE_EXISTS'));
      });
      const expected: Expected = new Map();
      const { snapshot } = await backUp(env, await open(env, inner), first, PACK);
      expected.set(snapshot.id, first);
      await verifyAll(env, inner, expected);
    }
  }
});

test('an init that was cut between its two writes is completed by the next writer', async () => {
  const { objects, expected } = await repositoryWith([first]);
  await objects.remove('superblock/1');
  assert.equal((await checked(env, await open(env, objects))).problems.length, 1);
  await backUp(env, await open(env, objects), second, { volume: 'other' });
  await verifyAll(env, objects, expected);
});

test('any Nth call of a restore fails: it tells, and never calls wrong bytes restored', async () => {
  const { objects: inner } = await repositoryWith([first, second]);
  let number = 1;
  for (; ; number++) {
    const { objects, arm, disarm } = armed(inner);
    const repository = await open(env, objects);
    arm(number, { code: 'OBJECT_IO' }, false);
    const snapshot = repository.latest('disk')!;
    try {
      assert(equalBytes(await restored(env, repository, snapshot), second));
    } catch (error) {
      assert(hasCode(error, 'OBJECT_IO'), String(error));
    }
    if (!disarm()) break;
    assert(equalBytes(await restored(env, repository, snapshot), second), 'a second try works');
  }
  assert(number > 5);
});

test('a backup that is aborted at any moment leaves nothing that the next one relies on', async () => {
  for (let stop = 0; stop < 6; stop++) {
    const { objects, expected } = await repositoryWith([first]);
    const repository = await open(env, objects);
    const large = noise(4 * 2 ** 20 + 5, 9);
    const controller = new AbortController();
    let steps = 0;
    const request = {
      ...PACK,
      signal: controller.signal,
      onProgress: () => {
        if (steps++ === stop) controller.abort();
      },
    };
    await backUp(env, repository, large, request).then(
      ({ snapshot }) => expected.set(snapshot.id, large),
      (error: unknown) => assert(hasCode(error, 'TRANSFER_INTERRUPTED'), String(error)),
    );
    await verifyAll(env, objects, expected);
    const { snapshot, adoptedPacks } = await backUp(env, repository, large, PACK);
    if (stop > 0 && stop < 4) assert(adoptedPacks > 0, 'what was stored is taken up');
    expected.set(snapshot.id, large);
    await verifyAll(env, objects, expected);
    assert.deepEqual(await Array.fromAsync(objects.list('sessions/')), []);
  }
});

test('what a run that was cut had stored is adopted by another, and by no other volume', async () => {
  const { objects, expected } = await repositoryWith([first]);
  const large = noise(3 * 2 ** 20, 9);
  let sealed = 0;
  const failing = faultStore(objects, ({ operation, key }) => {
    // The session tells of a pack right behind its commit: two are let through, and told.
    if (sealed === 2 && key.startsWith('packs/')) return { code: 'OBJECT_IO' };
    if (operation === 'commit' && key.startsWith('packs/')) sealed++;
    return undefined;
  });
  const dying = await open(env, failing);
  await assert.rejects(backUp(env, dying, large, PACK), { code: 'OBJECT_IO' });
  const other = await backUp(env, await open(env, objects), first, { volume: 'other' });
  expected.set(other.snapshot.id, first);
  assert.equal(other.adoptedPacks, 0);
  const next = await backUp(env, await open(env, objects), large, PACK);
  expected.set(next.snapshot.id, large);
  assert.equal(next.adoptedPacks, 2);
  await verifyAll(env, objects, expected);
  assert.equal((await checked(env, await open(env, objects))).orphanPacks, 0);
});

test('two backups of one volume through two open repositories both commit', async () => {
  const { objects, expected } = await repositoryWith([first]);
  const third = noise(6 * CHUNK, 4);
  const runs = [second, third].map(async (bytes) => {
    const { snapshot } = await backUp(env, await open(env, objects), bytes, PACK);
    expected.set(snapshot.id, bytes);
  });
  await Promise.all(runs);
  await verifyAll(env, objects, expected);
  assert.equal((await open(env, objects)).snapshots('disk').length, 3);
});

test('a second backup through one open repository is refused, and the first is not disturbed', async () => {
  const { objects, expected } = await repositoryWith([first]);
  const repository = await open(env, objects);
  const runs = ['disk', 'other'].map((volume) =>
    backUp(env, repository, second, { ...PACK, volume }),
  );
  const outcomes = await Promise.allSettled(runs);
  const refused = outcomes.filter(({ status }) => status === 'rejected');
  assert.equal(refused.length, 1);
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') expected.set(outcome.value.snapshot.id, second);
    else assert(hasCode(outcome.reason, 'STORE_BUSY'));
  }
  await verifyAll(env, objects, expected);
  await backUp(env, repository, first, { volume: 'third' });
});

/** A device over `bytes` that fails reads as `judge` says. */
async function failingDevice(
  bytes: Uint8Array,
  judge: (offsetBytes: number, lengthBytes: number) => DeviceError | undefined,
): Promise<Device> {
  const inner = await deviceOf(bytes);
  return {
    name: 'failing',
    sizeBytes: inner.sizeBytes,
    blockSizes: inner.blockSizes,
    readOnly: true,
    hints: inner.hints,
    durable: false,
    read: async (target, offsetBytes) => {
      const error = judge(offsetBytes, target.byteLength);
      if (error === undefined) return inner.read(target, offsetBytes);
      target.fill(0x55);
      throw error;
    },
    write: () => assert.fail('a source is not written to'),
    flush: () => undefined,
    zero: () => assert.fail('a source is not written to'),
    trim: () => assert.fail('a source is not written to'),
    extents: (lengthBytes, offsetBytes, limit) => inner.extents(lengthBytes, offsetBytes, limit),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

function deviceError(code: 'DEVICE_IO' | 'DEVICE_SHRUNK'): DeviceError {
  return new DeviceError(code, 'failing: as planned', { hint: 'This failure was asked for.' });
}

const wanted = { volume: 'disk', origin: 'test', changeSource: 'full', ...PACK };

for (const chunkBytes of [4096, 65536, 1048576]) {
  test(`a bad sector costs 4 KiB of zeroes, told in the snapshot (chunks of ${chunkBytes})`, async () => {
    const objects = memoryStore('sector');
    await Repository.init(env, objects, { chunkBytes });
    const bytes = noise(3 * 2 ** 20 + 777, 8);
    const bad = [700_000, 2 ** 20 + 4096, 2 ** 20 + 8192, bytes.byteLength - 1];
    const device = await failingDevice(bytes, (offset, length) =>
      bad.some((at) => at >= offset && at < offset + length) ? deviceError('DEVICE_IO') : undefined,
    );
    const { snapshot } = await backup(env, await open(env, objects), device, wanted);
    const lost = (at: number, lengthBytes: number) => ({ offsetBytes: at, lengthBytes });
    const tail = Math.floor(bytes.byteLength / 4096) * 4096;
    assert.deepEqual(snapshot.unreadable, [
      lost(Math.floor(700_000 / 4096) * 4096, 4096),
      lost(2 ** 20 + 4096, 8192),
      lost(tail, bytes.byteLength - tail),
    ]);
    const right = bytes.slice();
    for (const { offsetBytes, lengthBytes } of snapshot.unreadable) {
      right.fill(0, offsetBytes, offsetBytes + lengthBytes);
    }
    await verifyAll(env, objects, new Map([[snapshot.id, right]]));
    const [read] = (await open(env, objects)).snapshots();
    assert.deepEqual(read?.unreadable, snapshot.unreadable);
  });
}

test('a source that cannot be read at all is given up, and nothing is committed', async () => {
  const { objects, expected } = await repositoryWith([first]);
  const device = await failingDevice(noise(16 * 2 ** 20, 1), (offset) =>
    offset % 8192 === 0 ? deviceError('DEVICE_IO') : undefined,
  );
  const repository = await open(env, objects);
  await assert.rejects(backup(env, repository, device, wanted), { code: 'TRANSFER_UNREADABLE' });
  await verifyAll(env, objects, expected);
  assert.equal((await open(env, objects)).snapshots().length, 1);
});

for (const [how, lost, sizeMiB] of [
  ['falls off the bus', (offset: number) => offset >= 2 ** 20, 6],
  ['loses half of every 64 KiB', (offset: number) => offset % 65536 >= 32768, 40],
] as const) {
  test(`a source that ${how} in mid-backup never becomes a snapshot of zeroes`, async () => {
    const { objects, expected } = await repositoryWith([first]);
    const device = await failingDevice(noise(sizeMiB * 2 ** 20, 1), (offset, length) =>
      lost(offset) || lost(offset + length - 1) ? deviceError('DEVICE_IO') : undefined,
    );
    const run = backup(env, await open(env, objects), device, {
      ...wanted,
      packTargetBytes: 2 ** 20,
    });
    await assert.rejects(run, { code: 'TRANSFER_UNREADABLE', hint: /escue the disk first/ });
    await verifyAll(env, objects, expected);
    assert.equal((await open(env, objects)).snapshots().length, 1);
  });
}

test('a source with one long bad place below the limits is backed up all the same', async () => {
  const objects = memoryStore('bad place');
  await Repository.init(env, objects);
  const bytes = noise(6 * 2 ** 20, 3);
  const from = 2 ** 20;
  const until = from + 1023 * 4096;
  const device = await failingDevice(bytes, (offset, length) =>
    offset < until && offset + length > from ? deviceError('DEVICE_IO') : undefined,
  );
  const { snapshot } = await backup(env, await open(env, objects), device, wanted);
  assert.deepEqual(snapshot.unreadable, [{ offsetBytes: from, lengthBytes: until - from }]);
});

test('a source that shrinks while it is read fails the backup; the next one works', async () => {
  const { objects, expected } = await repositoryWith([first]);
  const bytes = noise(3 * 2 ** 20, 6);
  const device = await failingDevice(bytes, (offset) =>
    offset >= 2 ** 20 ? deviceError('DEVICE_SHRUNK') : undefined,
  );
  const repository = await open(env, objects);
  await assert.rejects(backup(env, repository, device, wanted), { code: 'DEVICE_SHRUNK' });
  await verifyAll(env, objects, expected);
  const shorter = bytes.subarray(0, 2 ** 20);
  const { snapshot } = await backUp(env, repository, shorter, PACK);
  expected.set(snapshot.id, shorter);
  await verifyAll(env, objects, expected);
});

test('a restore refuses a target that is too small, and leaves what is behind the end alone', async () => {
  const { objects } = await repositoryWith([first]);
  const repository = await open(env, objects);
  const snapshot = repository.latest('disk')!;
  const tooSmall = memory('small', first.byteLength - 1);
  await assert.rejects(restore(env, repository, snapshot, tooSmall, { blank: true }), {
    code: 'TRANSFER_TARGET_SIZE',
  });
  const large = memory('large', first.byteLength + 100);
  await large.write(new Uint8Array(100).fill(7), first.byteLength, 0);
  await restore(env, repository, snapshot, large, { blank: false });
  const found = new Uint8Array(large.sizeBytes);
  await large.read(found, 0);
  assert(equalBytes(found.subarray(0, first.byteLength), first));
  assert(equalBytes(found.subarray(first.byteLength), new Uint8Array(100).fill(7)));
});

test('a target that fails in the middle fails the restore', async () => {
  const { objects } = await repositoryWith([noise(4 * 2 ** 20, 1)]);
  const repository = await open(env, objects);
  const snapshot = repository.latest('disk')!;
  for (const method of ['write', 'flush'] as const) {
    const target = memory('target', snapshot.sizeBytes);
    target[method] = () => {
      throw deviceError('DEVICE_IO');
    };
    const run = restore(env, repository, snapshot, target, { blank: true });
    await assert.rejects(run, { code: 'DEVICE_IO' });
  }
});
