/** For tests: a repository whose snapshots are known byte for byte, and ways to compare it. */
import assert from 'node:assert/strict';
import { codecPool } from '../../codec/index.ts';
import { type Env, equalBytes, FerryError } from '../../core/index.ts';
import { type Device, memory } from '../../device/index.ts';
import type { ObjectStore } from '../../objects/index.ts';
import {
  type CheckReport,
  check,
  type OpenOptions,
  Repository,
  type Snapshot,
} from '../../store/index.ts';
import { type BackupRequest, type BackupResult, backup } from './backup.ts';
import { type RestoreOptions, restore } from './restore.ts';

/** By snapshot id: what it must hold. */
export type Expected = Map<string, Uint8Array>;

/** Pseudo-random bytes that compress a little, the same for the same seed. */
export function noise(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = Math.imul(seed + 1, 0x9e3779b1) >>> 0;
  for (let at = 0; at < lengthBytes; at++) {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + at) >>> 0;
    bytes[at] = (state >>> 13) & 0x3f;
  }
  return bytes;
}

/** A read-only device over the bytes; its extents tell zero pages as holes. */
export async function deviceOf(bytes: Uint8Array): Promise<Device> {
  const device = memory('source', bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += 65536) {
    const part = bytes.subarray(at, at + 65536);
    if (part.some((byte) => byte !== 0)) await device.write(part, at, 0);
  }
  return device;
}

export async function backUp(
  env: Env,
  repository: Repository,
  bytes: Uint8Array,
  request: Partial<BackupRequest> = {},
): Promise<BackupResult> {
  await using device = await deviceOf(bytes);
  const whole = { volume: 'disk', origin: 'test', changeSource: 'full', ...request };
  return await backup(env, repository, device, whole);
}

export async function restored(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
  options: Partial<RestoreOptions> = {},
): Promise<Uint8Array> {
  await using device = memory('target', snapshot.sizeBytes);
  // What was there before must not shine through.
  await device.write(new Uint8Array(Math.min(snapshot.sizeBytes, 2 ** 20)).fill(0xaa), 0, 0);
  await restore(env, repository, snapshot, device, { blank: false, ...options });
  const bytes = new Uint8Array(snapshot.sizeBytes);
  await device.read(bytes, 0);
  return bytes;
}

export async function readAsDevice(
  repository: Repository,
  snapshot: Snapshot,
): Promise<Uint8Array> {
  await using device = await repository.device(snapshot);
  const bytes = new Uint8Array(snapshot.sizeBytes);
  // Odd sizes, so that reads cross every border.
  for (let at = 0; at < bytes.byteLength; at += 98_765) {
    await device.read(bytes.subarray(at, at + 98_765), at);
  }
  return bytes;
}

export async function checked(
  env: Env,
  repository: Repository,
  readData = true,
): Promise<CheckReport> {
  await using pool = codecPool(env, 0);
  return await check(repository, { readData, pool });
}

const PASSWORD = 'correct horse battery staple';

/** What a password costs here, so that tests may open a repository a thousand times. */
const cheapKdf = { logN: 4, r: 1, p: 1 };

/** Suites run over both kinds of repository. */
export const kinds = ['plain', 'encrypted'] as const;
export type Kind = (typeof kinds)[number];

export async function init(
  env: Env,
  objects: ObjectStore,
  kind: Kind,
  options: { readonly chunkBytes?: number } = {},
): Promise<void> {
  const key = { password: PASSWORD, kdf: cheapKdf };
  await Repository.init(env, objects, kind === 'plain' ? options : { ...options, key });
}

/** What unlocks it. */
export const secret = async () => ({ password: PASSWORD });

/** Opens a repository of either kind. */
export async function open(
  env: Env,
  objects: ObjectStore,
  options: OpenOptions = {},
): Promise<Repository> {
  return Repository.open(env, objects, { secret, ...options });
}

/** Every snapshot that was committed is there and restores to what it was, and check is clean. */
export async function verifyAll(
  env: Env,
  objects: ObjectStore,
  expected: Expected,
  options: OpenOptions = {},
): Promise<void> {
  const repository = await open(env, objects, options);
  const known = new Map(repository.snapshots().map((snapshot) => [snapshot.id, snapshot]));
  for (const [id, bytes] of expected) {
    const snapshot = known.get(id);
    assert(snapshot !== undefined, `snapshot ${id} is lost`);
    assert(equalBytes(await restored(env, repository, snapshot), bytes), `${id} restores wrongly`);
  }
  const report = await checked(env, repository);
  assert.deepEqual(report.problems, []);
}

/** What reading gave: right, or a typed error; wrong bytes fail the test. */
export async function rightOrTyped(
  read: () => Promise<Uint8Array>,
  expected: Uint8Array,
  what: string,
): Promise<'right' | FerryError> {
  let bytes: Uint8Array;
  try {
    bytes = await read();
  } catch (error) {
    assert(error instanceof FerryError, `${what}: ${(error as Error).stack}`);
    return error;
  }
  assert(equalBytes(bytes, expected), `${what}: wrong bytes were returned as right`);
  return 'right';
}

/** A copy of everything in a store, to be damaged. */
export async function dump(objects: ObjectStore): Promise<Map<string, Uint8Array>> {
  const all = new Map<string, Uint8Array>();
  for await (const { key } of objects.list('')) all.set(key, await objects.get(key, 2 ** 28));
  return all;
}

export async function fill(
  objects: ObjectStore,
  content: ReadonlyMap<string, Uint8Array>,
): Promise<ObjectStore> {
  for (const [key, bytes] of content) await objects.putIfAbsent(key, bytes);
  return objects;
}
