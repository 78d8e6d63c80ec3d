/** Goal: whenever the power is cut, a kept layer has every flushed write and nothing else's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draws, hash32, type SimulatedDisk, simulatedEnv } from '../../sim/index.ts';
import { type Env, hasCode } from '../core/index.ts';
import { type Device, FUA } from './device.ts';
import { openKeptLayer } from './kept-layer.ts';
import { memory } from './memory.ts';
import { readOnly } from './read-only.ts';

const SEEDS = 120;
const SIZE = 3 * 4096 + 700;
const CUTS_PER_EVENT = 1 / 12;
const WRITERS = 3;
const STEPS = 8;

/** One change; later ones of the list are later in time where they overlap: writers do not meet. */
type Change = {
  offset: number;
  length: number;
  value: number;
  life: number;
  settled: boolean;
  kept: boolean;
};
type Moment = { readonly event: number; readonly disk: SimulatedDisk; readonly changes: Change[] };

const baseBytes = Uint8Array.from({ length: SIZE }, (_, index) => 200 + (index % 50));

const memoryBase = memory('base', SIZE);
await memoryBase.write(baseBytes, 0, 0);
/** Each layer closes its own view of the base. */
const options = () => ({
  ...{ identity: 'snapshot 1', directory: '/layer' },
  base: readOnly(memoryBase),
});

/** Each writer has every third part of 100 bytes: they share blocks and sectors, but no byte. */
function place(draws: Draws, writer: number): { offset: number; length: number } {
  const part = draws.below(Math.floor(SIZE / 300)) * 3 + writer;
  const from = draws.below(100);
  return { offset: part * 100 + from, length: 1 + draws.below(100 - from) };
}

async function write(
  device: Device,
  changes: Change[],
  { life, writer }: { life: number; writer: number },
  draws: Draws,
): Promise<void> {
  for (let step = 0; step < STEPS; step++) {
    const value = draws.chance(0.2) ? 0 : 1 + draws.below(190);
    const change = { ...place(draws, writer), value, life, settled: false, kept: false };
    const flags = draws.chance(0.2) ? FUA : 0;
    changes.push(change);
    if (value === 0) await device.zero(change.length, change.offset, flags);
    else await device.write(new Uint8Array(change.length).fill(value), change.offset, flags);
    change.settled = true;
    change.kept = flags === FUA;
    if (!draws.chance(0.3)) continue;
    // What an earlier life did not flush has gone with it.
    const covered = changes.filter((one) => one.settled && one.life === life);
    await device.flush();
    for (const one of covered) one.kept = true;
  }
}

async function live(env: Env, seed: number, life: number, changes: Change[]): Promise<void> {
  await using layer = await openKeptLayer(env.files, options());
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    try {
      await write(layer.device, changes, { life, writer }, new Draws(seed, life, writer));
    } catch (error) {
      if (!hasCode(error, 'DEVICE_IO') && !hasCode(error, 'DEVICE_FLUSH_FAILED')) throw error;
    }
  });
  await Promise.all(writers);
}

/** A byte may be what was kept last, or what any later change made it. */
function checkBytes(bytes: Uint8Array, changes: readonly Change[], where: string): void {
  const kept = baseBytes.slice();
  const keptBy = new Int32Array(SIZE).fill(-1);
  for (const [at, { offset, length, value, kept: isKept }] of changes.entries()) {
    if (!isKept) continue;
    kept.fill(value, offset, offset + length);
    keptBy.fill(at, offset, offset + length);
  }
  for (let i = 0; i < SIZE; i++) {
    if (bytes[i] === kept[i]) continue;
    const isLater = ({ offset, length, value }: Change, at: number) =>
      at > keptBy[i]! && offset <= i && i < offset + length && value === bytes[i];
    assert.ok(changes.some(isLater), `${where}: byte ${i} is ${bytes[i]}, not ${kept[i]}`);
  }
}

async function judge(seed: number, { event, disk, changes }: Moment): Promise<void> {
  const world = simulatedEnv(seed + 1, { disk });
  const where = `seed ${seed}, power cut after event ${event}`;
  await world.run(async () => {
    await using layer = await openKeptLayer(world.env.files, options());
    const bytes = new Uint8Array(SIZE);
    await layer.device.read(bytes, 0);
    checkBytes(bytes, changes, where);
    await layer.device.write(Uint8Array.of(1), 0, FUA);
  });
}

type Trouble = {
  /** Which sync fails, counted from 1. */
  readonly failingSync?: number;
  /** After which event the first process is killed. */
  readonly killedAt?: number;
};

/** Two processes one after the other: cuts hit the making of a layer and the taking up of one. */
async function tryCuts(seed: number, { failingSync = 0, killedAt }: Trouble): Promise<number> {
  const world = simulatedEnv(seed, { shortTransfers: seed % 2 === 0 });
  const number = failingSync;
  if (number > 0) world.disk.inject({ operation: 'sync', number, code: 'ENV_IO' });
  const first = world.startProcess('first');
  const killed = Promise.withResolvers<void>();
  const changes: Change[] = [];
  const moments: Moment[] = [];
  const cuts = new Draws(seed, 99);
  const snap = (event: number): void => {
    const copy = changes.map((change) => ({ ...change }));
    moments.push({ event, disk: world.disk.crash(hash32(seed, event)), changes: copy });
  };
  await world.runObserved(
    async () => {
      // Making the layer may itself meet the failing sync.
      const mayFail = (error: unknown): void =>
        assert.ok(number > 0 && hasCode(error, 'DEVICE_IO'));
      await Promise.race([live(first.env, seed, 1, changes).catch(mayFail), killed.promise]);
      await live(world.env, seed, 2, changes).catch(mayFail);
    },
    (event) => {
      if (event === killedAt) {
        first.kill();
        killed.resolve();
      }
      if (cuts.chance(CUTS_PER_EVENT)) snap(event);
      return 'go-on';
    },
  );
  snap(world.eventCount);
  for (const moment of moments) await judge(seed, moment);
  return moments.length;
}

test('after a power cut every flushed or forced write is there, and no byte is invented', async () => {
  let cuts = 0;
  for (let seed = 0; seed < SEEDS; seed++) cuts += await tryCuts(seed, {});
  assert.ok(cuts > 5 * SEEDS, `only ${cuts} cuts were tried`);
});

test('the same holds when one sync fails: what was not promised may be lost, nothing else', async () => {
  for (let seed = 0; seed < SEEDS; seed++) await tryCuts(seed, { failingSync: 1 + (seed % 12) });
});

test('the same holds when a process was killed before, and another took its layer up', async () => {
  for (let seed = 0; seed < SEEDS; seed++) await tryCuts(seed, { killedAt: 1 + seed });
});

test('a power cut in a discard leaves all of the layer or none of it, never a refusal', async () => {
  const outcomes = new Set<number>();
  for (let seed = 0; seed < 10; seed++) {
    const world = simulatedEnv(seed, {});
    const disks: SimulatedDisk[] = [];
    let discarding = false;
    await world.runObserved(
      async () => {
        await using layer = await openKeptLayer(world.env.files, options());
        await layer.device.write(new Uint8Array(SIZE), 0, FUA);
        discarding = true;
        await layer.discard();
      },
      (event) => {
        if (discarding) disks.push(world.disk.crash(hash32(seed, event)));
        return 'go-on';
      },
    );
    for (const disk of disks) {
      const after = simulatedEnv(seed, { disk });
      await after.run(async () => {
        await using layer = await openKeptLayer(after.env.files, options());
        outcomes.add(layer.device.changedBytes());
        const bytes = new Uint8Array(SIZE);
        await layer.device.read(bytes, 0);
        const whole = layer.device.changedBytes() === SIZE;
        assert.deepEqual(bytes, whole ? new Uint8Array(SIZE) : baseBytes, `seed ${seed}`);
      });
    }
  }
  assert.deepEqual([...outcomes].sort(), [0, SIZE]);
});
