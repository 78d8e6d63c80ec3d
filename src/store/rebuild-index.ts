/** Makes a new index from the packs themselves, and commits it in place of the old one. */
import type { Env } from '../core/index.ts';
import { StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';
import type { IndexChange } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import { readPackTable } from './pack-file.ts';
import { checkSession } from './reliance.ts';
import type { Repository } from './repository.ts';
import { type SealedObjects, unsealJsonObject } from './sealer.ts';
import { packFingerprints, readSegment, type SegmentPack, writeSegments } from './segment.ts';
import { Session } from './session.ts';

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

export type IndexRepair = {
  /** Packs that are named no more afterwards. */
  readonly dropped?: ReadonlySet<string>;
  /** Packs that are new. */
  readonly added?: readonly string[];
  readonly lossy?: boolean;
  /** What the log named when packs were looked at; the present state without it. */
  readonly known?: NamedThere;
};

/** Where the packs of a state are named. */
export type NamedThere = {
  readonly segments: readonly string[];
  readonly loosePacks: readonly string[];
};

export function namedThere({ segments, loosePacks }: LogState): NamedThere {
  return { segments: [...segments.keys()], loosePacks: [...loosePacks] };
}

/** STORE_FENCED if garbage collection took a step meanwhile: what it dropped must not come back. */
export async function rebuildIndex(env: Env, repository: Repository): Promise<RebuiltIndex> {
  const { objects, log } = repository;
  await log.refresh();
  await using session = await Session.begin(env, objects, '', log.state.generation);
  const rebuilt = await rebuildIn(session, env, repository, {});
  await session.end();
  return rebuilt;
}

/** The session keeps what is new from being taken for left over. */
export async function rebuildIn(
  session: Session,
  env: Env,
  repository: Repository,
  change: IndexRepair,
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
  const before = namedThere(log.state);
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
  const segments = await writeSegments(objects, env.random, covered);
  const done = new Set(covered.map(({ packId }) => packId));
  const { dropped = new Set(), added = [], lossy, known = before } = change;
  await repository.commitIndex(
    (state) => {
      checkUntouched(state, session, [...added, ...segments.map(({ id }) => id)]);
      checkStillNamed(state, known);
      return replaced(state, { segments, before, done, unreadable, dropped });
    },
    lossy === undefined ? {} : { lossy },
  );
  const records = segments.reduce((sum, segment) => sum + segment.records, 0);
  return { packs: covered.length, records, unreadable };
}

/** Packs were looked at in the generation of the session: later ones may have dropped some. */
function checkUntouched(state: LogState, session: Session, fresh: readonly string[]): void {
  checkSession(state, session, fresh);
  if (state.generation === session.generation) return;
  const message = 'nothing was committed: garbage collection changed which packs there are';
  throw new StoreError('STORE_FENCED', message, { hint: 'Run the command again.' });
}

/** What another repair has taken out of the log, and set aside, must not be named again. */
function checkStillNamed(state: LogState, { segments, loosePacks }: NamedThere): void {
  const isThere =
    segments.every((segment) => state.segments.has(segment)) &&
    loosePacks.every((pack) => state.loosePacks.has(pack));
  if (isThere) return;
  const message = 'nothing was committed: another repair or backup changed where packs are named';
  throw new StoreError('STORE_FENCED', message, { hint: 'Run the command again.' });
}

type Replacing = {
  readonly segments: IndexChange['segments'];
  readonly before: NamedThere;
  readonly done: ReadonlySet<string>;
  readonly unreadable: readonly string[];
  readonly dropped: ReadonlySet<string>;
};

/** What others have added meanwhile stays as they have said it. */
function replaced(state: LogState, change: Replacing): IndexChange {
  const { segments, before, done, unreadable, dropped } = change;
  return {
    packs: unreadable.filter((pack) => !state.loosePacks.has(pack)),
    packsDropped: [...state.loosePacks].filter((pack) => done.has(pack) || dropped.has(pack)),
    segments,
    segmentsDropped: before.segments.filter((id) => state.segments.has(id)),
  };
}
