/** Goal: a tracker answers for the snapshot that it was told of, and for no other. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv, type World } from '../../../sim/index.ts';
import { memory } from '../../device/index.ts';
import type { Snapshot } from '../../store/index.ts';
import type { ChangeAnswer } from '../change-source.ts';
import { BLOCK_BYTES, REGION_BYTES_MIN } from './limits.ts';
import type { Identity } from './state.ts';
import { Tracker } from './tracker.ts';
import { stoppedTrackerSource } from './tracker-source.ts';

const SIZE = 4 * REGION_BYTES_MIN;
const first = { id: 'aaaaaaaa11', digest: 'd1', volume: 'vm', sizeBytes: SIZE } as Snapshot;
const second = { id: 'bbbbbbbb22', digest: 'd2', volume: 'vm', sizeBytes: SIZE } as Snapshot;
const device = memory('disk', SIZE);
const committed = (snapshot: Snapshot) => ({ kind: 'committed', snapshot }) as const;

class Place {
  readonly world: World;
  flushes = 0;
  flushFails = false;
  identity: Identity = {
    ...{ kind: 'file', device: 1, inode: 2, sizeBytes: SIZE, modifiedMs: 5, changedMs: 6 },
  };

  constructor(world: World) {
    this.world = world;
  }

  get options() {
    const identify = async () => this.identity;
    return { directory: '/t', volume: 'vm', sizeBytes: SIZE, identify };
  }

  async export(...blocks: number[]): Promise<void> {
    await using tracker = await Tracker.open(this.world.env, this.options);
    for (const block of blocks) {
      await tracker.heat(block, block);
      assert(tracker.touch(block, block));
    }
  }

  ask(since: Snapshot | undefined): Promise<ChangeAnswer> {
    const flush = async () => {
      this.flushes++;
      if (this.flushFails) throw new Error('the disk is gone');
    };
    const options = { ...this.options, consumer: 'repository:1', flush };
    const source = stoppedTrackerSource(this.world.env, options);
    return source.changes({ volume: 'vm', device, since });
  }
}

function inPlace(run: (place: Place) => Promise<void>): Promise<void> {
  const world = simulatedEnv(1);
  return world.run(async () => {
    await world.env.files.makeDirectory('/t');
    await run(new Place(world));
  });
}

async function blocksOf(answer: ChangeAnswer): Promise<number[]> {
  assert(answer.kind === 'changes', JSON.stringify(answer));
  const blocks = [];
  for await (const { offsetBytes, lengthBytes } of answer.changed) {
    for (let at = 0; at < lengthBytes; at += BLOCK_BYTES) {
      blocks.push((offsetBytes + at) / BLOCK_BYTES);
    }
  }
  return blocks;
}

function cannot(answer: ChangeAnswer, reason: string): Promise<void> {
  assert(answer.kind === 'cannot-say');
  assert.equal(answer.reason, reason);
  return answer.finish?.({ kind: 'failed' }) ?? Promise.resolve();
}

test('a volume that was never exported has no tracker, and gets none', () =>
  inPlace(async (place) => {
    const answer = await place.ask(first);
    await cannot(answer, 'absent');
    assert.deepEqual(await place.world.env.files.list('/t'), ['lock']);
  }));

test('the first backup is its beginning; the next is told exactly what came after', () =>
  inPlace(async (place) => {
    await place.export(1);
    const beginning = await place.ask(undefined);
    assert(beginning.kind === 'cannot-say' && beginning.reason === 'first');
    await beginning.finish!(committed(first));
    await place.export(7, 3000);
    const answer = await place.ask(first);
    assert.deepEqual(await blocksOf(answer), [7, 3000]);
    assert(answer.kind === 'changes' && answer.precision === 'exact');
    await answer.finish(committed(second));
    const next = await place.ask(second);
    assert.deepEqual(await blocksOf(next), []);
    await next.finish!({ kind: 'failed' });
  }));

test('after a run that failed, all of it and what came since is told again', () =>
  inPlace(async (place) => {
    await place.export();
    await (await place.ask(undefined)).finish!(committed(first));
    await place.export(7);
    await (await place.ask(first)).finish!({ kind: 'failed' });
    await place.export(9);
    const answer = await place.ask(first);
    assert.deepEqual(await blocksOf(answer), [7, 9]);
    await answer.finish!(committed(second));
  }));

test('of a snapshot that it was not told of it says nothing', () =>
  inPlace(async (place) => {
    await place.export();
    await (await place.ask(undefined)).finish!(committed(first));
    await place.export(7);
    await cannot(await place.ask(second), 'stale');
    const forged = { ...first, digest: 'other' } as Snapshot;
    await cannot(await place.ask(forged), 'stale');
  }));

test('a source that was written behind its back is not answered for, and the state stays', () =>
  inPlace(async (place) => {
    await place.export();
    await (await place.ask(undefined)).finish!(committed(first));
    const before = place.identity;
    place.identity = { ...before, modifiedMs: 99 };
    await cannot(await place.ask(first), 'behind-its-back');
    place.identity = before; // It was another file at that place, say.
    assert.deepEqual(await blocksOf(await place.ask(first)), []);
  }));

test('what is written while a stopped volume is read is seen the next time', () =>
  inPlace(async (place) => {
    await place.export();
    const answer = await place.ask(undefined);
    place.identity = { ...place.identity, modifiedMs: 50 };
    await answer.finish!(committed(first));
    await cannot(await place.ask(first), 'behind-its-back');
  }));

test('nothing is acknowledged before the source is durable', () =>
  inPlace(async (place) => {
    await place.export();
    place.flushFails = true;
    const beginning = await place.ask(undefined);
    await assert.rejects(beginning.finish!(committed(first)), /the disk is gone/);
    assert.equal(place.flushes, 1);
    place.flushFails = false;
    await cannot(await place.ask(first), 'first');
  }));

test('while an export runs, only it may be asked', () =>
  inPlace(async (place) => {
    await using _tracker = await Tracker.open(place.world.env, place.options);
    await cannot(await place.ask(first), 'busy');
  }));

test('after a kill it answers with a superset, and says so', () =>
  inPlace(async (place) => {
    await place.export();
    await (await place.ask(undefined)).finish!(committed(first));
    const process = place.world.startProcess('export');
    const tracker = await Tracker.open(process.env, place.options);
    await tracker.heat(5, 5);
    tracker.touch(5, 5);
    process.kill();
    const answer = await place.ask(first);
    assert(answer.kind === 'changes');
    assert.equal(answer.precision, 'superset');
    assert.match(answer.reason, /1 regions whole/);
    assert.ok((await blocksOf(answer)).includes(5));
    await answer.finish(committed(second));
  }));
