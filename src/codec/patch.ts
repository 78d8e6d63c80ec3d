/**
 * Patches: a chunk compressed with its parents' bytes as zstd dictionary, so that what they share
 * costs next to nothing.
 */
import assert from 'node:assert/strict';
import { compressedBytesMax, unzstd, zstd } from './compression.ts';
import { PATCH_PARENTS_MAX } from './limits.ts';

/** Level 3: higher levels gain under 4 % on a database's day and cost three times as much. */
const PATCH_LEVEL = 3;

/** A patch must be at most this share of what the chunk costs alone. */
export const PATCH_WORTH = 0.75;

/** Used again and again: the codec copies what it needs, and this would be garbage per patch. */
let dictionaryMemory = new Uint8Array(0);

/**
 * The dictionary begins with a zero byte: parents that begin with zstd's dictionary magic
 * (37 a4 30 ec) would otherwise be taken for a formatted dictionary, and the call would throw. It
 * is valid until the next call.
 */
function dictionaryOf(parents: readonly Uint8Array[]): Uint8Array {
  assert(parents.length > 0 && parents.length <= PATCH_PARENTS_MAX);
  let total = 1;
  for (const parent of parents) total += parent.byteLength;
  if (dictionaryMemory.byteLength < total) dictionaryMemory = new Uint8Array(total);
  const dictionary = dictionaryMemory.subarray(0, total);
  let at = 1;
  for (const parent of parents) {
    dictionary.set(parent, at);
    at += parent.byteLength;
  }
  return dictionary;
}

/** Where patches are made, before they are kept at their own size. */
let patchMemory = new Uint8Array(0);

/** Undefined when the codec refuses: the caller then stores the chunk plain. */
export function encodePatch(
  chunk: Uint8Array,
  parents: readonly Uint8Array[],
): Uint8Array | undefined {
  const mostBytes = compressedBytesMax(chunk.byteLength);
  if (patchMemory.byteLength < mostBytes) patchMemory = new Uint8Array(mostBytes);
  try {
    return zstd(chunk, PATCH_LEVEL, dictionaryOf(parents), patchMemory).slice();
  } catch {
    return undefined; // A gain forgone, nothing lost: plain always works.
  }
}

/**
 * At most `rawBytes` bytes, perhaps at the start of `memory`; CODEC_DAMAGED if the patch does not
 * decode against these parents.
 */
export function decodePatch(
  patch: Uint8Array,
  parents: readonly Uint8Array[],
  rawBytes: number,
  memory?: Uint8Array,
): Uint8Array {
  return unzstd(patch, rawBytes, dictionaryOf(parents), memory);
}
