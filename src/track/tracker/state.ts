/** What a tracker remembers beside its marks: who follows, and what was sealed for them. */
import { FormatError } from '../../core/index.ts';
import type { CannotSayReason } from '../change-source.ts';
import { BROKEN_MAX, CONSUMER_NAME_BYTES_MAX, CONSUMERS_MAX, PINS_MAX } from './limits.ts';
import { decodeJson } from './record.ts';

/** Up to where a consumer has everything: it wants the epochs from `epoch` on. */
export type Cursor = {
  readonly consumer: string;
  readonly volume: string;
  readonly tracker: string;
  readonly epoch: number;
  /** What it holds; null for consumers that keep no snapshots. */
  readonly snapshot: string | null;
  readonly digest: string | null;
};

/** The changes of the epochs [from, to], in a file of their own. */
export type Sealed = { readonly from: number; readonly to: number };

/** Why a consumer's cursor is gone, until it has a new one. */
export type Broken = {
  readonly consumer: string;
  readonly reason: CannotSayReason;
  readonly why: string;
};

/** What the file was when it was opened or left. */
export type Identity = {
  readonly kind: 'file' | 'block-device' | 'other';
  readonly device: number;
  readonly inode: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly changedMs: number;
};

export type TrackerState = {
  readonly volume: string;
  /** 16 random bytes; new whenever what came before cannot be vouched for. */
  readonly tracker: string;
  /** The first epoch that is in no sealed set: what pages and marks in the log speak of. */
  readonly epoch: number;
  readonly cursors: readonly Cursor[];
  readonly sealed: readonly Sealed[];
  readonly broken: readonly Broken[];
  /** Why somebody without a cursor can be told nothing. */
  readonly began: { readonly reason: CannotSayReason; readonly why: string };
  /** Of the source, when it was opened; null if it has none. */
  readonly source: Identity | null;
};

/** FORMAT_INVALID if it is anything else. */
export function decodeState(payload: Uint8Array): TrackerState {
  const value = decodeJson(payload) as TrackerState;
  const fits =
    isRecord(value) &&
    isText(value.volume) &&
    isText(value.tracker) &&
    isCount(value.epoch) &&
    isList(value.cursors, CONSUMERS_MAX, isCursor) &&
    isList(value.sealed, CONSUMERS_MAX + PINS_MAX + 2, isSealed) &&
    isList(value.broken, BROKEN_MAX, isBroken) &&
    isRecord(value.began) &&
    isText(value.began.reason) &&
    isText(value.began.why) &&
    (value.source === null || isIdentity(value.source));
  if (!fits) throw new FormatError('the state of a tracker has another form');
  const { sealed, epoch } = value;
  for (const [at, { from, to }] of sealed.entries()) {
    const next = sealed[at + 1]?.from ?? epoch;
    if (from > to || to + 1 !== next) throw new FormatError('sealed epochs have gaps');
  }
  return value;
}

/** FORMAT_INVALID if it is anything else. */
export function decodeIdentity(payload: Uint8Array): Identity | null {
  const value = decodeJson(payload) as Identity | null;
  if (value === null || isIdentity(value)) return value;
  throw new FormatError('an identity has another form');
}

/** Why a file that was left as `before` is not as it was; undefined if it is. */
export function difference(
  before: Identity,
  now: Identity,
  withTimes: boolean,
): { readonly reason: CannotSayReason; readonly why: string } | undefined {
  if (before.sizeBytes !== now.sizeBytes) {
    const why = `the source had ${before.sizeBytes} bytes and has ${now.sizeBytes} now`;
    return { reason: 'resized', why };
  }
  if (before.device !== now.device || before.inode !== now.inode || before.kind !== now.kind) {
    return { reason: 'replaced', why: 'the source is another file than the tracker has watched' };
  }
  if (!withTimes || now.kind !== 'file') return undefined;
  if (before.modifiedMs === now.modifiedMs && before.changedMs === now.changedMs) return undefined;
  return { reason: 'behind-its-back', why: 'the source was written while no export tracked it' };
}

function isRecord(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 4 * CONSUMER_NAME_BYTES_MAX;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isList<T>(value: unknown, max: number, fits: (item: T) => boolean): boolean {
  return Array.isArray(value) && value.length <= max && value.every(fits);
}

function isCursor(value: Cursor): boolean {
  return (
    isRecord(value) &&
    isText(value.consumer) &&
    isText(value.volume) &&
    isText(value.tracker) &&
    isCount(value.epoch) &&
    (value.snapshot === null || isText(value.snapshot)) &&
    (value.digest === null || isText(value.digest))
  );
}

function isSealed(value: Sealed): boolean {
  return isRecord(value) && isCount(value.from) && isCount(value.to);
}

function isBroken(value: Broken): boolean {
  return isRecord(value) && isText(value.consumer) && isText(value.reason) && isText(value.why);
}

function isIdentity(value: Identity): boolean {
  return (
    isRecord(value) &&
    ['file', 'block-device', 'other'].includes(value.kind) &&
    [value.device, value.inode, value.sizeBytes].every(isCount) &&
    Number.isFinite(value.modifiedMs) &&
    Number.isFinite(value.changedMs)
  );
}
