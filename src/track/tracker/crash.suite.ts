/** Trials of a tracker on a disk that forgets: what it tells after a crash is never too little. */
import assert from 'node:assert/strict';
import { Draws, hash32, type SimulatedDisk, simulatedEnv } from '../../../sim/index.ts';
import type { Env } from '../../core/index.ts';
import { type Device, memory } from '../../device/index.ts';
import { BLOCK_BYTES, REGION_BYTES_MIN } from './limits.ts';
import { type TrackedDevice, tracked } from './tracked-device.ts';
import { Tracker } from './tracker.ts';

const REGIONS = 6;
const SIZE = REGIONS * REGION_BYTES_MIN;
const BLOCKS = SIZE / BLOCK_BYTES;
const DIRECTORY = '/t';
const WRITERS = 3;
const STEPS = 6;
const CONSUMERS = ['repository', 'provider'];

/** What a test may make wrong; each must be found. */
export type Plant = {
  readonly env?: (env: Env) => Env;
  readonly tracker?: (tracker: Tracker) => Tracker;
};

/** The first `count` writes, but those that were in flight at its cut. */
type Held = {
  readonly epoch: number;
  readonly count: number;
  readonly inFlight: ReadonlySet<number>;
};

/** One life of the volume, or several: all that was given to the device, in order. */
type History = {
  readonly issued: number[];
  /** By consumer: what of `issued` its snapshot surely has, and at which epoch. */
  readonly held: Map<string, Held>;
};

type Moment = { readonly event: number; readonly disk: SimulatedDisk; readonly history: History };

function copyOf({ issued, held }: History): History {
  return { issued: [...issued], held: new Map(held) };
}

/** Remembers each block at the moment in which the device gets it; some answers come later. */
function recording(env: Env, draws: Draws, history: History): Device & { pending: Set<number> } {
  const base = memory('disk', SIZE);
  const pending = new Set<number>();
  const change = (lengthBytes: number, offsetBytes: number): Promise<void> | undefined => {
    const ids: number[] = [];
    for (let at = 0; at < lengthBytes; at += BLOCK_BYTES) {
      ids.push(history.issued.push((offsetBytes + at) / BLOCK_BYTES) - 1);
    }
    if (draws.chance(0.5)) return undefined;
    for (const id of ids) pending.add(id);
    return new Promise((resolve) => {
      env.clock.after(1 + draws.below(30), () => {
        for (const id of ids) pending.delete(id);
        resolve();
      });
    });
  };
  return {
    ...{ name: base.name, sizeBytes: SIZE, blockSizes: base.blockSizes, readOnly: false },
    ...{ hints: base.hints, durable: true, pending },
    read: (target, offsetBytes) => base.read(target, offsetBytes),
    write: (source, offsetBytes) => change(source.byteLength, offsetBytes),
    flush: () => undefined,
    zero: (lengthBytes, offsetBytes) => change(lengthBytes, offsetBytes),
    trim: (lengthBytes, offsetBytes) => change(lengthBytes, offsetBytes),
    extents: (length, offsetBytes, limit) => base.extents(length, offsetBytes, limit),
    [Symbol.asyncDispose]: () => base[Symbol.asyncDispose](),
  };
}

async function write(env: Env, device: TrackedDevice, draws: Draws): Promise<void> {
  const bytes = new Uint8Array(4 * BLOCK_BYTES);
  for (let step = 0; step < STEPS; step++) {
    const count = 1 + draws.below(4);
    const offset = draws.below(BLOCKS - 4) * BLOCK_BYTES;
    const length = count * BLOCK_BYTES;
    const kind = draws.below(10);
    if (kind === 0) await device.zero(length, offset, 0);
    else if (kind === 1) await device.trim(length, offset, 0);
    else await device.write(bytes.subarray(0, length), offset, 0);
    if (draws.chance(0.3)) await pause(env, draws.below(15_000));
  }
}

function pause(env: Env, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    env.clock.after(delayMs, resolve);
  });
}

/** Cuts, and acknowledges most of them; what was in flight at a cut it does not rely on. */
async function consume(
  env: Env,
  device: TrackedDevice,
  consumer: string,
  history: History,
  pending: ReadonlySet<number>,
  draws: Draws,
): Promise<void> {
  for (let round = 0; round < 3; round++) {
    await pause(env, draws.below(200));
    const count = history.issued.length;
    const inFlight = new Set(pending);
    await using cut = device.cut();
    await cut.sealed;
    await pause(env, draws.below(60));
    if (!draws.chance(0.7)) continue;
    await device.tracker.acknowledge(consumer, cut, { snapshot: `s${cut.epoch}`, digest: 'd' });
    history.held.set(consumer, { count, inFlight, epoch: cut.epoch });
  }
}

async function live(env: Env, seed: number, life: number, history: History, plant: Plant) {
  const options = {
    ...{ directory: DIRECTORY, volume: 'vm', sizeBytes: SIZE },
    identify: async () => undefined,
  };
  const real = await Tracker.open(plant.env?.(env) ?? env, options);
  const tracker = plant.tracker?.(real) ?? real;
  const base = recording(env, new Draws(seed, life, 50), history);
  const device = tracked({ base, tracker });
  const writers = Array.from({ length: WRITERS }, (_, writer) =>
    write(env, device, new Draws(seed, life, writer)),
  );
  const consumers = CONSUMERS.map((consumer, at) =>
    consume(env, device, consumer, history, base.pending, new Draws(seed, life, 90 + at)),
  );
  await Promise.all([...writers, ...consumers]);
  await real[Symbol.asyncDispose]();
}

/** What each consumer is told after the crash holds every block that it does not have. */
async function judge(seed: number, { event, disk, history }: Moment): Promise<void> {
  const world = simulatedEnv(seed + 1, { disk });
  const where = `seed ${seed}, crash after event ${event}`;
  await world.run(async () => {
    await world.env.files.makeDirectory(DIRECTORY);
    const options = {
      ...{ directory: DIRECTORY, volume: 'vm', sizeBytes: SIZE },
      identify: async () => undefined,
    };
    await using tracker = await Tracker.open(world.env, options);
    for (const [consumer, { count, inFlight, epoch }] of history.held) {
      const cursor = tracker.cursor(consumer);
      assert(cursor !== undefined, `${where}: the cursor of ${consumer} is gone`);
      assert(cursor.epoch >= epoch, `${where}: the cursor of ${consumer} went back`);
      const map = await tracker.changes(cursor.epoch);
      assert(map !== undefined, `${where}: ${consumer} is told nothing`);
      // A later acknowledgement may be durable already, and not yet known to have succeeded.
      if (cursor.epoch > epoch) continue;
      for (const [id, block] of history.issued.entries()) {
        if (id < count && !inFlight.has(id)) continue;
        assert(map.test(block), `${where}: ${consumer} is not told of block ${block}`);
      }
      map.release();
    }
  });
}

export type TrialOptions = { readonly plant?: Plant; readonly cutsPerEvent?: number };

/** Two lives, one killed at a drawn event; every drawn event is a power cut. Answers how many. */
export async function tryCrashes(seed: number, options: TrialOptions = {}): Promise<number> {
  const { plant = {}, cutsPerEvent = 1 / 8 } = options;
  const world = simulatedEnv(seed);
  const history: History = { issued: [], held: new Map() };
  const moments: Moment[] = [];
  const draws = new Draws(seed, 99);
  const killedAt = 20 + draws.below(150);
  const first = world.startProcess('first');
  const killed = Promise.withResolvers<void>();
  await world.runObserved(
    async () => {
      await world.env.files.makeDirectory(DIRECTORY);
      await world.env.files.syncDirectory('/');
      await Promise.race([live(first.env, seed, 1, history, plant), killed.promise]);
      await live(world.env, seed, 2, history, plant);
    },
    (event) => {
      if (event === killedAt) {
        first.kill();
        killed.resolve();
      }
      if (draws.chance(cutsPerEvent)) {
        const disk = world.disk.crash(hash32(seed, event));
        moments.push({ event, disk, history: copyOf(history) });
      }
      return 'go-on';
    },
  );
  moments.push({ event: -1, disk: world.disk, history: copyOf(history) });
  for (const moment of moments) await judge(seed, moment);
  return moments.length;
}

/** The tracker with some methods replaced; all else is bound to the real one. */
export function withMethods(tracker: Tracker, methods: Partial<Tracker>): Tracker {
  return new Proxy(tracker, {
    get(target, key) {
      const planted = (methods as { [key: string | symbol]: unknown })[key];
      if (planted !== undefined) return planted;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
