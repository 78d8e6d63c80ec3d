/** The verdict on a repository after whatever befell it. */
import assert from 'node:assert/strict';
import type { Draws } from '../../../sim/index.ts';
import { codecPool } from '../../../src/codec/index.ts';
import { check, type Repository, type Snapshot } from '../../../src/store/index.ts';
import type { Model, Shape } from './model.suite.ts';
import {
  carryOut,
  digestOf,
  openAt,
  type Place,
  planOne,
  restoredDigest,
} from './operations.suite.ts';

/**
 * Without manual steps: everything that was told is there and right, check finds nothing, a backup
 * works, and garbage collection leaves nothing that nobody needs.
 */
export async function judge(place: Place, model: Model, shape: Shape, draws: Draws): Promise<void> {
  await look(place, model);
  await carryOut(place, model, planOne('backup', model, shape, draws));
  await carryOut(place, model, planOne('gc', model, shape, draws));
  await look(place, model);
  await noneLeftOver(place);
}

/** Nothing is there that the log does not name. */
async function noneLeftOver(place: Place): Promise<void> {
  await using repository = await openAt(place);
  const { objects } = repository;
  assert.deepEqual(await Array.fromAsync(objects.list('sessions/')), [], 'sessions are left');
  const { state } = repository.log;
  assert.equal(state.condemned.size, 0, 'packs stay condemned');
  const index = await repository.index();
  for await (const { key } of objects.list('packs/')) {
    assert(index.hasPack(key.slice(-64)), `${key} belongs to nobody`);
  }
  for await (const { key } of objects.list('index/')) {
    assert(state.segments.has(key.slice(-64)), `${key} belongs to nobody`);
  }
}

/** Every snapshot that is listed is right, every one that must be is listed, check is clean. */
export async function look(place: Place, model: Model): Promise<void> {
  await using repository = await openAt(place);
  await lookAtSnapshots(place, repository, model);
  await using pool = codecPool(place.env, 0);
  const report = await check(repository, { readData: true, pool });
  assert.deepEqual(report.problems, [], 'check finds damage');
}

async function lookAtSnapshots(place: Place, repository: Repository, model: Model): Promise<void> {
  const listed = repository.snapshots();
  const ids = new Set(listed.map(({ id }) => id));
  for (const id of model.kept.keys()) {
    assert(ids.has(id) || model.leaving.has(id), `snapshot ${id} is lost`);
  }
  for (const snapshot of listed) {
    assert(!model.gone.has(snapshot.id), `snapshot ${snapshot.id} was forgotten and is back`);
    const digest = await restoredDigest(place.env, repository, snapshot);
    compare(model, snapshot, digest);
  }
}

function compare(model: Model, { id, volume }: Snapshot, digest: string): void {
  const known = model.kept.get(id);
  if (known !== undefined) {
    assert.equal(digest, digestOf(known), `snapshot ${id} restores wrongly`);
    return;
  }
  const fits = [...model.pending].find(
    (version) => version.volume === volume && digestOf(version) === digest,
  );
  assert(fits !== undefined, `snapshot ${id} holds what nobody backed up`);
  model.pending.delete(fits);
  model.kept.set(id, fits);
}
