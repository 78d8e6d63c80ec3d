/** Goal: a profile outlives stops, and its loss is told and harmless. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../../sim/index.ts';
import { type Env, readFully, writeFully } from '../../core/index.ts';
import { emptyParts } from './access-profile.ts';
import { HALF_LIFE_SECONDS, PROFILE_REGION_BYTES_MIN, PROFILE_SAVE_MS } from './limits.ts';
import { type KeeperOptions, ProfileKeeper, profileIn } from './profile-keeper.ts';

const REGION = PROFILE_REGION_BYTES_MIN;
const SIZE = 40 * REGION + 512;
const PATH = '/t/profile';

function open(env: Env, more: Partial<KeeperOptions> = {}): Promise<ProfileKeeper> {
  const tracker = { id: 'ab', began: { reason: 'first', why: '' } } as const;
  const usual = { directory: '/t', volume: 'vm', sizeBytes: SIZE, tracker };
  return ProfileKeeper.open(env, { ...usual, onTrouble: assert.ifError, ...more });
}

function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const world = simulatedEnv(1);
  return world.run(async () => {
    await world.env.files.makeDirectory('/t');
    await world.env.files.syncDirectory('/');
    await run(world);
  });
}

/** Three writes of region 5, one read of region 7, kept. */
async function keep(env: Env, more: Partial<KeeperOptions> = {}): Promise<void> {
  await using keeper = await open(env, more);
  for (let count = 0; count < 3; count++) keeper.profile.written(5 * REGION, 4096);
  keeper.profile.read(7 * REGION, 4096);
}

function passed({ env }: World, ms: number): Promise<void> {
  return new Promise<void>((resolve) => {
    env.clock.after(ms, resolve, { keepsProcess: true });
  });
}

for (const sizeBytes of [SIZE, 2 ** 40]) {
  test(`counts of ${sizeBytes} bytes outlive a clean stop, and fade while nobody looks`, () =>
    inWorld(async (world) => {
      const { env } = world;
      await keep(env, { sizeBytes });
      await passed(world, HALF_LIFE_SECONDS * 1000);
      await using keeper = await open(env, { sizeBytes });
      assert.equal(keeper.lost, undefined);
      const { writes, sinceWriteSeconds } = keeper.profile.region(5);
      assert.ok(Math.abs(writes - 1.5) < 0.01, `${writes} writes`);
      assert.ok(Math.abs(sinceWriteSeconds! - HALF_LIFE_SECONDS) < 5);
      assert.ok(Math.abs(keeper.profile.totals().reads - 0.5) < 0.01);
      using told = (await profileIn(env, { directory: '/t', volume: 'vm' }))!;
      assert.deepEqual(told.hottest(9, 'writes'), keeper.profile.hottest(9, 'writes'));
      assert.deepEqual(told.workingSet(7200), keeper.profile.workingSet(7200));
    }));
}

test('what the sketch knows outlives a stop too', () =>
  inWorld(async ({ env }) => {
    const sizeBytes = 2 ** 40;
    const regions = emptyParts(sizeBytes).known.keys.length + 5000;
    const before = await open(env, { sizeBytes });
    for (let region = 0; region < regions; region++) before.profile.written(region * REGION, 512);
    await before[Symbol.asyncDispose]();
    await using after = await open(env, { sizeBytes });
    for (let region = 0; region < regions; region += 97) {
      assert.deepEqual(after.profile.region(region), before.profile.region(region));
    }
  }));

test('a kill costs what was counted since it was last saved', () =>
  inWorld(async (world) => {
    const first = world.startProcess('first');
    const keeper = await open(first.env);
    keeper.profile.written(5 * REGION, 4096);
    await passed(world, PROFILE_SAVE_MS + 60_000);
    keeper.profile.written(6 * REGION, 4096);
    first.kill();
    await using later = await open(world.env);
    assert.equal(later.lost, undefined);
    assert.ok(later.profile.region(5).writes > 0.8);
    assert.equal(later.profile.region(6).writes, 0);
  }));

test('whatever a power cut leaves while it is saved, the old or the new one is taken up', async () => {
  let [old, now] = [0, 0];
  for (let at = 1; ; at++) {
    const world = simulatedEnv(at);
    let events = 0;
    let isSaving = false;
    const end = await world.runObserved(
      async () => {
        await world.env.files.makeDirectory('/t');
        await world.env.files.syncDirectory('/');
        await keep(world.env);
        await using keeper = await open(world.env);
        keeper.profile.written(5 * REGION, 4096);
        isSaving = true;
        await keeper.save();
        isSaving = false;
      },
      () => (isSaving && ++events === at ? 'cut' : 'go-on'),
    );
    const after = simulatedEnv(at, { disk: world.disk.crash(at) });
    await after.run(async () => {
      await using keeper = await open(after.env);
      assert.equal(keeper.lost, undefined);
      const writes = Math.round(keeper.profile.region(5).writes);
      if (writes === 3) old++;
      else if (writes === 4) now++;
      else assert.fail(`${writes} writes`);
    });
    if (!end.cut) break;
  }
  assert.ok(old > 0 && now > 0, `${old} of the old one, ${now} of the new`);
});

test('damage anywhere is told, and the profile begins anew', () =>
  inWorld(async ({ env }) => {
    await keep(env);
    const file = await env.files.open(PATH, 'update');
    const { sizeBytes } = await file.stat();
    const whole = new Uint8Array(sizeBytes);
    await readFully(file, whole, 0);
    for (let at = 0; at < sizeBytes; at += 41) {
      const damaged = whole.slice();
      damaged[at]! ^= 0x10;
      await writeFully(file, damaged, 0);
      await assertAnew(env);
    }
    for (const length of [0, 1, Math.floor(sizeBytes / 2), sizeBytes - 1]) {
      await file.truncate(0);
      await writeFully(file, whole.subarray(0, length), 0);
      await assertAnew(env);
    }
    await file.close();
  }));

async function assertAnew(env: Env): Promise<void> {
  await using keeper = await open(env);
  assert.match(keeper.lost ?? '', /^the profile of vm cannot be used: /);
  assert.equal(keeper.profile.region(5).writes, 0);
  const place = { directory: '/t', volume: 'vm' };
  await assert.rejects(profileIn(env, place), { code: 'TRACK_STATE' });
}

test('a profile of another volume, size or source is not taken for this one', () =>
  inWorld(async ({ env }) => {
    const replaced = { id: 'cd', began: { reason: 'replaced', why: '' } } as const;
    const behind = { id: 'ef', began: { reason: 'behind-its-back', why: '' } } as const;
    await keep(env);
    for (const [more, isTaken, isTold] of [
      [{ volume: 'other' }, false, true],
      [{ sizeBytes: SIZE + 512 }, false, true],
      [{ tracker: behind }, true, false],
      [{ tracker: replaced }, false, false],
    ] as const) {
      await using keeper = await open(env, more);
      assert.equal(keeper.profile.region(5).writes > 2, isTaken, JSON.stringify(more));
      assert.equal(keeper.lost !== undefined, isTold, JSON.stringify(more));
    }
    await keep(env, { tracker: replaced });
    await using keeper = await open(env, { tracker: replaced });
    assert.ok(keeper.profile.region(5).writes > 2, 'its own profile is given up');
  }));

test('a host whose clock went back does not make accesses younger', () =>
  inWorld(async ({ env }) => {
    await keep(env);
    const clock = { ...env.clock, wallMs: () => 0, monotonicMs: () => env.clock.monotonicMs() };
    await using keeper = await open({ ...env, clock });
    assert.ok(keeper.profile.region(5).writes > 2.9);
    assert.ok(keeper.profile.region(5).sinceWriteSeconds! < 5);
  }));
