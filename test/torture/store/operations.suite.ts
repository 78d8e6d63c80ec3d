/** All that a torture trial does to a repository, in one list: add new commands here. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Draws } from '../../../sim/index.ts';
import { codecPool } from '../../../src/codec/index.ts';
import { type Env, FerryError, hasCode } from '../../../src/core/index.ts';
import { type Device, memory } from '../../../src/device/index.ts';
import { memoryStore, type ObjectStore } from '../../../src/objects/index.ts';
import { check, type Repository, type Snapshot } from '../../../src/store/index.ts';
import { backup, restore } from '../../../src/transfer/backup/index.ts';
import { init, open } from '../../../src/transfer/backup/model-repository.fixture.ts';
import { copy } from '../../../src/transfer/copy/index.ts';
import { changed, type Model, type Shape, type Version } from './model.suite.ts';

/** Where operations run: an Env, and how to come by the repository and the volumes. */
export type Place = {
  readonly env: Env;
  objects(): Promise<ObjectStore>;
  source(step: Step): Promise<Device>;
  readonly packTargetBytes: number;
  /** How long garbage collection watches a writer without a lock. */
  readonly gcWaitMs: number;
  /** Few bits, so that unequal chunks collide. */
  readonly fingerprintBits: number;
};

/** One operation, decided upon; without `version` it can be told to another process. */
export type Step = {
  readonly name: OperationName;
  readonly volume?: string;
  readonly version?: Version;
  readonly ids?: readonly string[];
  readonly digest?: string;
};

type Operation = {
  /** How often it is chosen. */
  readonly weight: number;
  /** Decides, and notes in the model what may now happen. */
  plan(model: Model, shape: Shape, draws: Draws): Omit<Step, 'name'> | undefined;
  /** Answers with what `done` wants to know. */
  run(place: Place, repository: Repository, step: Step): Promise<string>;
  /** Notes what has happened. */
  done?(model: Model, step: Step, answer: string): void;
};

const volumes = ['alpha', 'beta', 'gamma'];
/** A repository keeps about so many: enough for patches to stand upon each other. */
const SNAPSHOTS_WANTED = 6;

const backupOperation: Operation = {
  weight: 5,
  plan(model, shape, draws) {
    const volume = draws.pick(volumes);
    const version = changed(model, volume, shape, draws);
    model.volumes.set(volume, version);
    model.pending.add(version);
    return { volume, version };
  },
  async run(place, repository, step) {
    await using device = await place.source(step);
    const { snapshot } = await backup(place.env, repository, device, {
      volume: step.volume!,
      origin: 'torture',
      changeSource: 'full',
      packTargetBytes: place.packTargetBytes,
    });
    return snapshot.id;
  },
  done(model, { version }, id) {
    model.kept.set(id, version!);
    model.pending.delete(version!);
  },
};

/**
 * The new version comes by way of another repository, which has a copy of the one before. Never
 * chosen by weight, which would give every seed another course: it takes the place of a backup.
 */
const copyOperation: Operation = {
  ...backupOperation,
  weight: 0,
  async run(place, repository, step) {
    const { env, packTargetBytes } = place;
    const other = memoryStore('other');
    await init(env, other, 'plain', { chunkBytes: repository.superblock.chunkBytes });
    await using between = await open(env, other);
    const before = repository.latest(step.volume!);
    if (before !== undefined) await copyOf(env, repository, between, before);
    const id = await backupOperation.run(place, between, step);
    const made = between.snapshots().find((snapshot) => snapshot.id === id)!;
    const copied = await copyOf(env, between, repository, made, packTargetBytes);
    assert(copied !== undefined, 'nobody forgets in the other repository');
    return copied;
  },
};

/** The id of the copy; undefined if somebody forgot the snapshot meanwhile. */
async function copyOf(
  env: Env,
  source: Repository,
  destination: Repository,
  snapshot: Snapshot,
  packTargetBytes?: number,
): Promise<string | undefined> {
  const request = packTargetBytes === undefined ? {} : { packTargetBytes };
  const { copied, refused } = await copy(env, source, destination, [snapshot], request);
  assert(refused.every(({ reason }) => reason === 'forgotten'));
  return copied[0]?.copy.id;
}

const restoreOperation: Operation = {
  weight: 1,
  plan(model, _shape, draws) {
    const ids = [...model.kept.keys()].filter((id) => !model.leaving.has(id));
    if (ids.length === 0) return undefined;
    const id = draws.pick(ids);
    return { ids: [id], digest: digestOf(model.kept.get(id)!) };
  },
  async run({ env }, repository, { ids, digest }) {
    const snapshot = repository.snapshots().find(({ id }) => id === ids![0]);
    if (snapshot === undefined) return 'gone';
    const found = await restoredDigest(env, repository, snapshot);
    assert.equal(found, digest, `${snapshot.id} restores wrongly`);
    return 'right';
  },
  done(model, { ids }, answer) {
    const there = model.kept.has(ids![0]!) && !model.leaving.has(ids![0]!);
    assert(answer === 'right' || !there, `${ids![0]} is not listed`);
  },
};

const checkOperation: Operation = {
  weight: 1,
  plan: () => ({}),
  async run({ env }, repository) {
    await using pool = codecPool(env, 0);
    const { problems } = await check(repository, { readData: true, pool });
    // A read that fails is found too: as an error it passes where a fault was planted, only there.
    const failed = problems.find(({ code }) => code === 'STORE_IO');
    if (failed !== undefined) throw new FerryError(failed.code, failed.message, { hint: '' });
    assert.deepEqual(problems, []);
    return '';
  },
};

const forgetOperation: Operation = {
  weight: 3,
  plan(model, _shape, draws) {
    const ids = [...model.kept.keys()].filter((id) => !model.leaving.has(id));
    const many = ids.length - SNAPSHOTS_WANTED;
    const wanted = draws.chance(0.7) ? Math.max(1, many) : ids.length;
    const chosen: string[] = [];
    for (let at = 0; at < wanted && ids.length > 0; at++) {
      chosen.push(...ids.splice(draws.below(ids.length), 1));
    }
    if (chosen.length === 0) return undefined;
    for (const id of chosen) model.leaving.add(id);
    return { ids: chosen };
  },
  async run(_place, repository, { ids }) {
    await repository.forget(repository.snapshots().filter(({ id }) => ids!.includes(id)));
    return '';
  },
  done(model, { ids }) {
    for (const id of ids!) {
      model.kept.delete(id);
      model.leaving.delete(id);
      model.gone.add(id);
    }
  },
};

/**
 * Without use: packs of which nothing is needed are dropped, sparse ones are rewritten. What is
 * similar is stored anew in every other state of the log: that takes no draw from a seed's course.
 */
const gcOperation: Operation = {
  weight: 3,
  plan: () => ({}),
  async run({ packTargetBytes, gcWaitMs }, repository) {
    const similar = repository.log.state.sequence % 2 === 0;
    await repository.collectGarbage({ packTargetBytes, waitMs: gcWaitMs, similar });
    return '';
  },
};

export const operations = {
  backup: backupOperation,
  copy: copyOperation,
  restore: restoreOperation,
  forget: forgetOperation,
  gc: gcOperation,
  check: checkOperation,
} as const satisfies Record<string, Operation>;

export type OperationName = keyof typeof operations;

/** Chooses by weight; what cannot be done now is left out. */
export function planStep(model: Model, shape: Shape, draws: Draws): Step {
  const all = Object.entries(operations) as [OperationName, Operation][];
  const total = all.reduce((sum, [, { weight }]) => sum + weight, 0);
  for (;;) {
    let at = draws.below(total);
    const [name, operation] = all.find(([, { weight }]) => {
      at -= weight;
      return at < 0;
    })!;
    const step = operation.plan(model, shape, draws);
    if (step !== undefined) return { name, ...step };
  }
}

/** Decides upon one operation of this kind. */
export function planOne(name: OperationName, model: Model, shape: Shape, draws: Draws): Step {
  const step = operations[name].plan(model, shape, draws);
  assert(step !== undefined, `${name} cannot be done now`);
  return { name, ...step };
}

export async function openAt(place: Place): Promise<Repository> {
  const fingerprints = { bits: place.fingerprintBits };
  return open(place.env, await place.objects(), { fingerprints });
}

/** There is a snapshot that nobody is forgetting yet. */
export function mayForget(model: Model): boolean {
  return [...model.kept.keys()].some((id) => !model.leaving.has(id));
}

/** Opens the repository, runs the step, and closes it again. */
export async function runStep(place: Place, step: Step): Promise<string> {
  await using repository = await openAt(place);
  const operation: Operation = operations[step.name];
  return await operation.run(place, repository, step);
}

export function noteDone(model: Model, step: Step, answer: string): void {
  const operation: Operation = operations[step.name];
  operation.done?.(model, step, answer);
}

/** Errors that one of several writers may meet: nothing is wrong, and nothing was done. */
const harmless = ['STORE_FENCED', 'STORE_BUSY'];

/** Runs a step and notes what came of it. An error passes only if others could be its reason. */
export async function carryOut(place: Place, model: Model, step: Step): Promise<void> {
  try {
    noteDone(model, step, await runStep(place, step));
  } catch (error) {
    if (!isHarmless(model, step, error)) throw error;
    if (step.version !== undefined) model.pending.delete(step.version);
  }
}

function isHarmless(model: Model, { name, ids }: Step, error: unknown): boolean {
  if (harmless.some((code) => hasCode(error, code))) return true;
  if (name !== 'restore' || !(error instanceof FerryError)) return false;
  return model.leaving.has(ids![0]!) || model.gone.has(ids![0]!);
}

export function digestOf({ bytes, sizeBytes }: Version): string {
  return createHash('sha256').update(`${sizeBytes} `).update(trimmed(bytes)).digest('hex');
}

/** Without the zeroes at the end: they may have come back as a hole. */
function trimmed(bytes: Uint8Array): Uint8Array {
  let end = bytes.byteLength;
  while (end > 0 && zeroes.compare(bytes, Math.max(0, end - zeroes.byteLength), end) === 0) {
    end -= zeroes.byteLength;
  }
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

const zeroes = Buffer.alloc(65_536);

/** Content is never longer than this. */
const CONTENT_BYTES_MAX = 16 * 1024 * 1024;

/** Of what a snapshot restores to, written over what must not shine through. */
export async function restoredDigest(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
): Promise<string> {
  const { sizeBytes } = snapshot;
  await using target = memory('target', sizeBytes);
  const bytes = new Uint8Array(Math.min(sizeBytes, CONTENT_BYTES_MAX));
  if (sizeBytes === bytes.byteLength) await target.write(bytes.fill(0xaa), 0, 0);
  await restore(env, repository, snapshot, target, { blank: sizeBytes > bytes.byteLength });
  await target.read(bytes, 0);
  const rest = await target.extents(sizeBytes - bytes.byteLength, bytes.byteLength, 10);
  assert(rest.every(({ kind }) => kind === 'hole'));
  return digestOf({ volume: snapshot.volume, sizeBytes, bytes });
}
