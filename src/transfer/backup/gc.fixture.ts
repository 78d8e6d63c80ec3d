/** For tests of garbage collection: a repository of versions, and what is left of it. */
import assert from 'node:assert/strict';
import { type Env, nodeEnv } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import type { GcOptions, GcReport } from '../../store/index.ts';
import { backUp, type Expected, init, type Kind, noise, open } from './model-repository.fixture.ts';

export const env: Env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
export const PACK_BYTES = 60_000;
export const now: GcOptions = { waitMs: 0, packTargetBytes: PACK_BYTES };

/** Versions that share most, differ a little here and there, and drop something each time. */
export function versionsOf(count: number, lengthBytes = 900_000): Uint8Array[] {
  let bytes = noise(lengthBytes, 1);
  return Array.from({ length: count }, (_, version) => {
    bytes = bytes.slice();
    for (let at = 1000 * version; at < bytes.byteLength; at += 200_000) bytes[at] = version;
    bytes.set(noise(130_000, version + 10), (version * 170_000) % 700_000);
    return bytes;
  });
}

export type Filled = { objects: ObjectStore; expected: Expected };

export async function filled(count: number, kind: Kind = 'plain'): Promise<Filled> {
  const objects = memoryStore('gc');
  await init(env, objects, kind);
  const expected: Expected = new Map();
  for (const bytes of versionsOf(count)) {
    const repository = await open(env, objects);
    const { snapshot } = await backUp(env, repository, bytes, { packTargetBytes: PACK_BYTES });
    expected.set(snapshot.id, bytes);
  }
  return { objects, expected };
}

export async function forget(objects: ObjectStore, expected: Expected, ids: readonly string[]) {
  const repository = await open(env, objects);
  await repository.forget(repository.snapshots().filter(({ id }) => ids.includes(id)));
  for (const id of ids) expected.delete(id);
}

export async function gc(objects: ObjectStore, options: GcOptions = {}): Promise<GcReport> {
  return (await open(env, objects)).collectGarbage({ ...now, ...options });
}

export async function sizeOf(objects: ObjectStore, prefix: string): Promise<number> {
  let bytes = 0;
  for await (const { sizeBytes } of objects.list(prefix)) bytes += sizeBytes;
  return bytes;
}

/** Nothing is there that the log does not name. */
export async function noneLeftOver(objects: ObjectStore): Promise<void> {
  assert.deepEqual(await Array.fromAsync(objects.list('sessions/')), []);
  const repository = await open(env, objects);
  const { state } = repository.log;
  assert.equal(state.condemned.size, 0);
  const index = await repository.index();
  for await (const { key } of objects.list('packs/')) {
    assert(index.hasPack(key.slice(-64)), `${key} belongs to nobody`);
  }
  for await (const { key } of objects.list('index/')) {
    assert(state.segments.has(key.slice(-64)), `${key} belongs to nobody`);
  }
}
