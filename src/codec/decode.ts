/** Decodes chunks from frames, parents before the patches that need them. Pure, runs anywhere. */
import { damaged } from './errors.ts';
import { type Frame, type FrameRecord, plainRecord, plainSection } from './frame.ts';
import { FRAME_RAW_MAX } from './limits.ts';
import { decodePatch } from './patch.ts';

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
  const sections = new Map<number, Uint8Array>();
  const results = new Map<number, Uint8Array>();
  for (const [number, step] of steps.entries()) {
    const frame = frames[step.frame];
    const record = frame?.records[step.record];
    if (frame === undefined || record === undefined) {
      throw damaged(`frame ${step.frame} has no record ${step.record}`);
    }
    let bytes: Uint8Array;
    if (record.parents.length === 0) {
      const section = sections.get(step.frame) ?? sectionOf(frame);
      sections.set(step.frame, section);
      bytes = plainRecord(section, record);
      // As a parent it may outlive the section, which is a hundred times as large.
      if (lastUse.results.has(number)) bytes = new Uint8Array(bytes);
    } else {
      const parents = step.parents.map((parent) => results.get(parent));
      bytes = patched(frame, step.record, record, parents);
    }
    take(bytes, number);
    if (lastUse.results.has(number)) results.set(number, bytes);
    for (const parent of step.parents) {
      if (lastUse.results.get(parent) === number) results.delete(parent);
    }
    if (lastUse.sections.get(step.frame) === number) {
      giveBack(sections.get(step.frame)!);
      sections.delete(step.frame);
    }
  }
}

/** Memory for sections, used again by the next ones: a fresh half MiB costs its page faults. */
const spare: Uint8Array<ArrayBufferLike>[] = [];
const lent = new WeakSet<ArrayBufferLike>();

/** Kept by each thread: a plan of small frames may have several open at a time. */
const SPARE_MAX = 4;

function sectionOf(frame: Frame): Uint8Array {
  const memory = spare.pop() ?? new Uint8Array(FRAME_RAW_MAX);
  lent.add(memory.buffer);
  const section = plainSection(frame, memory);
  if (section.buffer !== memory.buffer) giveBack(memory);
  return section;
}

/** Nothing for memory that is not ours: a section may lie in its frame. */
function giveBack({ buffer }: Uint8Array): void {
  if (lent.delete(buffer) && spare.length < SPARE_MAX) spare.push(new Uint8Array(buffer));
}

function patched(
  frame: Frame,
  number: number,
  record: FrameRecord,
  parents: (Uint8Array | undefined)[],
): Uint8Array {
  if (parents.length !== record.parents.length || parents.includes(undefined)) {
    throw damaged(`record ${number} misses a parent`);
  }
  const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
  const chunk = decodePatch(patch, parents as Uint8Array[], record.rawBytes);
  if (chunk.byteLength !== record.rawBytes) {
    throw damaged(`a patch gives ${chunk.byteLength} bytes, not ${record.rawBytes}`);
  }
  return chunk;
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
