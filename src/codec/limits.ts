/** The bounds of records and frames; format.md repeats them, changing one changes the format. */
import assert from 'node:assert/strict';

const KiB = 1024;

/** The unit of deduplication unless the repository says otherwise. */
export const CHUNK_BYTES_DEFAULT = 64 * KiB;
export const CHUNK_BYTES_MIN = 4 * KiB;
export const CHUNK_BYTES_MAX = 1024 * KiB;

/** Plain bytes of all records of one frame: what a reader must be ready to hold. */
export const FRAME_RAW_MAX = 1024 * KiB;

/** What all records of one frame come to with their zero margins: unfolding one has an end. */
export const FRAME_UNFOLDED_MAX = 8192 * KiB;

/**
 * Where the writer closes a frame. Larger compresses better, smaller answers a small read sooner.
 */
export const FRAME_RAW_TARGET = 512 * KiB;

/** A frame of 4 KiB chunks holds 256; metadata records may be shorter. */
export const FRAME_RECORDS_MAX = 1024;

/** Raw data plus, per record, its header of at most 128 bytes, and the frame's own. */
export const FRAME_STORED_MAX = FRAME_RAW_MAX + FRAME_RECORDS_MAX * 128 + 64;

/** Chunks whose bytes together form a patch's dictionary. */
export const PATCH_PARENTS_MAX = 8;

/** 0 is plain; a patch of a plain chunk is 1. Bounds the work of reading one chunk. */
export const PATCH_DEPTH_MAX = 8;

/** Frames that reading one chunk may touch, its own included. */
export const FRAMES_TOUCHED_MAX = 24;

/** What a writer keeps to. */
export type PatchLimits = {
  readonly parentsMax: number;
  readonly depthMax: number;
  readonly framesTouchedMax: number;
};

export const patchLimits: PatchLimits = {
  parentsMax: PATCH_PARENTS_MAX,
  depthMax: PATCH_DEPTH_MAX,
  framesTouchedMax: FRAMES_TOUCHED_MAX,
};

/** In repositories that programs may read which know of no more. */
export const patchLimitsAtFirst: PatchLimits = { parentsMax: 4, depthMax: 4, framesTouchedMax: 16 };

assert(CHUNK_BYTES_MAX <= FRAME_RAW_MAX, 'a chunk must fit into a frame');
assert(FRAME_RAW_MAX <= FRAME_UNFOLDED_MAX);
assert(FRAME_RAW_TARGET <= FRAME_RAW_MAX);
