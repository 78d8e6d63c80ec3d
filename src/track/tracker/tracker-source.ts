/** A tracker as a source of changes: what was marked since a repository's snapshot. */
import { type Env, FerryError, hasCode } from '../../core/index.ts';
import {
  type CannotSay,
  type CannotSayReason,
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSource,
  cannotSay,
  type Finish,
} from '../change-source.ts';
import type { Lost } from './cursors.ts';
import type { DirtyMap } from './dirty-map.ts';
import type { Cut } from './epochs.ts';
import { Tracker, type TrackerOptions } from './tracker.ts';

/** What identifies the snapshot that changes are counted from. */
export type Since = {
  readonly id: string;
  readonly digest: string;
  /** The cut that it was made from, as `markOf` names it, if whoever has it knows that. */
  readonly mark?: string | undefined;
};

/** Names a cut for ever: trackers have ids of their own, and numbers are never used again. */
export function markOf(tracker: Tracker, cut: Pick<Cut, 'epoch'>): string {
  return `${tracker.id}:${cut.epoch}`;
}

/** The tracker of a volume that is not being exported now, as the last export left it. */
export type StoppedTracker = TrackerOptions & {
  readonly consumer: string;
  /** Makes durable what the source holds: its export may have been killed before it was. */
  readonly flush: () => Promise<void>;
};

export function stoppedTrackerSource(env: Env, options: StoppedTracker): ChangeSource {
  return { name: 'tracker', changes: (question) => askStopped(env, options, question) };
}

/**
 * Why `consumer` cannot be told what changed since its snapshot, or the epoch from which it can.
 */
export function beginningFor(
  tracker: Tracker,
  consumer: string,
  since: Since | undefined,
): number | Lost {
  if (since === undefined) return { reason: 'first', why: 'there is no snapshot yet' };
  const cursor = tracker.cursor(consumer);
  if (cursor === undefined) {
    const began: Lost = { reason: 'first', why: 'it watches only since the export has begun' };
    const { reason, why } = tracker.whyBroken(consumer) ?? began;
    return { reason, why };
  }
  if (cursor.tracker !== tracker.id || cursor.volume !== tracker.volume) {
    return { reason: 'replaced', why: `its mark belongs to another tracker of ${cursor.volume}` };
  }
  if (cursor.snapshot === since.id && cursor.digest === since.digest) return cursor.epoch;
  // It has more than it could acknowledge: what changed since the cursor is a superset.
  if (isCutSince(since.mark, tracker, cursor.epoch)) return cursor.epoch;
  const marked = `${tracker.volume}@${cursor.snapshot?.slice(0, 8)}`;
  const why = `its mark belongs to ${marked}, not to the newest snapshot`;
  return { reason: 'stale', why };
}

function isCutSince(mark: string | undefined, tracker: Tracker, epoch: number): boolean {
  const [id, number] = mark?.split(':') ?? [];
  return id === tracker.id && Number(number) >= epoch && Number(number) <= tracker.epoch;
}

export type Told =
  | { readonly map: DirtyMap; readonly lost?: never }
  | { readonly map?: never; readonly lost: Lost };

/** What changed up to a cut, which is sealed then; the caller releases the map. */
export async function toldUpTo(
  tracker: Tracker,
  cut: Cut,
  consumer: string,
  since: Since | undefined,
): Promise<Told> {
  try {
    await cut.sealed;
    const beginning = beginningFor(tracker, consumer, since);
    if (typeof beginning !== 'number') return { lost: beginning };
    const map = await tracker.changes(beginning, cut.epoch);
    if (map !== undefined) return { map };
    const why = 'what it has kept does not reach back to that snapshot';
    return { lost: { reason: 'fell-behind', why } };
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return { lost: { reason: 'lost', why: error.message } };
  }
}

async function askStopped(
  env: Env,
  { consumer, flush, ...options }: StoppedTracker,
  { since }: ChangeQuestion,
): Promise<ChangeAnswer> {
  let tracker: Tracker | Lost;
  try {
    tracker = await Tracker.takeUp(env, options);
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND')) return absent();
    return refusal(error);
  }
  if (!(tracker instanceof Tracker)) {
    if (tracker.reason === 'first') return absent();
    return cannotSay('tracker', tracker.reason, tracker.why);
  }
  return answerOf(tracker, consumer, since, flush);
}

async function answerOf(
  tracker: Tracker,
  consumer: string,
  since: Since | undefined,
  flush: () => Promise<void>,
): Promise<ChangeAnswer> {
  let cut: Cut;
  try {
    cut = tracker.cut();
  } catch (error) {
    await tracker[Symbol.asyncDispose]();
    return refusal(error);
  }
  const { map, lost } = await toldUpTo(tracker, cut, consumer, since);
  const finish: Finish = async (outcome) => {
    try {
      map?.release();
      if (outcome.kind === 'failed') return;
      const { id, digest } = outcome.snapshot;
      await flush();
      await tracker.acknowledge(consumer, cut, { snapshot: id, digest });
    } finally {
      await cut[Symbol.asyncDispose]();
      await tracker[Symbol.asyncDispose]();
    }
  };
  if (map === undefined) return cannotSay('tracker', lost.reason, lost.why, { finish });
  const isSure = map.unsureCount === 0;
  return {
    kind: 'changes',
    source: 'tracker',
    precision: isSure ? 'exact' : 'superset',
    changed: map.ranges(),
    reason: reasonOf(tracker.volume, since!, map.unsureCount),
    finish,
  };
}

/** In words, how the marks know. */
export function reasonOf(volume: string, since: Since, unsureRegions: number): string {
  const known = `written through its export since ${volume}@${since.id.slice(0, 8)}`;
  if (unsureRegions === 0) return known;
  return `${known}, and ${unsureRegions} regions whole that were in use at a crash`;
}

function absent(): CannotSay {
  return cannotSay('tracker', 'absent', 'it is not exported through ferry');
}

function refusal(error: unknown): CannotSay {
  if (!(error instanceof FerryError)) throw error;
  const reason: CannotSayReason = hasCode(error, 'TRACK_BUSY') ? 'busy' : 'failed';
  return cannotSay('tracker', reason, error.message);
}
