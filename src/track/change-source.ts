/** The contract of every source of changes: what differs since a snapshot, or why it cannot say. */
import type { Extent } from '../core/index.ts';
import type { Device } from '../device/index.ts';
import type { Snapshot } from '../store/index.ts';

/** In order of cost: the ladder asks the first one first. */
export const CHANGE_SOURCES = [
  'tracker', // Blockferry's own marks, of an export that runs or ran.
  'qemu', // QEMU's dirty bitmaps: over NBD, through QMP, in a qcow2 file.
  'snapshot', // Two snapshots compared by whoever holds them: qcow2, rbd, LVM thin, a repository.
  'extents', // What the file system says: holes, extents shared with an earlier copy.
  'journal', // What a file system's own journal tells.
  'checksum', // Every block read and compared with the last manifest.
  'full', // Every block read and nothing compared.
] as const;

export type ChangeSourceName = (typeof CHANGE_SOURCES)[number];

export type ChangeQuestion = {
  readonly volume: string;
  /** The source as it was opened; borrowed until `finish` has settled. */
  readonly device: Device;
  /**
   * The snapshot that changes are counted from. Undefined: there is none yet, everything will be
   * read, and a source only prepares what it needs to answer the next time (`FIRST`).
   */
  readonly since: Snapshot | undefined;
  /** Everything will be read, whatever is answered: a moment must keep all of it. */
  readonly readsAll?: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** A stretch that may differ; the kind, if the writer told it: it reads as zero, was discarded. */
export type ChangedRange = Extent & { readonly kind?: 'data' | 'zero' | 'discarded' };

/** How the run ended that had asked; `failed` also if nothing was committed on purpose. */
export type Outcome =
  | { readonly kind: 'committed'; readonly snapshot: Snapshot }
  | { readonly kind: 'failed' };

/**
 * Called exactly once for every answer of every source that was asked, used or not. Only with
 * `committed` are cursors moved, bitmaps cleared, states remembered, bound to the snapshot's id and
 * digest; with `failed` the next question gets all of this answer again, and more. A rejection
 * means that the source may be unable to say anything the next time; the snapshot stays.
 */
export type Finish = (outcome: Outcome) => Promise<void>;

/** The source knows. What it does not list is as in the snapshot: that is its claim. */
export type ChangeSet = {
  readonly kind: 'changes';
  readonly source: ChangeSourceName;
  /** `exact`: just what was written, to its unit. `superset`: possibly far more, never less. */
  readonly precision: 'exact' | 'superset';
  /** Ascending, not overlapping, inside the device; read once, as the caller goes on. */
  readonly changed: AsyncIterable<ChangedRange> | Iterable<ChangedRange>;
  /** In words, how it knows: `written through the export since vm@1f3a`. */
  readonly reason: string;
  /**
   * The volume at the moment that the set speaks of, to be read instead of the device; the source
   * disposes it in `finish`. Absent: what is read may be newer than the set, and the set covers
   * only what was written before the question.
   */
  readonly view?: Device;
  /**
   * What would be told now: there if others may write while the set is used, and no moment is read.
   * An audit asks it before it calls a difference untold. Undefined if that cannot be had.
   */
  readonly toldNow?: () => Promise<Iterable<Extent> | undefined>;
  readonly finish: Finish;
};

/** Nothing is known, and everything is read; `compare`: with the snapshot, block by block. */
export type Everything = {
  readonly kind: 'everything';
  readonly source: ChangeSourceName;
  readonly compare: boolean;
  readonly reason: string;
  readonly finish: Finish;
};

/** Why a source cannot say; closed, so that tests and programs can tell. */
export type CannotSayReason =
  | 'absent' // Not a source of this kind: no tracker, no bitmap, another file system.
  | 'first' // It has only now begun to watch, or there is no snapshot yet.
  | 'lost' // Its state is gone or damaged.
  | 'stale' // Its state belongs to another snapshot than the newest one.
  | 'replaced' // Its state belongs to another volume, tracker or disk.
  | 'reverted' // The volume was put back to an older state.
  | 'resized'
  | 'behind-its-back' // Written by somebody whom the source does not see.
  | 'wrapped' // The records of the time in question are overwritten.
  | 'fell-behind' // More was to be remembered than its limits allow.
  | 'untold' // Data may have changed without a trace that the source can see.
  | 'granularity' // What it has is of another unit than it must be.
  | 'unwanted' // Another source was chosen; only its moment is used.
  | 'untrusted' // An audit found a change that it had not told.
  | 'busy' // Somebody else is asking it now.
  | 'unsupported' // This host, file or version cannot.
  | 'failed'; // An error on the way, in `why`.

export type CannotSay = {
  readonly kind: 'cannot-say';
  readonly source: ChangeSourceName;
  readonly reason: CannotSayReason;
  /** One clause for people, naming the object: `the bitmap b0 of disk.qcow2 is inconsistent`. */
  readonly why: string;
  /**
   * The moment that the source has begun to watch from, if it has, to be read instead of the
   * device; what is committed of it is what the source can answer about the next time.
   */
  readonly view?: Device;
  /** What it would have said, if it is not believed or not wanted; read once. */
  readonly claimed?: ChangeSet['changed'];
  /** There if it prepares for the next time: what is committed now is its beginning. */
  readonly finish?: Finish;
};

export type ChangeAnswer = ChangeSet | Everything | CannotSay;

/**
 * One way to find changes. `changes` answers `cannot-say` for all that can be expected to go wrong
 * (lost, stale, replaced, unreachable), so that the next source is asked; it throws only for what
 * no other source could help with either: an abort, a mistake of ours. What it began must be
 * undone when it throws. One question at a time per volume and consumer; `busy` otherwise.
 */
export interface ChangeSource {
  readonly name: ChangeSourceName;
  /** Asked even if another is chosen: what is read must be the moment that it gives. */
  readonly givesMoment?: boolean;
  changes(question: ChangeQuestion): Promise<ChangeAnswer>;
}

export function cannotSay(
  source: ChangeSourceName,
  reason: CannotSayReason,
  why: string,
  more: Pick<CannotSay, 'view' | 'claimed' | 'finish'> = {},
): CannotSay {
  return { kind: 'cannot-say', source, reason, why, ...more };
}
