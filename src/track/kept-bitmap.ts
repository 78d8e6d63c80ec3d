/**
 * Dirty bitmaps that somebody else keeps and that are never cleared: what they say is a superset of
 * what changed since any snapshot that they saw.
 */
import { Bitmap, type Extent } from '../core/index.ts';
import {
  type ChangeAnswer,
  type ChangeQuestion,
  type ChangeSet,
  cannotSay,
  type Finish,
} from './change-source.ts';
import type { Forgotten, SourceMemory } from './source-memory.ts';

/** A bitmap as it is now. */
export type BitmapState = {
  /** `bitmap daily of disk.qcow2`. */
  readonly what: string;
  /** What it belongs to, so that one of another image is told from it. */
  readonly identity: string;
  readonly granularityBytes: number;
  readonly sizeBytes: number;
  /** Ascending, not touching. */
  readonly dirty: readonly Extent[];
};

/** What is kept of it: enough to see that somebody cleared it, or put an older one in its place. */
export type BitmapMemory = {
  readonly identity: string;
  readonly granularityBytes: number;
  readonly sizeBytes: number;
  /** One bit for each of at most a million parts of the volume that had a dirty block. */
  readonly parts: string;
};

const PARTS_MAX = 2 ** 20;
const PART_BYTES_MIN = 64 * 1024;

export function parseBitmapMemory(value: unknown): BitmapMemory | undefined {
  const { identity, granularityBytes, sizeBytes, parts } = Object(value);
  if (typeof identity !== 'string' || typeof parts !== 'string') return undefined;
  if (!Number.isSafeInteger(granularityBytes) || !Number.isSafeInteger(sizeBytes)) return undefined;
  return { identity, granularityBytes, sizeBytes, parts };
}

/** `read` answers the bitmap, or why none is to be believed; it is called again at the end. */
export async function askKeptBitmap(
  { since, device }: ChangeQuestion,
  memory: SourceMemory<BitmapMemory>,
  read: () => Promise<BitmapState | Forgotten>,
): Promise<ChangeAnswer> {
  const now = await read();
  if ('reason' in now) return cannotSay('qemu', now.reason, now.why);
  if (now.sizeBytes !== device.sizeBytes) {
    const why = `${now.what} is for ${now.sizeBytes} bytes, the volume has ${device.sizeBytes}`;
    return cannotSay('qemu', 'resized', why);
  }
  const finish: Finish = async (outcome) => {
    if (outcome.kind === 'failed') return;
    // What it says now: it may have grown meanwhile, and may not shrink from there on.
    const then = await read();
    if ('reason' in then) return;
    await memory.remember(outcome.snapshot, memoryOf(then));
  };
  const kept = await memory.recall(since);
  const doubt = 'reason' in kept ? kept : doubtOf(kept.value, now);
  if (doubt !== undefined) return cannotSay('qemu', doubt.reason, doubt.why, { finish });
  return changeSet(now, finish);
}

function changeSet(now: BitmapState, finish: Finish): ChangeSet {
  return {
    kind: 'changes',
    source: 'qemu',
    precision: 'superset',
    changed: now.dirty,
    reason: `${now.what}: all that was written since it was made`,
    finish,
  };
}

function doubtOf(before: BitmapMemory, now: BitmapState): Forgotten | undefined {
  const { what } = now;
  if (before.identity !== now.identity) {
    return { reason: 'replaced', why: `${what} belongs to another image than the last time` };
  }
  if (before.sizeBytes !== now.sizeBytes) {
    return { reason: 'resized', why: `${what} was for ${before.sizeBytes} bytes the last time` };
  }
  if (before.granularityBytes !== now.granularityBytes) {
    const units = `${now.granularityBytes} bytes, not of ${before.granularityBytes}`;
    return { reason: 'granularity', why: `${what} has granules of ${units}: it was made anew` };
  }
  const was = Buffer.from(before.parts, 'base64');
  const is = partsOf(now);
  if (was.byteLength !== is.byteLength) return { reason: 'lost', why: 'what was kept is damaged' };
  if (was.every((byte, at) => (byte & ~is[at]!) === 0)) return undefined;
  return {
    reason: 'reverted',
    why: `${what} has forgotten what it said before: it was cleared, or the image put back`,
  };
}

function memoryOf(state: BitmapState): BitmapMemory {
  const { identity, granularityBytes, sizeBytes } = state;
  const parts = Buffer.from(partsOf(state)).toString('base64');
  return { identity, granularityBytes, sizeBytes, parts };
}

function partsOf({ sizeBytes, dirty }: BitmapState): Uint8Array {
  let partBytes = PART_BYTES_MIN;
  while (sizeBytes / partBytes > PARTS_MAX) partBytes *= 2;
  const bits = new Bitmap(Math.ceil(sizeBytes / partBytes));
  for (const { offsetBytes, lengthBytes } of dirty) {
    const first = Math.floor(offsetBytes / partBytes);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / partBytes);
    bits.setRange(first, last - first + 1);
  }
  const { buffer, byteOffset, byteLength } = bits.words;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
