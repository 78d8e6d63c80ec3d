/** Which dictionary makes a chunk smallest without making it slow to read, if any is worth it. */
import { type Compression, compress } from './compression.ts';
import { PATCH_DEPTH_MAX } from './limits.ts';
import { encodePatch, PATCH_WORTH } from './patch.ts';

/** Steps of the job's plan whose results together may serve as a record's dictionary. */
export type ParentChoice = {
  readonly steps: readonly number[];
  /** As the patch names them, in the same order. */
  readonly references: readonly Uint8Array[];
  /** What a patch against them stands on: chunks of this depth at most. */
  readonly depth: number;
};

export type ChosenPatch = { readonly choice: number; readonly patch: Uint8Array };

/** Below this share of the chunk a patch is taken without asking what plain would cost. */
export const CLEARLY_WORTH = 1 / 8;

/** Above this share a patch is only better than none: whatever is below it is preferred. */
export const HARDLY_WORTH = 1 / 2;

/**
 * Each patch in a chain must make its successor this much smaller than the one before it: against a
 * chain's base a patch may be twice as large as against the newest version. Chains stay flat, and a
 * chunk that changes every day is not at the end of its chain at once. A chunk in which other bytes
 * change each day costs a tenth less over thirty days than with 1.5, and half after a hundred.
 */
const DEPTH_FACTOR = 2;
const DEPTH_SCORE_MAX = DEPTH_FACTOR ** PATCH_DEPTH_MAX;

/** The best patch, or undefined if the codec refuses or no parent of a choice is known. */
export function smallestPatch(
  bytes: Uint8Array,
  choices: readonly ParentChoice[],
  known: readonly (Uint8Array | undefined)[],
): ChosenPatch | undefined {
  let best: ChosenPatch | undefined;
  let bestScore = Infinity;
  for (const [choice, { steps, depth }] of choices.entries()) {
    const parents = steps.flatMap((step) => known[step] ?? []);
    if (parents.length !== steps.length) continue;
    const patch = encodePatch(bytes, parents);
    if (patch === undefined) continue;
    const score = scoreOf(patch.byteLength, bytes.byteLength, depth);
    if (score >= bestScore) continue;
    best = { choice, patch };
    bestScore = score;
  }
  return best;
}

function scoreOf(patchBytes: number, rawBytes: number, depth: number): number {
  if (patchBytes > rawBytes * HARDLY_WORTH) return rawBytes * DEPTH_SCORE_MAX + patchBytes;
  return patchBytes * DEPTH_FACTOR ** depth;
}

/** A patch costs reading its parents: it must be clearly smaller than the chunk alone. */
export function worthwhile(
  bytes: Uint8Array,
  best: ChosenPatch | undefined,
  compression: Compression,
): ChosenPatch | undefined {
  if (best === undefined) return undefined;
  const size = best.patch.byteLength;
  if (size <= bytes.byteLength * CLEARLY_WORTH) return best;
  if (size >= bytes.byteLength) return undefined;
  const alone = compress(bytes, compression).stored.byteLength;
  return size <= alone * PATCH_WORTH ? best : undefined;
}
