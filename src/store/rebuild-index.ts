/** Makes a new index from the packs themselves, and commits it in place of the old one. */
import type { Env } from '../core/index.ts';
import { StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import type { IndexChange } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { readPackTable } from './pack-file.ts';
import type { Repository } from './repository.ts';
import { type SealedObjects, unsealJsonObject } from './sealer.ts';
import { packFingerprints, readSegment, type SegmentPack, writeSegment } from './segment.ts';

/** All that the log and its segments name; `complete` unless a segment cannot be read. */
export async function namedPacks(
  repository: Repository,
): Promise<{ packs: Set<string>; complete: boolean }> {
  const { objects, log } = repository;
  const packs = new Set(log.state.loosePacks);
  let complete = true;
  for (const segment of log.state.segments.keys()) {
    try {
      for (const { packId } of await readSegment(objects, segment)) packs.add(packId);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      complete = false;
    }
  }
  return { packs, complete };
}

/** Packs that are there and that no unfinished writer claims. */
export async function listedPacks(objects: SealedObjects): Promise<Set<string>> {
  const claimed = new Set<string>();
  for await (const { key } of objects.list('sessions/')) {
    try {
      const bytes = await objects.get(key, SMALL_OBJECT_BYTES_MAX);
      const session = unsealJsonObject(objects.sealer, 'session', key, bytes);
      for (const pack of new JsonFields(session, key).hexes('packs', 32)) claimed.add(pack);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error; // Of no use to its writer either.
    }
  }
  const packs = new Set<string>();
  for await (const { key } of objects.list('packs/')) {
    const pack = key.slice(key.lastIndexOf('/') + 1);
    if (!claimed.has(pack)) packs.add(pack);
  }
  return packs;
}

export type RebuiltIndex = {
  readonly packs: number;
  readonly records: number;
  /** Packs whose tables cannot be read: they are left as loose ones, named by check. */
  readonly unreadable: readonly string[];
};

/** With `dropped`, these packs are named no more afterwards; `added` are new. */
export async function rebuildIndex(
  env: Env,
  repository: Repository,
  change: {
    readonly dropped?: ReadonlySet<string>;
    readonly added?: readonly string[];
    readonly lossy?: boolean;
  } = {},
): Promise<RebuiltIndex> {
  const { objects, log } = repository;
  await log.refresh();
  const { packs, complete } = await namedPacks(repository);
  if (!complete) {
    for (const pack of await listedPacks(objects)) {
      // What garbage collection has dropped must not come back.
      if (!log.state.fencedObjects.has(pack)) packs.add(pack);
    }
  }
  for (const pack of change.added ?? []) packs.add(pack);
  for (const pack of change.dropped ?? []) packs.delete(pack);
  const covered: SegmentPack[] = [];
  const unreadable: string[] = [];
  for (const pack of [...packs].sort()) {
    try {
      covered.push(packFingerprints(pack, await readPackTable(objects, pack)));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // What no log entry names and nobody can read is not ours to name.
      if (complete || log.state.loosePacks.has(pack)) unreadable.push(pack);
    }
  }
  const segment = await writeSegment(objects, env.random, covered);
  const before = { segments: [...log.state.segments.keys()] };
  const done = new Set(covered.map(({ packId }) => packId));
  const { dropped = new Set(), lossy } = change;
  await repository.commitIndex(
    (state) => replaced(state, { segment, before, done, unreadable, dropped }),
    lossy === undefined ? {} : { lossy },
  );
  return { packs: covered.length, records: segment.records, unreadable };
}

type Replacing = {
  readonly segment: IndexChange['segments'][number];
  readonly before: { readonly segments: readonly string[] };
  readonly done: ReadonlySet<string>;
  readonly unreadable: readonly string[];
  readonly dropped: ReadonlySet<string>;
};

/** What others have added meanwhile stays as they have said it. */
function replaced(state: LogState, change: Replacing): IndexChange {
  const { segment, before, done, unreadable, dropped } = change;
  return {
    packs: unreadable.filter((pack) => !state.loosePacks.has(pack)),
    packsDropped: [...state.loosePacks].filter((pack) => done.has(pack) || dropped.has(pack)),
    segments: [segment],
    segmentsDropped: before.segments.filter((id) => state.segments.has(id)),
  };
}
