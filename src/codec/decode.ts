/** Decodes chunks from frames, parents before the patches that need them. Pure, runs anywhere. */
import { damaged } from './errors.ts';
import { type Frame, type FrameRecord, plainRecord, plainSection } from './frame.ts';
import { FRAME_RAW_MAX } from './limits.ts';
import { decodePatch } from './patch.ts';
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
 * Gives the plain bytes of every step in turn to `take`, which compares the hash: they are not
 * verified yet. What it keeps of them, it copies: they may be a view of a whole frame's section.
 * A section, and a result, is let go of after the last step that needs it.
 */
export function decodeSteps(
  frames: readonly Frame[],
  steps: readonly DecodeStep[],
  take: (bytes: Uint8Array, step: number) => void,
): void {
  const lastUse = lastUses(frames, steps);
  const sections = new Map<number, Section>();
  const results = new Map<number, Result>();
  for (const [number, step] of steps.entries()) {
    const frame = frames[step.frame];
    const record = frame?.records[step.record];
    if (frame === undefined || record === undefined) {
      throw damaged(`frame ${step.frame} has no record ${step.record}`);
    }
    const isParent = lastUse.results.has(number);
    let result: Result;
    if (record.parents.length === 0) {
      const section = sections.get(step.frame) ?? sectionOf(frame);
      sections.set(step.frame, section);
      result = plainResult(section, record, isParent);
    } else {
      const parents = step.parents.map((parent) => results.get(parent)?.bytes);
      result = patched(frame, step.record, record, parents);
    }
    take(result.bytes, number);
    if (isParent) results.set(number, result);
    else if (result.memory !== undefined) chunkMemory.give(result.memory);
    for (const parent of step.parents) {
      if (lastUse.results.get(parent) !== number) continue;
      const { memory } = results.get(parent)!;
      if (memory !== undefined) chunkMemory.give(memory);
      results.delete(parent);
    }
    if (lastUse.sections.get(step.frame) === number) {
      sectionMemory.give(sections.get(step.frame)!.memory);
      sections.delete(step.frame);
    }
  }
}

/** A frame's plain section; it may lie in the frame, and leave the memory for it unused. */
type Section = { readonly bytes: Uint8Array; readonly memory: Uint8Array };
/** A decoded chunk, and what to give back once nobody looks at it. */
type Result = { readonly bytes: Uint8Array; readonly memory: Uint8Array | undefined };

/** Kept by each thread: a plan of small frames may have several open at a time. */
const sectionMemory = new SpareMemory(4 * FRAME_RAW_MAX);
const chunkMemory = new SpareMemory(FRAME_RAW_MAX);

function sectionOf(frame: Frame): Section {
  const memory = sectionMemory.take(FRAME_RAW_MAX);
  return { bytes: plainSection(frame, memory), memory };
}

/** A view of the section where that serves. */
function plainResult(section: Section, record: FrameRecord, isParent: boolean): Result {
  const { rawBytes, storedBytes, at, skipBytes } = record;
  // As a parent it may outlive the section, which is a hundred times as large.
  const isView = storedBytes === rawBytes && !isParent;
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

/** By frame, and by step that is a parent: the last step that needs it. */
function lastUses(frames: readonly Frame[], steps: readonly DecodeStep[]) {
  const sections = new Map<number, number>();
  const results = new Map<number, number>();
  for (const [number, { frame, record, parents }] of steps.entries()) {
    if (frames[frame]?.records[record]?.parents.length === 0) sections.set(frame, number);
    for (const parent of parents) results.set(parent, number);
  }
  return { sections, results };
}
