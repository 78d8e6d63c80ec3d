/** Goal: 200 backups killed with SIGKILL at random moments never cost a committed snapshot. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Draws } from '../sim/index.ts';
import { codecPool } from '../src/codec/index.ts';
import { nodeEnv } from '../src/core/index.ts';
import { memory } from '../src/device/index.ts';
import { directoryStore } from '../src/objects/index.ts';
import { check, Repository, type Snapshot } from '../src/store/index.ts';
import { backup, restore } from '../src/transfer/backup/index.ts';
import { start } from './interop/processes.ts';

const KILLS = 200;
const SNAPSHOTS_PER_REPOSITORY = 4;
/** Trials that run side by side. */
const LANES = 2;
/** Every stored byte is verified after each of so many kills. */
const CHECK_EVERY = 20;

const MiB = 2 ** 20;
const VOLUME_BYTES = 32 * MiB;
const CONTENT_BYTES = 3 * MiB;
/** A run seals several packs. */
const PACK_BYTES = MiB / 4;
/** One for each MiB of content, the last for the hole behind it: then only the commit is left. */
const STEPS = CONTENT_BYTES / MiB + 1;

const child = fileURLToPath(new URL('./kill-backup.fixture.ts', import.meta.url));
/** Threads cost more than they save here; the processes that are killed use them. */
const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

/** Of the content; behind it there is nothing but a hole. */
function hashOf(volume: Uint8Array): string {
  return createHash('sha256').update(volume.subarray(0, CONTENT_BYTES)).digest('hex');
}

/** Seeded noise, made faster than by drawing numbers. */
function noise(lengthBytes: number, seed: number): Uint8Array {
  return createHash('shake256', { outputLength: lengthBytes }).update(`${seed}`).digest();
}

/** Writes more than half of the content anew: most of it noise, some text, some small changes. */
function change(volume: Uint8Array, draws: Draws): void {
  for (let at = 0; at < CONTENT_BYTES; at += MiB / 2) {
    const kind = draws.below(5);
    const part = volume.subarray(at, at + MiB / 2);
    if (kind < 3) part.set(noise(part.byteLength, draws.below(2 ** 32)));
    else if (kind === 3) part.fill(draws.below(256), draws.below(1000), 200_000);
    else part[draws.below(part.byteLength)] = draws.below(256);
  }
}

async function openRepository(path: string): Promise<Repository> {
  return Repository.open(env, await directoryStore(env.files, path, env.random));
}

async function restoredHash(repository: Repository, snapshot: Snapshot): Promise<string> {
  const device = memory('target', snapshot.sizeBytes);
  await restore(env, repository, snapshot, device, { blank: true });
  const bytes = new Uint8Array(CONTENT_BYTES);
  await device.read(bytes, 0);
  const rest = await device.extents(VOLUME_BYTES - CONTENT_BYTES, CONTENT_BYTES, 10);
  assert.deepEqual(new Set(rest.map(({ kind }) => kind)), new Set(['hole']));
  return hashOf(bytes);
}

type Trial = {
  readonly repositoryPath: string;
  readonly imagePath: string;
  readonly volume: Uint8Array;
  /** Hashes by snapshot. */
  readonly committed: Map<string, string>;
};

/** From the first step to the end, and from the last one: what the moments are spread over. */
type Times = { readonly runMs: number; readonly commitMs: number };

async function timesOf(trial: Trial): Promise<Times> {
  const words = [child, trial.repositoryPath, trial.imagePath, `${PACK_BYTES}`];
  await using running = start(process.execPath, words);
  await running.line('step 0');
  const begin = env.clock.monotonicMs();
  await running.line(`step ${STEPS}`);
  const lastStep = env.clock.monotonicMs();
  const [, id = ''] = (await running.line(/^done /)).split(' ');
  const end = env.clock.monotonicMs();
  trial.committed.set(id, hashOf(trial.volume));
  await running.finished();
  return { runMs: end - begin, commitMs: end - lastStep };
}

/** Writes the content; the rest of the file is a hole. */
async function writeImage({ imagePath, volume }: Trial): Promise<void> {
  await writeFile(imagePath, volume.subarray(0, CONTENT_BYTES));
  await truncate(imagePath, VOLUME_BYTES);
}

/** Runs one backup and kills it; true unless it was faster. */
async function killOne(
  { repositoryPath, imagePath, volume, committed }: Trial,
  times: Times,
  draws: Draws,
): Promise<boolean> {
  const words = [child, repositoryPath, imagePath, `${PACK_BYTES}`];
  await using running = start(process.execPath, words);
  await running.line('step 0');
  // A third of them die around the commit: behind the last step, before the end.
  const late = draws.chance(1 / 3);
  if (late) await running.line(`step ${STEPS}`);
  await delay(draws.unit() * (late ? times.commitMs : times.runMs));
  running.kill('SIGKILL');
  const { stdout, stderr, signal } = await running.finished();
  assert.equal(stderr, '');
  const done = /^done ([0-9a-f]{32})$/m.exec(stdout)?.[1];
  if (done !== undefined) committed.set(done, hashOf(volume));
  return signal === 'SIGKILL' && done === undefined;
}

/** All that was committed is there and right; what else is there is what was being written. */
async function verify({ repositoryPath, volume, committed }: Trial): Promise<void> {
  await using repository = await openRepository(repositoryPath);
  const found = repository.snapshots();
  const ids = new Set(found.map(({ id }) => id));
  for (const id of committed.keys()) assert(ids.has(id), `snapshot ${id} is lost`);
  for (const snapshot of found) {
    // The commit may have been the last thing that the process did, before it could tell.
    if (!committed.has(snapshot.id)) committed.set(snapshot.id, hashOf(volume));
    const hash = await restoredHash(repository, snapshot);
    assert.equal(hash, committed.get(snapshot.id), `snapshot ${snapshot.id} restores wrongly`);
  }
}

async function nextBackup({ repositoryPath, volume, committed }: Trial): Promise<number> {
  await using repository = await openRepository(repositoryPath);
  const device = memory('source', VOLUME_BYTES);
  await device.write(volume.subarray(0, CONTENT_BYTES), 0, 0);
  const request = { volume: 'disk', origin: 'test', changeSource: 'full' };
  const result = await backup(env, repository, device, request);
  committed.set(result.snapshot.id, hashOf(volume));
  return result.adoptedPacks;
}

async function checkAll({ repositoryPath }: Trial): Promise<void> {
  await using repository = await openRepository(repositoryPath);
  await using pool = codecPool(env, 0);
  const report = await check(repository, { readData: true, pool });
  assert.deepEqual(report.problems, []);
}

type Tally = { runs: number; kills: number; tooLate: number; adopted: number };

test('backups killed at random moments', { timeout: 1_200_000 }, async (t: TestContext) => {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-kill-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const tally: Tally = { runs: 0, kills: 0, tooLate: 0, adopted: 0 };
  const tell = () => {
    const { kills, tooLate, adopted } = tally;
    t.diagnostic(`${kills} killed, ${tooLate} had ended before, ${adopted} packs taken up`);
  };
  await Promise.all(Array.from({ length: LANES }, () => runLane(folder, tally, tell)));
  tell();
  assert(tally.kills >= KILLS, `${tally.kills} were killed`);
});

async function runLane(folder: string, tally: Tally, tell: () => void): Promise<void> {
  let trial: Trial | undefined;
  let times: Times | undefined;
  while (tally.kills < KILLS && tally.runs < KILLS * 2) {
    const run = tally.runs++;
    const draws = new Draws(run, 4);
    if (trial === undefined || trial.committed.size >= SNAPSHOTS_PER_REPOSITORY) {
      if (trial !== undefined) await rm(trial.repositoryPath, { recursive: true });
      trial = await newTrial(folder, run);
    }
    change(trial.volume, draws);
    await writeImage(trial);
    times ??= await timesOf(trial);
    if (await killOne(trial, times, draws)) tally.kills++;
    else tally.tooLate++;
    await verify(trial);
    tally.adopted += await nextBackup(trial);
    if (run % CHECK_EVERY === 0) await checkAll(trial);
    if ((run + 1) % 25 === 0) tell();
  }
  if (trial !== undefined) await checkAll(trial);
}

async function newTrial(folder: string, run: number): Promise<Trial> {
  const repositoryPath = join(folder, `repository-${run}`);
  await using objects = await directoryStore(env.files, repositoryPath, env.random);
  await Repository.init(env, objects);
  return {
    repositoryPath,
    imagePath: join(folder, `image-${run}`),
    volume: new Uint8Array(VOLUME_BYTES),
    committed: new Map(),
  };
}
