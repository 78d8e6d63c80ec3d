/** What an NTFS volume and its journals are at a moment, and whether one follows the other. */
import { sha256, toHex } from '../../core/index.ts';
import {
  ATTRIBUTE,
  LogRecords,
  type LogRestart,
  type LogWalk,
  lastUsnBefore,
  type Ntfs,
  openLogFile,
  openUsnJournal,
  RECORD,
  type UsnJournal,
} from '../../fs/ntfs/index.ts';
import type { Forgotten } from '../source-memory.ts';

/** Flags of $Volume: dirty, deleting $UsnJrnl, chkdsk under way, changed by chkdsk. */
const DIRTY = 0x1;
const DELETES_JOURNAL = 0x10;
const CHECKED = 0x4000 | 0x8000;
const OF_VOLUME_BYTES = 12;
const VERSION_MAJOR = 3;

/** A log that is made anew begins to count anywhere in 32 bits: so near it is hardly ever. */
const OPENS_NEAR = 4096;
const OPENS_RANGE = 2 ** 32;

/** Of a volume that is not mounted. */
export type NtfsFacts = {
  readonly serial: string;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly recordBytes: number;
  readonly usn: {
    readonly id: string;
    /** Of the record that comes next. */
    readonly next: number;
    /** Of the last one; absent if there is none. */
    readonly digest?: string;
  };
  readonly log: {
    /** In decimal: more than 53 bits. */
    readonly lsn: string;
    readonly checkedLsn: string;
    readonly openCount: number;
    readonly sizeBytes: number;
    /** Of its last record. */
    readonly digest: string;
  };
};

export function parseNtfsFacts(value: unknown): NtfsFacts | undefined {
  const facts = Object(value);
  const { serial, clusterBytes, clusterCount, recordBytes } = facts;
  const { id, next, digest } = Object(facts.usn);
  const { lsn, checkedLsn, openCount, sizeBytes, digest: logDigest } = Object(facts.log);
  const numbers = [clusterBytes, clusterCount, recordBytes, next, openCount, sizeBytes];
  const texts = [serial, id, digest ?? '', logDigest];
  const isLsn = (text: unknown) => typeof text === 'string' && /^\d{1,20}$/.test(text);
  if (!numbers.every(Number.isSafeInteger) || ![lsn, checkedLsn].every(isLsn)) return undefined;
  return texts.every((text) => typeof text === 'string') ? facts : undefined;
}

export type Settled = {
  readonly facts: NtfsFacts;
  readonly ntfs: Ntfs;
  readonly journal: UsnJournal;
  readonly log: LogRecords;
};

/** Why not: it is mounted, was left dirty, or was last written by who keeps no journal. */
export async function settledFacts(ntfs: Ntfs): Promise<Settled | Forgotten> {
  const { name } = ntfs.device;
  const unfit = await stateOfVolume(ntfs);
  if (unfit !== undefined) return { reason: unfit.reason, why: `${name} ${unfit.why}` };
  const { stream, state } = await openLogFile(ntfs);
  const left = stateOfLog(state);
  if (left !== undefined) return { reason: left.reason, why: `${name} ${left.why}` };
  const restart = state as LogRestart;
  const log = await LogRecords.open(stream, restart);
  const last = await log.at(restart.lsn);
  if (last === undefined) {
    return { reason: 'lost', why: `the $LogFile of ${name} does not have its last record` };
  }
  const journal = await openUsnJournal(ntfs);
  const usn = await lastUsnBefore(journal, journal.next);
  const { serial, clusterBytes, clusterCount, recordBytes } = ntfs.boot;
  const facts = {
    ...{ serial, clusterBytes, clusterCount, recordBytes },
    usn: { id: journal.id, next: journal.next, ...(usn && { digest: digestOf(usn) }) },
    log: {
      lsn: `${restart.lsn}`,
      checkedLsn: `${restart.checkedLsn}`,
      openCount: restart.openCount,
      sizeBytes: restart.sizeBytes,
      digest: digestOf(last),
    },
  };
  return { facts, ntfs, journal, log };
}

async function stateOfVolume(ntfs: Ntfs): Promise<Forgotten | undefined> {
  const { attributes } = await ntfs.record(RECORD.volume);
  const value = attributes.find(({ type }) => type === ATTRIBUTE.volume)?.value;
  if (value === undefined || value.length < OF_VOLUME_BYTES) {
    return { reason: 'unsupported', why: 'does not say of which version of NTFS it is' };
  }
  if (value.u8(8) !== VERSION_MAJOR) {
    return { reason: 'unsupported', why: `is of version ${value.u8(8)}.${value.u8(9)} of NTFS` };
  }
  const flags = value.u16(10);
  if ((flags & DIRTY) !== 0) return { reason: 'untold', why: 'is mounted, or was left dirty' };
  if ((flags & DELETES_JOURNAL) !== 0) return { reason: 'lost', why: 'is deleting its $UsnJrnl' };
  if ((flags & CHECKED) === 0) return undefined;
  return { reason: 'behind-its-back', why: 'was changed by chkdsk' };
}

function stateOfLog(state: LogRestart | 'emptied' | 'checked'): Forgotten | undefined {
  if (state === 'emptied') {
    const why = 'has an empty $LogFile: it was last mounted by a driver without one (ntfs-3g)';
    return { reason: 'behind-its-back', why };
  }
  if (state === 'checked') return { reason: 'behind-its-back', why: 'was checked by chkdsk' };
  if (state.major !== 1) {
    return { reason: 'untold', why: 'is mounted by Windows, or Windows sleeps (fast startup)' };
  }
  return state.isClean ? undefined : { reason: 'untold', why: 'is mounted, or was not unmounted' };
}

function digestOf({ bytes }: { readonly bytes: Uint8Array }): string {
  return toHex(sha256(bytes));
}

export function isSame(a: NtfsFacts, b: NtfsFacts): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What was logged since `before`, if it follows from that without a gap; or why it does not. */
export async function logSince(
  before: NtfsFacts,
  { facts: now, journal, log, ntfs }: Settled,
): Promise<LogWalk | Forgotten> {
  const { name } = ntfs.device;
  const doubt = replaced(before, now) ?? opened(before, now);
  if (doubt !== undefined) return { reason: doubt.reason, why: `${name} ${doubt.why}` };
  const wrapped = (which: string): Forgotten => ({
    reason: 'wrapped',
    why: `the ${which} of ${name} does not reach back to the last snapshot any more`,
  });
  const reverted = { reason: 'reverted', why: `${name} has another history than then` } as const;
  if (before.usn.next > 0) {
    const kept = await lastUsnBefore(journal, before.usn.next);
    if (kept === undefined || before.usn.digest === undefined) return wrapped('$UsnJrnl');
    if (digestOf(kept) !== before.usn.digest) return reverted;
  }
  const from = BigInt(before.log.lsn);
  const kept = await log.at(from);
  if (kept === undefined) return wrapped('$LogFile');
  if (digestOf(kept) !== before.log.digest) return reverted;
  const walk = await log.walk(from, BigInt(now.log.lsn));
  if (walk !== undefined) return walk;
  return { reason: 'lost', why: `the $LogFile of ${name} has a gap since the last snapshot` };
}

function replaced(before: NtfsFacts, now: NtfsFacts): Forgotten | undefined {
  if (before.serial !== now.serial || before.recordBytes !== now.recordBytes) {
    return { reason: 'replaced', why: 'is another volume than the last time' };
  }
  if (before.clusterBytes !== now.clusterBytes || before.clusterCount !== now.clusterCount) {
    const why = `has ${now.clusterCount} clusters, ${before.clusterCount} before`;
    return { reason: 'resized', why };
  }
  if (before.usn.id !== now.usn.id) {
    return { reason: 'replaced', why: 'has another $UsnJrnl: it was deleted and made anew' };
  }
  if (before.log.checkedLsn !== now.log.checkedLsn) {
    return { reason: 'behind-its-back', why: 'was checked by chkdsk since' };
  }
  if (before.log.sizeBytes !== now.log.sizeBytes) {
    return { reason: 'replaced', why: 'has a $LogFile of another size' };
  }
  return undefined;
}

/**
 * One mount at most: Linux's ntfs3 opens the log, counts, and logs nothing, so that one of several
 * mounts may have been by it. A log that was emptied and made anew counts from anywhere. ntfs-3g
 * leaves one that is clean as it is: what it changes shows in the records of $MFT only.
 */
function opened(before: NtfsFacts, now: NtfsFacts): Forgotten | undefined {
  const opens = (now.log.openCount - before.log.openCount + OPENS_RANGE) % OPENS_RANGE;
  const [from, to] = [BigInt(before.log.lsn), BigInt(now.log.lsn)];
  if (opens > OPENS_RANGE - OPENS_NEAR) {
    return { reason: 'reverted', why: 'was put back to an older state' };
  }
  if (opens > OPENS_NEAR) {
    return { reason: 'replaced', why: 'has another $LogFile: it was made anew' };
  }
  if (opens > 1) {
    const why = `was mounted ${opens} times: one of them may have kept no journal (Linux's ntfs3)`;
    return { reason: 'untold', why };
  }
  if (to < from || now.usn.next < before.usn.next) {
    return { reason: 'reverted', why: 'was put back to an older state' };
  }
  if (opens === 0 && (to !== from || now.usn.next !== before.usn.next)) {
    return { reason: 'behind-its-back', why: 'was written without being mounted' };
  }
  if (opens === 1 && to === from) {
    const why = "was mounted by a driver that logs nothing, such as Linux's ntfs3";
    return { reason: 'behind-its-back', why };
  }
  return undefined;
}
