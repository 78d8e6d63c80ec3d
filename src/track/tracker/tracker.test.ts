/** Goal: marks outlive stops and crashes; what cannot be vouched for any more is said, with why. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, simulatedEnv } from '../../../sim/index.ts';
import { type Env, EnvError, writeFully } from '../../core/index.ts';
import { memory } from '../../device/index.ts';
import { TrackError } from '../errors.ts';
import { BLOCK_BYTES, HOT_REGIONS_MAX, LOG_BYTES_MIN, REGION_BYTES_MIN } from './limits.ts';
import type { Identity } from './state.ts';
import { tracked } from './tracked-device.ts';
import { begun, blocksOf, holding, identity, inWorld, mark, open, SIZE } from './tracker.suite.ts';

test('after a clean stop the marks are exact, and the cursor stands where it stood', () =>
  inWorld(async ({ env }) => {
    await (await begun(env))[Symbol.asyncDispose]();
    await using tracker = await open(env);
    const cursor = tracker.cursor('repository')!;
    assert.deepEqual([cursor.snapshot, cursor.digest, cursor.volume], ['s1', 'd1', 'vm']);
    assert.equal(cursor.tracker, tracker.id);
    assert.deepEqual(await blocksOf(tracker, cursor.epoch), [3, 5000]);
    assert.equal(tracker.unsureRegions, 0);
  }));

test('after a kill the regions that were hot count as a whole, and no other', () =>
  inWorld(async (world) => {
    const first = world.startProcess('first');
    const tracker = await begun(first.env);
    const { epoch } = tracker.cursor('repository')!;
    first.kill();
    await using later = await open(world.env);
    const blocks = new Set(await blocksOf(later, epoch));
    assert.ok(blocks.has(3) && blocks.has(5000) && blocks.has(0));
    assert.equal(blocks.size, 2 * later.shape.blocksPerRegion);
    assert.equal(later.unsureRegions, 2);
  }));

test('regions that were quiet for a while are exact after a kill', () =>
  inWorld(async (world) => {
    const first = world.startProcess('first');
    const tracker = await begun(first.env);
    const { epoch } = tracker.cursor('repository')!;
    await new Promise<void>((resolve) => {
      world.env.clock.after(60_000, resolve);
    });
    first.kill();
    await using later = await open(world.env);
    assert.deepEqual(await blocksOf(later, epoch), [3, 5000]);
  }));

for (const [name, now, reason] of [
  ['written by somebody else', { ...identity, modifiedMs: 7 }, 'behind-its-back'],
  ['touched so that only its change time tells', { ...identity, changedMs: 7 }, 'behind-its-back'],
  ['replaced by another file', { ...identity, inode: 3 }, 'replaced'],
] as const) {
  test(`a source that was ${name} between two runs is not vouched for`, () =>
    inWorld(async ({ env }) => {
      const before = await begun(env);
      await before[Symbol.asyncDispose]();
      await using tracker = await open(env, { identify: async () => now });
      assert.equal(tracker.cursor('repository'), undefined);
      assert.equal(tracker.whyBroken('repository')?.reason, reason);
      assert.notEqual(tracker.id, before.id);
      assert.ok(tracker.epoch > before.epoch, 'an epoch number is used twice');
      assert.deepEqual(await blocksOf(tracker, tracker.epoch), []);
    }));
}

test('a source of another size, or the state of another volume, begins anew and says so', () =>
  inWorld(async ({ env }) => {
    await (await begun(env))[Symbol.asyncDispose]();
    const sizeBytes = SIZE + REGION_BYTES_MIN;
    const larger = { sizeBytes, identify: async () => ({ ...identity, sizeBytes }) };
    await using resized = await open(env, larger);
    assert.equal(resized.whyBroken('repository')?.reason, 'resized');
    await resized[Symbol.asyncDispose]();
    await using other = await open(env, { ...larger, volume: 'other' });
    assert.equal(other.began.reason, 'replaced');
  }));

test('of a block device the times mean nothing', () =>
  inWorld(async ({ env }) => {
    const device: Identity = { ...identity, kind: 'block-device' };
    const first = await open(env, { identify: async () => device });
    await using cut = first.cut();
    await first.acknowledge('repository', cut, holding);
    await cut[Symbol.asyncDispose]();
    await first[Symbol.asyncDispose]();
    await using later = await open(env, { identify: async () => ({ ...device, modifiedMs: 99 }) });
    assert.ok(later.cursor('repository') !== undefined);
  }));

test('two processes cannot have one tracker', () =>
  inWorld(async ({ env }) => {
    await using _tracker = await open(env);
    await assert.rejects(open(env), { code: 'TRACK_BUSY' });
  }));

test('what one consumer acknowledges, another is told all the same; sets go when nobody needs them', () =>
  inWorld(async ({ env }) => {
    await using tracker = await open(env);
    const round = async (consumer: string, block: number) => {
      await mark(tracker, block);
      await using cut = tracker.cut();
      await tracker.acknowledge(consumer, cut, holding);
    };
    await round('a', 1);
    await round('b', 2);
    await round('a', 3);
    await round('a', 4);
    await mark(tracker, 5);
    assert.deepEqual(await blocksOf(tracker, tracker.cursor('b')!.epoch), [3, 4, 5]);
    assert.deepEqual(await blocksOf(tracker, tracker.cursor('a')!.epoch), [5]);
    await round('b', 6);
    assert.deepEqual(await blocksOf(tracker, tracker.cursor('a')!.epoch), [5, 6]);
    await round('a', 7);
    await tracker.forget('b');
    const sets = (await env.files.list('/t')).filter((name) => name.startsWith('set-'));
    assert.deepEqual(sets, []);
  }));

test('cuts that nobody acknowledges add up to one set', () =>
  inWorld(async ({ env }) => {
    await using tracker = await begun(env);
    for (let block = 10; block < 14; block++) {
      await mark(tracker, block);
      await using cut = tracker.cut();
      await cut.sealed;
    }
    const sets = (await env.files.list('/t')).filter((name) => name.startsWith('set-'));
    assert.equal(sets.length, 1);
    const { epoch } = tracker.cursor('repository')!;
    assert.deepEqual(await blocksOf(tracker, epoch), [3, 10, 11, 12, 13, 5000]);
  }));

test('a set that cannot be written leaves its epoch with the next one', () =>
  inWorld(async ({ env, disk }) => {
    await using tracker = await begun(env);
    disk.inject({ operation: 'rename', number: 1, code: 'ENV_NO_SPACE' });
    await using failed = tracker.cut();
    await assert.rejects(failed.sealed, { code: 'ENV_NO_SPACE' });
    await mark(tracker, 9);
    await using cut = tracker.cut();
    await cut.sealed;
    const { epoch } = tracker.cursor('repository')!;
    assert.deepEqual(await blocksOf(tracker, epoch, cut.epoch), [3, 9, 5000]);
  }));

test('where marks cannot be kept, the device goes on untracked, and nobody is told otherwise', () =>
  inWorld(async ({ env, disk }) => {
    const told: string[] = [];
    const tracker = await begun(env);
    const base = memory('disk', SIZE);
    const device = tracked({ base, tracker, onLost: ({ code }) => told.push(code) });
    disk.inject({ operation: 'sync', number: 1, code: 'ENV_IO' });
    await device.write(Uint8Array.of(7), 3 * REGION_BYTES_MIN, 0);
    await device.write(Uint8Array.of(8), 4 * REGION_BYTES_MIN, 0);
    const byte = new Uint8Array(1);
    await device.read(byte, 4 * REGION_BYTES_MIN);
    assert.deepEqual([byte[0], told], [8, ['TRACK_STATE']]);
    assert.equal(await tracker.changes(tracker.cursor('repository')!.epoch), undefined);
    assert.throws(() => tracker.cut(), { code: 'TRACK_STATE' });
    assert.deepEqual(device.tracking.epochs(), []);
    await tracker[Symbol.asyncDispose]();
    await using later = await open(env);
    assert.equal(later.cursor('repository'), undefined);
    assert.equal(later.began.reason, 'first');
  }));

test('where they can be neither kept nor given up, nothing is written', () =>
  inWorld(async ({ env }) => {
    const files = { ...env.files, remove: () => Promise.reject(noIo('remove')) };
    await using tracker = await open({ ...env, files });
    const base = memory('disk', SIZE);
    const device = tracked({
      base,
      tracker: new Proxy(tracker, {
        get(target, key) {
          if (key === 'heat') return () => Promise.reject(failure);
          const value = Reflect.get(target, key, target) as unknown;
          return typeof value === 'function' ? value.bind(target) : value;
        },
      }),
    });
    await assert.rejects(async () => device.write(Uint8Array.of(1), 0, 0), { code: 'DEVICE_IO' });
    const byte = new Uint8Array(1);
    await base.read(byte, 0);
    assert.equal(byte[0], 0);
  }));

test('the least recently written regions are cleaned when too many are hot', () =>
  inWorld(async ({ env }) => {
    const sizeBytes = (HOT_REGIONS_MAX + 200) * REGION_BYTES_MIN;
    const identify = async () => undefined;
    await using tracker = await open(env, { sizeBytes, identify });
    const { blocksPerRegion } = tracker.shape;
    for (let region = 0; region < HOT_REGIONS_MAX + 100; region++) {
      await mark(tracker, region * blocksPerRegion + 1);
    }
    assert.equal(tracker.touch(0, 0), false, 'the first region is still hot');
    const lastBlock = (HOT_REGIONS_MAX + 99) * blocksPerRegion;
    assert.equal(tracker.touch(lastBlock, lastBlock), true);
  }));

test('the log is made anew before it grows without end, and has everything', () =>
  inWorld(async ({ env }) => {
    const tracker = await begun(env);
    const { epoch } = tracker.cursor('repository')!;
    let largest = 0;
    for (let round = 0; round < 5_000; round++) {
      await tracker.forget(`nobody ${round}`);
      if (round % 500 === 0)
        largest = Math.max(largest, (await env.files.stat('/t/log')).sizeBytes);
    }
    assert.ok(largest < 1.5 * LOG_BYTES_MIN, `${largest} bytes`);
    assert.deepEqual(await blocksOf(tracker, epoch), [3, 5000]);
    await tracker[Symbol.asyncDispose]();
    await using later = await open(env);
    assert.deepEqual(await blocksOf(later, epoch), [3, 5000]);
  }));

test('after a clean stop the log is gone on with, and made anew if it was torn', () =>
  inWorld(async (world) => {
    const { files } = world.env;
    const inode = async () => (await files.stat('/t/log')).inode;
    const tracker = await begun(world.env);
    const { epoch } = tracker.cursor('repository')!;
    await tracker[Symbol.asyncDispose]();
    const kept = await inode();
    const second = world.startProcess('second');
    const again = await open(second.env);
    assert.equal(await inode(), kept);
    await mark(again, 8000);
    second.kill();
    await using later = await open(world.env);
    assert.notEqual(await inode(), kept); // A region was hot.
    const blocks = new Set(await blocksOf(later, epoch));
    assert.ok(blocks.has(3) && blocks.has(5000) && blocks.has(8000));
    await later[Symbol.asyncDispose]();
    const stopped = await inode();
    const { sizeBytes } = await files.stat('/t/log');
    const file = await files.open('/t/log', 'update');
    await writeFully(file, Uint8Array.of(40, 0, 0), sizeBytes);
    await file.close();
    await using last = await open(world.env);
    assert.notEqual(await inode(), stopped);
    assert.deepEqual(new Set(await blocksOf(last, epoch)), blocks);
  }));

test('a log that is gone on with stays the log, though its name was not durable yet', async () => {
  for (let seed = 0; seed < 16; seed++) {
    const world = simulatedEnv(seed);
    await world.run(async () => {
      const { env } = world;
      await env.files.makeDirectory('/t');
      await env.files.syncDirectory('/');
      await (await begun(env))[Symbol.asyncDispose]();
      const file = await env.files.open('/t/log', 'update');
      await writeFully(file, Uint8Array.of(40, 0, 0), (await env.files.stat('/t/log')).sizeBytes);
      await file.sync();
      await file.close();
      // Torn, so it is made anew; the process ends before the new name reaches the disk.
      const files = { ...env.files, syncDirectory: async () => {} };
      await (await open({ ...env, files }))[Symbol.asyncDispose]();
      await mark(await open(env), 8000);
    });
    const after = simulatedEnv(seed, { disk: world.disk.crash(seed) });
    await after.run(async () => {
      await using later = await open(after.env);
      const cursor = later.cursor('repository')!;
      const blocks = await blocksOf(later, cursor.epoch);
      assert.ok(blocks.includes(8000), `with seed ${seed} a change is lost`);
    });
  }
});

test('the log does not grow from run to run, though each is killed', () =>
  inWorld(async (world) => {
    await (await begun(world.env))[Symbol.asyncDispose]();
    for (let run = 0; run < 4; run++) {
      const process = world.startProcess(`run ${run}`);
      const tracker = await open(process.env);
      for (let round = 0; round < 2_500; round++) await tracker.forget(`nobody ${round}`);
      process.kill();
      const { sizeBytes } = await world.env.files.stat('/t/log');
      assert.ok(sizeBytes < 1.5 * LOG_BYTES_MIN, `${sizeBytes} bytes`);
    }
  }));

test('zeroes and discards are told as such, and as data once they are written', () =>
  inWorld(async ({ env }) => {
    const tracker = await open(env);
    const device = tracked({ base: memory('disk', SIZE), tracker });
    await device.zero(4 * BLOCK_BYTES, 0, 0);
    await device.trim(2 * BLOCK_BYTES, 10 * BLOCK_BYTES, 0);
    await device.write(Uint8Array.of(1), BLOCK_BYTES, 0);
    await using cut = tracker.cut();
    await cut.sealed;
    const map = (await tracker.changes(1, cut.epoch))!;
    const kinds = [...map.ranges()].map(({ kind, offsetBytes }) => [offsetBytes / 4096, kind]);
    assert.deepEqual(kinds, [
      [0, 'zero'],
      [1, 'data'],
      [2, 'zero'],
      [10, 'discarded'],
    ]);
  }));

test('a range of many regions is zeroed in parts, and all of it is marked', () =>
  inWorld(async ({ env }) => {
    const sizeBytes = 600 * REGION_BYTES_MIN;
    const identify = async () => undefined;
    const tracker = await open(env, { sizeBytes, identify });
    const device = tracked({ base: memory('disk', sizeBytes), tracker });
    await device.zero(sizeBytes - 5000, 5000, 0);
    const map = (await tracker.changes(tracker.epoch))!;
    const bytes = [...map.ranges()].reduce((sum, range) => sum + range.lengthBytes, 0);
    assert.equal(bytes, sizeBytes - BLOCK_BYTES);
  }));

test('random marks, cuts, stops and ends are told as plain sets would', async () => {
  for (let seed = 1; seed <= 15; seed++) await inWorld((world) => modelRun(world.env, seed), seed);
});

/** Model: for each consumer the blocks written since its last acknowledged cut. */
async function modelRun(env: Env, seed: number): Promise<void> {
  const draws = new Draws(seed, 5);
  let tracker = await open(env);
  const since = new Map<string, Set<number>>();
  const blockCount = tracker.shape.blockCount;
  for (let step = 0; step < 60; step++) {
    const kind = draws.below(10);
    const consumer = `c${draws.below(3)}`;
    if (kind < 6) {
      const block = draws.below(blockCount);
      await mark(tracker, block);
      for (const set of since.values()) set.add(block);
    } else if (kind < 9) {
      await using cut = tracker.cut();
      await cut.sealed;
      if (draws.chance(0.6)) {
        await tracker.acknowledge(consumer, cut, holding);
        since.set(consumer, new Set());
      }
    } else {
      await tracker[Symbol.asyncDispose]();
      tracker = await open(env);
    }
    for (const [who, blocks] of since) {
      const told = await blocksOf(tracker, tracker.cursor(who)!.epoch);
      assert.deepEqual(
        told,
        [...blocks].sort((a, b) => a - b),
        `seed ${seed}, step ${step}, ${who}`,
      );
    }
  }
  await tracker[Symbol.asyncDispose]();
}

const failure = new TrackError('TRACK_STATE', 'the log cannot be written', { hint: 'Nothing.' });

function noIo(call: string): EnvError {
  return new EnvError('ENV_IO', `${call} fails`, { hint: 'Nothing.' });
}
