/** What an ext4 file system and its journal are at a moment, and whether one follows the other. */
import { FerryError, hasCode, sha256, toHex } from '../core/index.ts';
import {
  type Commit,
  commitAt,
  type Ext4,
  findCommit,
  type Jbd2,
  openJbd2,
  type Walk,
  walkLog,
} from '../fs/index.ts';
import type { Forgotten } from './source-memory.ts';

/** Inodes of this size know whole seconds only: two changes in one look like one. */
const INODE_BYTES_OLD = 128;
const HALF = 2 ** 31;

/** Of a file system that nobody has mounted for writing, or that is frozen. */
export type Ext4Facts = {
  readonly uuid: string;
  readonly blockBytes: number;
  readonly blockCount: number;
  readonly madeAt: number;
  readonly checkedAt: number;
  readonly mountedAt: number;
  readonly writtenAt: number;
  readonly mountCount: number;
  /** Tells the journal from one made in its place. */
  readonly journal: string;
  /** Of the transaction that comes next. */
  readonly sequence: number;
  /**
   * The last transaction: directly before `sequence` if it is frozen; one number is left out where
   * it is unmounted. Absent if the journal was never used.
   */
  readonly last?: { readonly sequence: number; readonly at: number; readonly digest: string };
};

const NUMBERS = [
  ...(['blockBytes', 'blockCount', 'madeAt', 'checkedAt', 'mountedAt', 'writtenAt'] as const),
  ...(['mountCount', 'sequence'] as const),
] satisfies readonly (keyof Ext4Facts)[];

export function parseExt4Facts(value: unknown): Ext4Facts | undefined {
  const facts = Object(value);
  if (typeof facts.uuid !== 'string' || typeof facts.journal !== 'string') return undefined;
  if (!NUMBERS.every((name) => Number.isSafeInteger(facts[name]))) return undefined;
  if (facts.last !== undefined) {
    const { sequence, at, digest } = Object(facts.last);
    if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(at)) return undefined;
    if (typeof digest !== 'string') return undefined;
  }
  return facts;
}

export type Settled = { readonly facts: Ext4Facts; readonly log: Jbd2 };

/**
 * Why not: it is in use, was not unmounted, or has no journal that could be read. With what is
 * `known` of it the last transaction is looked for where it was; only elsewhere in the whole log.
 */
export async function settledFacts(fs: Ext4, known?: Ext4Facts): Promise<Settled | Forgotten> {
  const { needsRecovery, isClean, inodeBytes, checksums } = fs.super;
  const { name } = fs.device;
  if (checksums === undefined) {
    // Nor could it be told from what an earlier file system has left behind.
    return { reason: 'unsupported', why: `${name} has no checksums (metadata_csum)` };
  }
  if (inodeBytes <= INODE_BYTES_OLD) {
    const why = `the inodes of ${name} know whole seconds only`;
    return { reason: 'granularity', why };
  }
  const log = await attempted(() => openJbd2(fs));
  if ('reason' in log) return log;
  if (needsRecovery || !isClean || log.super.start !== 0) {
    return { reason: 'untold', why: `${name} is mounted, or was not unmounted` };
  }
  const { sequence } = log.super;
  const last = await lastCommit(log, known);
  if (last === undefined && sequence !== 1) {
    const why = `the journal of ${name} does not have its last transaction any more`;
    return { reason: 'wrapped', why };
  }
  const { uuid, blockBytes, blockCount, madeAt, checkedAt } = fs.super;
  const { mountedAt, writtenAt, mountCount } = fs.super;
  const facts = {
    ...{ uuid, blockBytes, blockCount, madeAt, checkedAt, mountedAt, writtenAt, mountCount },
    journal: `${log.made}:${log.super.first}:${log.super.end}`,
    sequence,
    ...(last && { last: { sequence: last.sequence, at: last.at, digest: digestOf(last) } }),
  };
  return { facts, log };
}

/** A kernel that unmounts leaves out one number; one that freezes does not. */
async function lastCommit(log: Jbd2, known: Ext4Facts | undefined): Promise<Commit | undefined> {
  const { sequence } = log.super;
  if (known?.last !== undefined && known.sequence === sequence) {
    const kept = await commitAt(log, known.last.at, known.last.sequence);
    if (kept !== undefined) return kept;
  }
  return findCommit(log, (sequence - 1) >>> 0, (sequence - 2) >>> 0);
}

function digestOf({ bytes }: Commit): string {
  return toHex(sha256(bytes));
}

function isFrozen({ sequence, last }: Ext4Facts): boolean {
  return last !== undefined && last.sequence === (sequence - 1) >>> 0;
}

/** Nobody has mounted it, and it was not mounted: not even free blocks can have been discarded. */
export function isUntouched(before: Ext4Facts, now: Ext4Facts): boolean {
  return !isFrozen(now) && isSame(before, now);
}

export function isSame(a: Ext4Facts, b: Ext4Facts): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What was logged from `before` on, if all of that is known; or why it is not. */
export async function logSince(
  before: Ext4Facts,
  { facts: now, log }: Settled,
): Promise<Walk | Forgotten> {
  const { name } = log.fs.device;
  const doubt = replaced(before, now) ?? mounted(before, now);
  if (doubt !== undefined) return { reason: doubt.reason, why: `${name} ${doubt.why}` };
  const wrapped = (what: string): Forgotten => ({
    reason: 'wrapped',
    why: `the journal of ${name} does not have ${what} any more`,
  });
  let from = log.super.first;
  if (before.last !== undefined) {
    const { at, sequence, digest } = before.last;
    const kept = await commitAt(log, at, sequence);
    if (kept === undefined) return wrapped('the end of what the last snapshot saw');
    if (digestOf(kept) !== digest) {
      return { reason: 'reverted', why: `${name} has another history than the last snapshot's` };
    }
    from = log.after(at);
  }
  // A kernel that mounts leaves out one number, too.
  const next = (before.sequence + mountsBetween(before, now)) >>> 0;
  let walk = await walkLog(log, from, next);
  // Kernels before 6.4 begin at the first block each time it is mounted.
  if (walk.last === undefined && from !== log.super.first) {
    walk = await walkLog(log, log.super.first, next);
  }
  const end = walk.last?.sequence ?? before.last?.sequence;
  if (end !== now.last?.sequence) return wrapped(`all transactions from ${next} on`);
  const isCrashPossible = !isFrozen(now) && now.sequence !== before.sequence;
  if (isCrashPossible && walk.last !== undefined && log.super.head !== log.after(walk.last.at)) {
    // It then left out a number, too, and what it had lost nobody can know.
    const why = `${name} may have crashed and been recovered by e2fsck (or Linux is before 6.4)`;
    return { reason: 'untold', why };
  }
  return walk;
}

function replaced(before: Ext4Facts, now: Ext4Facts): Forgotten | undefined {
  if (before.uuid !== now.uuid || before.madeAt !== now.madeAt) {
    return { reason: 'replaced', why: 'is another file system than the last time' };
  }
  if (before.blockBytes !== now.blockBytes || before.blockCount !== now.blockCount) {
    return { reason: 'resized', why: `has ${now.blockCount} blocks, ${before.blockCount} before` };
  }
  if (before.checkedAt !== now.checkedAt) {
    return { reason: 'behind-its-back', why: 'was checked by e2fsck since' };
  }
  if (before.journal !== now.journal) {
    return { reason: 'replaced', why: 'has another journal than the last time' };
  }
  return undefined;
}

/** A number of 16 bits on the disk. */
function mountsBetween(before: Ext4Facts, now: Ext4Facts): number {
  return (now.mountCount - before.mountCount) & 0xffff;
}

function mounted(before: Ext4Facts, now: Ext4Facts): Forgotten | undefined {
  const grown = (now.sequence - before.sequence) >>> 0;
  const mounts = mountsBetween(before, now);
  if (grown >= HALF || mounts >= HALF / 2 ** 16) {
    return { reason: 'reverted', why: 'was put back to an older state' };
  }
  if (mounts === 0 && grown === 0) {
    if (before.writtenAt === now.writtenAt && before.mountedAt === now.mountedAt) return undefined;
    return { reason: 'behind-its-back', why: 'was written by another program than the kernel' };
  }
  if (mounts > 1 || (mounts === 1 && isFrozen(before))) {
    const why = `was mounted ${mounts === 1 ? 'anew' : `${mounts} times`}: a crash would not show`;
    return { reason: 'untold', why };
  }
  if (mounts === 0 && (!isFrozen(before) || before.mountedAt !== now.mountedAt)) {
    return { reason: 'behind-its-back', why: 'was written without being mounted' };
  }
  return undefined;
}

/** What a parser refuses is a reason to ask somebody else. */
export async function attempted<T extends object>(work: () => Promise<T>): Promise<T | Forgotten> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return {
      reason: hasCode(error, 'FS_UNSUPPORTED') ? 'unsupported' : 'failed',
      why: error.message,
    };
  }
}
