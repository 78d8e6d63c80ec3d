/** For tests: copies everything between two object stores, and compares what came of it. */
import assert from 'node:assert/strict';
import { equalBytes, nodeEnv } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { originalId } from '../store/index.ts';
import { checked, type Expected, open, restored } from './backup/model-repository.fixture.ts';
import { type CopyReport, type CopyRequest, copy, type Selection, select } from './copy/index.ts';

export const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

export type Copied = CopyReport & { readonly selection: Selection };

export async function copyAll(
  from: ObjectStore,
  to: ObjectStore,
  request: CopyRequest & { readonly names?: readonly string[] } = {},
): Promise<Copied> {
  const source = await open(env, from);
  const destination = await open(env, to);
  const { names = [], ...settings } = request;
  const selection = select(source, destination, names);
  const small = { packTargetBytes: 60_000, ...settings };
  return { ...(await copy(env, source, destination, selection.wanted, small)), selection };
}

/** Every snapshot there restores to what its original was, and nothing is damaged. */
export async function verifyCopies(to: ObjectStore, expected: Expected): Promise<string[]> {
  const repository = await open(env, to);
  const originals: string[] = [];
  for (const snapshot of repository.snapshots()) {
    const bytes = expected.get(originalId(snapshot));
    assert(bytes !== undefined, `${snapshot.id} is a copy of nothing that was backed up`);
    assert(equalBytes(await restored(env, repository, snapshot), bytes), `${snapshot.id} differs`);
    originals.push(originalId(snapshot));
  }
  assert.deepEqual((await checked(env, repository)).problems, []);
  return originals;
}
