/** Crash trials of an object store: random histories, power cuts in their midst, a verdict. */
import { type Env, equalBytes, hasCode } from '../src/core/index.ts';
import type { ObjectStore } from '../src/objects/index.ts';
import type { SimulatedDisk } from './disk.ts';
import { Draws, hash32 } from './draws.ts';
import { simulatedEnv, type World } from './world.ts';

export type OpenStore = (env: Env) => Promise<ObjectStore>;

export type CrashTrial = {
  readonly open: OpenStore;
  /** One sync of this kind fails, at a seeded moment. */
  readonly failsSync?: 'sync' | 'sync-directory';
};

const keys = ['head', 'log/1', 'log/2', 'log/3', 'packs/aa/1', 'packs/aa/2', 'packs/bb/1', 'old/1'];
/** Only these are ever removed, so that the others must stay. */
const removable = ['old/1', 'packs/bb/1'];

const STEPS_PER_WRITER = 5;
const OBJECT_BYTES_MAX = 3000;
const CRASHES_PER_EVENT = 1 / 12;

/** What may and must be found under one name. */
type Expectation = { attempts: Uint8Array[]; kept: Uint8Array | undefined; taken: boolean };
type History = Map<string, Expectation>;

type Moment = { readonly event: number; readonly disk: SimulatedDisk; readonly history: History };

/** Runs one seeded history; answers with everything that a power cut showed to be wrong. */
export async function tryCrashes(seed: number, trial: CrashTrial): Promise<string[]> {
  const draws = new Draws(seed, 1);
  const world = simulatedEnv(seed, { shortTransfers: draws.chance(0.5) });
  if (trial.failsSync !== undefined) {
    const number = 1 + draws.below(8);
    world.disk.inject({ operation: trial.failsSync, number, code: 'ENV_IO' });
  }
  const history: History = new Map(
    keys.map((key) => [key, { attempts: [], kept: undefined, taken: false }]),
  );
  const moments: Moment[] = [];
  const cuts = new Draws(seed, 2);
  await world.runObserved(
    () => work(world, trial.open, history, draws),
    (event) => {
      if (cuts.chance(CRASHES_PER_EVENT)) moments.push(momentOf(world, seed, event, history));
      return 'go-on';
    },
  );
  moments.push(momentOf(world, seed, world.eventCount, history));
  const problems: string[] = [];
  for (const moment of moments) problems.push(...(await judge(seed, trial.open, moment)));
  return problems;
}

/** What the first of many seeds finds; undefined if none of them finds anything. */
export async function firstProblem(
  seedCount: number,
  trial: CrashTrial,
): Promise<{ readonly seed: number; readonly problem: string } | undefined> {
  for (let seed = 0; seed < seedCount; seed++) {
    const [problem] = await tryCrashes(seed, trial);
    if (problem !== undefined) return { seed, problem };
  }
  return undefined;
}

function momentOf(world: World, seed: number, event: number, history: History): Moment {
  const copy: History = new Map();
  for (const [key, { attempts, kept, taken }] of history) {
    copy.set(key, { attempts: [...attempts], kept, taken });
  }
  return { event, disk: world.disk.crash(hash32(seed, event)), history: copy };
}

async function work(world: World, open: OpenStore, history: History, draws: Draws): Promise<void> {
  await using store = await open(world.env);
  const writerCount = 1 + draws.below(4);
  const writers = Array.from({ length: writerCount }, async (_, writer) => {
    const own = new Draws(world.eventCount, writer, draws.below(2 ** 31));
    for (let step = 0; step < STEPS_PER_WRITER; step++) await takeStep(store, history, own);
  });
  await Promise.all(writers);
}

async function takeStep(store: ObjectStore, history: History, draws: Draws): Promise<void> {
  const removes = draws.chance(0.15);
  const key = draws.pick(removes ? removable : keys);
  try {
    if (removes) await store.remove(key);
    else await put(store, key, history.get(key)!, draws);
  } catch (error) {
    if (!hasCode(error, 'OBJECT_IO') && !hasCode(error, 'OBJECT_EXISTS')) throw error;
  }
}

async function put(
  store: ObjectStore,
  key: string,
  expected: Expectation,
  draws: Draws,
): Promise<void> {
  const bytes = new Uint8Array(draws.below(OBJECT_BYTES_MAX));
  draws.fill(bytes);
  expected.attempts.push(bytes);
  try {
    if (draws.chance(0.5)) await store.putIfAbsent(key, bytes);
    else {
      await using writer = await store.create(key);
      const cut = draws.below(bytes.byteLength + 1);
      await writer.append(bytes.subarray(0, cut));
      await writer.append(bytes.subarray(cut));
      await writer.commit();
    }
    expected.kept = bytes;
  } catch (error) {
    if (hasCode(error, 'OBJECT_EXISTS')) expected.taken = true;
    throw error;
  }
}

/** Opens the store on what the power cut left, compares it, and uses it. */
async function judge(seed: number, open: OpenStore, moment: Moment): Promise<string[]> {
  const world = simulatedEnv(seed + 1, { disk: moment.disk });
  const problems: string[] = [];
  const complain = (key: string, what: string): void => {
    problems.push(`seed ${seed}, power cut after event ${moment.event}: ${key} ${what}`);
  };
  await world.run(async () => {
    await using store = await open(world.env);
    const found = new Map<string, number>();
    for (const [key, expected] of moment.history) {
      const bytes = await read(store, key);
      if (bytes !== undefined) found.set(key, bytes.byteLength);
      const problem = compare(key, expected, bytes);
      if (problem !== undefined) complain(key, problem);
    }
    const listed = new Map<string, number>();
    for await (const { key, sizeBytes } of store.list('')) listed.set(key, sizeBytes);
    const expected = [...found].toSorted(([a], [b]) => (a < b ? -1 : 1));
    if (JSON.stringify([...listed]) !== JSON.stringify(expected)) complain('list', 'is wrong');
    await store.putIfAbsent('packs/new/1', Uint8Array.of(1));
  });
  return problems;
}

async function read(store: ObjectStore, key: string): Promise<Uint8Array | undefined> {
  try {
    return await store.get(key, OBJECT_BYTES_MAX);
  } catch (error) {
    if (hasCode(error, 'OBJECT_NOT_FOUND')) return undefined;
    throw error;
  }
}

function compare(
  key: string,
  { attempts, kept, taken }: Expectation,
  bytes: Uint8Array | undefined,
): string | undefined {
  if (bytes === undefined) {
    if (removable.includes(key)) return undefined;
    if (kept !== undefined) return 'was put and is gone';
    return taken ? 'was said to exist and is gone' : undefined;
  }
  if (!attempts.some((attempt) => equalBytes(attempt, bytes))) {
    const zeroes = bytes.every((byte) => byte === 0);
    return `holds ${bytes.byteLength} bytes that nobody put${zeroes ? ', all zero' : ''}`;
  }
  if (removable.includes(key) || kept === undefined || equalBytes(kept, bytes)) return undefined;
  return `was put, and changed: ${Buffer.from(bytes.subarray(0, 8)).toString('hex')}...`;
}
