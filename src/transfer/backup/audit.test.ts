/** Goal: a source that lies is found as often as stated, the volume healed, the source doubted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, simulatedEnv } from '../../../sim/index.ts';
import { type Extent, equalBytes, nodeEnv, type Random } from '../../core/index.ts';
import { type Device, DeviceError, memory } from '../../device/index.ts';
import { memoryStore } from '../../objects/index.ts';
import type { Repository, Snapshot } from '../../store/index.ts';
import {
  audit,
  auditWords,
  type ChangeSource,
  checksumSource,
  confidence,
  fullSource,
  ToldUnits,
  Trust,
} from '../../track/index.ts';
import { auditVolume } from './audit-volume.ts';
import { backupChanges, type ChangesRequest } from './backup-changes.ts';
import { init, type Kind, noise, open, readAsDevice } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;
const CHUNKS = 40;
const SIZE = CHUNKS * CHUNK - 1000;

/** Random bytes that a seed gives. */
function seeded(seed: number): Random {
  let count = 0;
  return {
    fill(target) {
      const draws = new Draws(seed, count++);
      for (let at = 0; at < target.byteLength; at++) target[at] = draws.below(256);
    },
  };
}

/** Claims that just `changed` changed. */
function claims(changed: readonly Extent[]): ChangeSource {
  return {
    name: 'tracker',
    changes: async ({ since }) =>
      since === undefined
        ? { kind: 'cannot-say', source: 'tracker', reason: 'first', why: 'it begins' }
        : {
            kind: 'changes',
            source: 'tracker',
            precision: 'exact',
            changed,
            reason: 'it says so',
            finish: async () => undefined,
          },
  };
}

async function deviceOf(bytes: Uint8Array): Promise<Device> {
  const device = memory('disk', bytes.byteLength);
  await device.write(bytes, 0, 0);
  return device;
}

/** A volume with chunks of data, a zeroed and a hole part, backed up once. */
async function begun(kind: Kind = 'plain') {
  const bytes = noise(SIZE, 1);
  bytes.fill(0, 30 * CHUNK, 34 * CHUNK);
  const objects = memoryStore('audit');
  await init(env, objects, kind);
  const repository = await open(env, objects);
  const run = (device: Device, sources: ChangeSource[], more: Partial<ChangesRequest> = {}) =>
    backupChanges(env, repository, device, {
      ...{ volume: 'disk', origin: 'here', choice: 'auto', auditShare: 1 },
      sources: [...sources, checksumSource(), fullSource()],
      ...more,
    });
  const { snapshot } = await run(await deviceOf(bytes), []);
  return { bytes, repository, run, snapshot };
}

/** The bytes with a change in each of these chunks. */
function changedIn(bytes: Uint8Array, ...chunks: number[]): Uint8Array {
  const changed = bytes.slice();
  for (const chunk of chunks) changed[chunk * CHUNK + 77]! ^= 1;
  return changed;
}

const chunkAt = (chunk: number): Extent => ({ offsetBytes: chunk * CHUNK + 77, lengthBytes: 1 });

/** A place for what is known of whom to believe, in a world of its own. */
async function withTrust(run: (trust: Trust, again: () => Promise<Trust>) => Promise<void>) {
  const world = simulatedEnv(1);
  const folder = {
    directory: '/trust',
    makeDirectory: () => world.env.files.makeDirectory('/trust'),
  };
  const at = () => Trust.open(world.env, folder, 'disk');
  // Repositories are outside of that world: calls are made one by one.
  const trust = await world.run(at);
  const outside = {
    doubt: (source) => trust.doubt(source),
    distrust: (source, why) => world.run(() => trust.distrust(source, why)),
    restore: (source) => world.run(() => trust.restore(source)),
  } satisfies Pick<Trust, 'doubt' | 'distrust' | 'restore'>;
  await run(outside as Trust, () => world.run(at));
}

async function auditOf(
  repository: Repository,
  parent: Snapshot,
  device: Device,
  told: readonly Extent[],
  share: number,
  random: Random,
) {
  const units = new ToldUnits(parent);
  for (const extent of told) units.add(extent);
  return audit({ repository, parent, device, told: units, share, random });
}

test('what was written while it was read, and would be told now, is no lie', async () => {
  const { bytes, run } = await begun();
  for (const [later, passedOver, isLie] of [
    [[chunkAt(7), chunkAt(9)], 2, false],
    [[chunkAt(7)], 1, true],
    [undefined, 0, true],
  ] as const) {
    const source = claims([chunkAt(3)]);
    const live: ChangeSource = {
      name: 'tracker',
      changes: async (question) => ({
        ...(await source.changes(question)),
        toldNow: async () => later,
      }),
    };
    const result = await run(await deviceOf(changedIn(bytes, 3, 7, 9)), [live]);
    assert.equal(result.audit?.passedOver, passedOver);
    assert.equal(result.untoldBy !== undefined, isLie);
    // The next round begins where this one did.
    await run(await deviceOf(bytes), [], { choice: 'full' });
  }
});

for (const kind of ['plain', 'encrypted'] as const) {
  test(`${kind}: read as a whole, every change that was not told is found, and no other`, async () => {
    const { bytes, repository, snapshot } = await begun(kind);
    const device = await deviceOf(changedIn(bytes, 3, 31, CHUNKS - 1, 12));
    const told = [chunkAt(12)];
    const report = await auditOf(repository, snapshot, device, told, 1, env.random);
    assert.deepEqual(
      report.untold.map(({ offsetBytes }) => offsetBytes / CHUNK),
      [3, 31, CHUNKS - 1],
    );
    assert.deepEqual([report.clean, report.sampled], [CHUNKS - 1, CHUNKS - 1]);
    const honest = await auditOf(repository, snapshot, await deviceOf(bytes), [], 1, env.random);
    assert.deepEqual([honest.untoldCount, honest.sampled], [0, CHUNKS]);
  });
}

test('over a thousand seeds untold changes are found as often as the report states', async () => {
  const { bytes, repository, snapshot } = await begun();
  for (const [share, chunks] of [
    [0.05, [7]],
    [0.05, [2, 7, 11, 19, 23]],
    [0.2, [0, CHUNKS - 1]],
  ] as const) {
    const device = await deviceOf(changedIn(bytes, ...chunks));
    let found = 0;
    for (let seed = 0; seed < 1000; seed++) {
      const report = await auditOf(repository, snapshot, device, [], share, seeded(seed));
      if (report.untoldCount > 0) found++;
    }
    const stated = confidence(share, chunks.length);
    const deviation = Math.sqrt((stated * (1 - stated)) / 1000);
    const off = Math.abs(found / 1000 - stated);
    assert.ok(off < 4 * deviation, `${share} of ${chunks}: found ${found}, stated ${stated}`);
  }
});

test('every clean unit is drawn equally often, beside whatever was told', async () => {
  const { bytes, repository, snapshot } = await begun();
  const device = await deviceOf(changedIn(bytes, ...Array.from({ length: CHUNKS }, (_, at) => at)));
  const told = [chunkAt(5), { offsetBytes: 8 * CHUNK, lengthBytes: 3 * CHUNK }];
  const counts = new Array<number>(CHUNKS).fill(0);
  for (let seed = 0; seed < 800; seed++) {
    const report = await auditOf(repository, snapshot, device, told, 0.25, seeded(seed + 5000));
    for (const { offsetBytes } of report.untold) counts[offsetBytes / CHUNK]!++;
  }
  for (const [chunk, count] of counts.entries()) {
    const isTold = chunk === 5 || (chunk >= 8 && chunk < 11);
    const expected = isTold ? 0 : 200;
    assert.ok(Math.abs(count - expected) <= (isTold ? 0 : 62), `chunk ${chunk}: ${count} times`);
  }
});

test('an untold change is healed: nothing of the lie is committed, and the source is doubted', () =>
  withTrust(async (trust, again) => {
    const { bytes, repository, run, snapshot } = await begun();
    const after = changedIn(bytes, 3, 9, 20);
    const device = await deviceOf(after);
    const result = await run(device, [claims([chunkAt(3)])], { trust });
    assert.equal(result.untoldBy, 'tracker');
    assert.equal(result.audit?.untoldCount, 2);
    assert.equal(result.snapshot.source, 'checksum');
    assert.equal(repository.snapshots('disk').length, 2);
    assert.equal(result.parent?.id, snapshot.id);
    assert.ok(equalBytes(await readAsDevice(repository, result.snapshot), after));
    assert.match(String((await again()).doubt('tracker')), /an audit found it out/);
    assert.equal((await again()).doubt('qemu'), undefined);
  }));

test('who is doubted is believed again once a comparison finds nothing untold', () =>
  withTrust(async (trust) => {
    const { bytes, run } = await begun();
    let now = changedIn(bytes, 3, 9);
    await run(await deviceOf(now), [claims([chunkAt(3)])], { trust });
    now = changedIn(now, 14, 15);
    const still = await run(await deviceOf(now), [claims([chunkAt(14)])], { trust });
    assert.equal(still.snapshot.source, 'checksum');
    assert.deepEqual(still.believedAgain, []);
    assert.equal(still.passed[0]?.reason, 'untrusted');
    now = changedIn(now, 16);
    const honest = await run(await deviceOf(now), [claims([chunkAt(16)])], { trust });
    assert.deepEqual([honest.snapshot.source, honest.believedAgain], ['checksum', ['tracker']]);
    now = changedIn(now, 17);
    const trusted = await run(await deviceOf(now), [claims([chunkAt(17)])], { trust });
    assert.equal(trusted.snapshot.source, 'tracker');
  }));

test('an audit alone commits nothing if all is as told, and heals if not', () =>
  withTrust(async (trust) => {
    const { bytes, repository } = await begun();
    const request = (changed: Extent[]): ChangesRequest => ({
      ...{ volume: 'disk', origin: 'here', choice: 'auto', auditShare: 1, trust },
      sources: [claims(changed), checksumSource(), fullSource()],
    });
    const after = changedIn(bytes, 3);
    const device = await deviceOf(after);
    const honest = await auditVolume(env, repository, device, request([chunkAt(3)]));
    assert.deepEqual([honest.report?.untoldCount, honest.healed], [0, undefined]);
    assert.equal(repository.snapshots('disk').length, 1);
    const lie = await auditVolume(env, repository, device, request([]));
    assert.equal(lie.report?.untoldCount, 1);
    assert.ok(equalBytes(await readAsDevice(repository, lie.healed!.snapshot), after));
    const doubted = await auditVolume(env, repository, device, request([]));
    assert.deepEqual([doubted.report, doubted.source], [undefined, 'checksum']);
  }));

test('what was overwritten since, or cannot be read, proves nothing and is counted so', async () => {
  const { bytes, repository, snapshot } = await begun();
  const base = await deviceOf(bytes);
  const device: Device = {
    ...base,
    name: base.name,
    sizeBytes: base.sizeBytes,
    read(target: Uint8Array, offsetBytes: number) {
      const chunk = offsetBytes / CHUNK;
      const hint = 'None.';
      if (chunk === 4) throw new DeviceError('DEVICE_CLOSED', 'it is gone', { hint });
      if (chunk === 5) throw new DeviceError('DEVICE_IO', 'a bad sector', { hint });
      return base.read(target, offsetBytes);
    },
  } as Device;
  const report = await auditOf(repository, snapshot, device, [], 1, env.random);
  assert.deepEqual([report.passedOver, report.sampled, report.untoldCount], [2, CHUNKS - 2, 0]);
});

test('the words say what a share is worth', () => {
  const report = {
    ...{ unitBytes: CHUNK, clean: 16384, sampled: 82, passedOver: 0, share: 0.005 },
    ...{ untold: [], untoldCount: 0 },
  };
  assert.equal(
    auditWords(report),
    '82 of 16,384 clean chunks of 64 KiB read again, all as told; 0.50 % finds one untold chunk ' +
      'with probability 0.0050, one of a hundred with 0.39',
  );
  assert.match(auditWords({ ...report, untoldCount: 3 }), /3 had changed untold$/);
  assert.match(auditWords({ ...report, sampled: 0 }), /proves nothing$/);
});
