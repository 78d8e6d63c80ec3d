/** For tests: trackers of a small volume in a simulated world. */
import assert from 'node:assert/strict';
import { simulatedEnv, type World } from '../../../sim/index.ts';
import type { Env } from '../../core/index.ts';
import { REGION_BYTES_MIN } from './limits.ts';
import type { Identity } from './state.ts';
import { Tracker, type TrackerOptions } from './tracker.ts';

export const SIZE = 8 * REGION_BYTES_MIN + 1000;
export const identity: Identity = {
  ...{ kind: 'file', device: 1, inode: 2, sizeBytes: SIZE, modifiedMs: 5, changedMs: 6 },
};

export function open(env: Env, more: Partial<TrackerOptions> = {}): Promise<Tracker> {
  const usual = { directory: '/t', volume: 'vm', sizeBytes: SIZE, identify: async () => identity };
  return Tracker.open(env, { ...usual, ...more });
}

/** A world with a directory for a tracker. */
export function inWorld(run: (world: World) => Promise<void>, seed = 1): Promise<void> {
  const world = simulatedEnv(seed);
  return world.run(async () => {
    await world.env.files.makeDirectory('/t');
    await world.env.files.syncDirectory('/');
    await run(world);
  });
}

export async function mark(tracker: Tracker, ...blocks: number[]): Promise<void> {
  for (const block of blocks) {
    if (tracker.touch(block, block)) continue;
    await tracker.heat(block, block);
    assert(tracker.touch(block, block));
  }
}

export async function blocksOf(tracker: Tracker, epoch: number, until?: number): Promise<number[]> {
  const map = await tracker.changes(epoch, until);
  assert(map !== undefined, `epoch ${epoch} is not known`);
  const blocks = [];
  for (let at = 0; at < map.shape.blockCount; at++) if (map.test(at)) blocks.push(at);
  map.release();
  return blocks;
}

export const holding = { snapshot: 's1', digest: 'd1' };

/** A tracker whose consumer `repository` has a snapshot, with blocks 3 and 5000 written since. */
export async function begun(env: Env): Promise<Tracker> {
  const tracker = await open(env);
  await mark(tracker, 1, 2);
  await using cut = tracker.cut();
  await tracker.acknowledge('repository', cut, holding);
  await mark(tracker, 3, 5000);
  return tracker;
}
