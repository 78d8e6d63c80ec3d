/** Decodes chunks from frames, parents before the patches that need them. Pure, runs anywhere. */
import { damaged } from './errors.ts';
import { type Frame, type FrameRecord, plainRecord, plainSection } from './frame.ts';
import { FRAME_RAW_MAX } from './limits.ts';
import { decodePatch } from './patch.ts';
import { type OpenFrame, sharedSection } from './shared-frame.ts';
import { SpareMemory } from './spare-memory.ts';

/**
 * One chunk to decode: record `record` of frame number `frame`; `parents` are the numbers of
 * earlier steps whose results are its dictionary (empty for a plain record).
 */
export type DecodeStep = {
  readonly frame: number;
  readonly record: number;
  readonly parents: readonly number[];
};

/**
 * Gives the plain bytes of every step to `take`, which compares the hash: they are not verified
 * yet. What it keeps of them, it copies: they may be a view of a whole frame's section. Plain
 * records come first, frame by frame, so that one section is open at a time; then the patches, in
 * their order. A result that others need is let go of after the last of them.
 */
export function decodeSteps(
  frames: readonly OpenFrame[],
  steps: readonly DecodeStep[],
  take: (bytes: Uint8Array, step: number) => void,
): void {
  const records = steps.map((step) => recordOf(frames, step));
  const lastUse = lastUses(steps);
  const results = new Map<number, Result>();
  const done = (result: Result, step: number) => {
    take(result.bytes, step);
    if (lastUse.has(step)) results.set(step, result);
    else if (result.memory !== undefined) chunkMemory.give(result.memory);
  };
  for (const [frame, plain] of plainByFrame(steps, records)) {
    const section = sectionOf(frames[frame]!);
    for (const step of plain) done(plainResult(section, records[step]!, lastUse.has(step)), step);
    if (section.memory !== undefined) sectionMemory.give(section.memory);
  }
  for (const [step, { frame, record, parents }] of steps.entries()) {
    if (records[step]!.parents.length === 0) continue;
    const dictionary = parents.map((parent) => results.get(parent)?.bytes);
    done(patched(frames[frame]!, record, records[step]!, dictionary), step);
    for (const parent of parents) {
      if (lastUse.get(parent) !== step) continue;
      const { memory } = results.get(parent)!;
      if (memory !== undefined) chunkMemory.give(memory);
      results.delete(parent);
    }
  }
}

function recordOf(frames: readonly Frame[], { frame, record }: DecodeStep): FrameRecord {
  const found = frames[frame]?.records[record];
  if (found === undefined) throw damaged(`frame ${frame} has no record ${record}`);
  return found;
}

/** The steps that are plain, by the frame that they are in. */
function plainByFrame(
  steps: readonly DecodeStep[],
  records: readonly FrameRecord[],
): ReadonlyMap<number, number[]> {
  const byFrame = new Map<number, number[]>();
  for (const [step, { frame }] of steps.entries()) {
    if (records[step]!.parents.length > 0) continue;
    const known = byFrame.get(frame);
    if (known === undefined) byFrame.set(frame, [step]);
    else known.push(step);
  }
  return byFrame;
}

/**
 * A frame's plain section, and what to give back once nobody looks at it: it may lie in the frame
 * all the same.
 */
type Section = {
  readonly bytes: Uint8Array;
  readonly memory: Uint8Array | undefined;
  readonly isShared: boolean;
};
/** A decoded chunk, and what to give back once nobody looks at it. */
type Result = { readonly bytes: Uint8Array; readonly memory: Uint8Array | undefined };

/** Kept by each thread from job to job. */
const sectionMemory = new SpareMemory(FRAME_RAW_MAX);
const chunkMemory = new SpareMemory(2 * FRAME_RAW_MAX);

function sectionOf(frame: OpenFrame): Section {
  const shared = sharedSection(frame);
  if (shared !== undefined) return { bytes: shared, memory: undefined, isShared: true };
  const memory = sectionMemory.take(FRAME_RAW_MAX);
  return { bytes: plainSection(frame, memory), memory, isShared: false };
}

/** A view of the section where that serves. */
function plainResult(section: Section, record: FrameRecord, isParent: boolean): Result {
  const { rawBytes, storedBytes, at, skipBytes } = record;
  // As a parent it may outlive the section, unless that is others' too.
  const isView = storedBytes === rawBytes && (!isParent || section.isShared);
  if (isView) return { bytes: plainRecord(section.bytes, record), memory: undefined };
  const memory = chunkMemory.take(rawBytes);
  const bytes = memory.subarray(0, rawBytes);
  bytes.fill(0, 0, skipBytes);
  bytes.set(section.bytes.subarray(at, at + storedBytes), skipBytes);
  bytes.fill(0, skipBytes + storedBytes);
  return { bytes, memory };
}

function patched(
  frame: Frame,
  number: number,
  record: FrameRecord,
  parents: (Uint8Array | undefined)[],
): Result {
  if (parents.length !== record.parents.length || parents.includes(undefined)) {
    throw damaged(`record ${number} misses a parent`);
  }
  const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
  const memory = chunkMemory.take(record.rawBytes);
  const bytes = decodePatch(patch, parents as Uint8Array[], record.rawBytes, memory);
  if (bytes.byteLength !== record.rawBytes) {
    throw damaged(`a patch gives ${bytes.byteLength} bytes, not ${record.rawBytes}`);
  }
  return { bytes, memory };
}

/** By step that is a parent: the last step that needs it. */
function lastUses(steps: readonly DecodeStep[]): ReadonlyMap<number, number> {
  const last = new Map<number, number>();
  for (const [number, { parents }] of steps.entries()) {
    for (const parent of parents) last.set(parent, number);
  }
  return last;
}
