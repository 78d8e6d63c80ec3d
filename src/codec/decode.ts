/** Decodes chunks from frames, parents before the patches that need them. Pure, runs anywhere. */
import { damaged } from './errors.ts';
import { type Frame, plainRecord, plainSection } from './frame.ts';
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

/** The plain bytes of every step, unverified: callers compare the hash before they use them. */
export function decodeSteps(frames: readonly Frame[], steps: readonly DecodeStep[]): Uint8Array[] {
  const sections: (Uint8Array | undefined)[] = [];
  const results: Uint8Array[] = [];
  for (const step of steps) {
    const frame = frames[step.frame];
    const record = frame?.records[step.record];
    if (frame === undefined || record === undefined) {
      throw damaged(`frame ${step.frame} has no record ${step.record}`);
    }
    if (record.parents.length === 0) {
      sections[step.frame] ??= plainSection(frame);
      results.push(plainRecord(sections[step.frame]!, record));
      continue;
    }
    const parents = step.parents.map((parent) => results[parent]);
    if (parents.length !== record.parents.length || parents.includes(undefined)) {
      throw damaged(`record ${step.record} misses a parent`);
    }
    const patch = frame.bytes.subarray(record.at, record.at + record.storedBytes);
    const chunk = decodePatch(patch, parents as Uint8Array[], record.rawBytes);
    if (chunk.byteLength !== record.rawBytes) {
      throw damaged(`a patch gives ${chunk.byteLength} bytes, not ${record.rawBytes}`);
    }
    results.push(chunk);
  }
  return results;
}
