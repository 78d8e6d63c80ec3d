/**
 * Packing: content on its way to who has it in an older state - hashes, patches against what is
 * there, a frame. Run by `jobs.ts`; see replicate/agent/packer.ts for who asks.
 */
import { crc32, equalBytes, SHA256_BYTES, sha256 } from '../core/index.ts';
import { type Compression, compress } from './compression.ts';
import { encodeFrameWithin, type FrameInput, PARENT_REFERENCE_BYTES } from './frame.ts';
import { encodePatch } from './patch.ts';
import { bytesOf, type SharedRange } from './shared-frame.ts';
import { isZero } from './zero.ts';

/** Places are counted from the beginning of the job's memory. */
export type PackPiece = {
  readonly at: number;
  readonly lengthBytes: number;
  /** Room for its SHA-256, all zero where the piece is. */
  readonly hashAt: number;
  /** Where the job's `old` has as many bytes that a patch may stand on. */
  readonly oldAt?: number | undefined;
  /** Parts of the job's `likes` that a patch may stand on together. */
  readonly likes?: readonly PackLike[] | undefined;
};

export type PackLike = { readonly at: number; readonly lengthBytes: number };

export type PackJob = {
  readonly kind: 'pack';
  readonly memory: SharedRange;
  /** Ascending, without overlap, behind all hashes. */
  readonly pieces: readonly PackPiece[];
  /** An earlier job has filled in their hashes. */
  readonly isHashed: boolean;
  readonly old?: SharedArrayBuffer | undefined;
  readonly likes?: SharedArrayBuffer | undefined;
  /** Without it no frame is made, and the pieces stay as they are. */
  readonly frame?: { readonly compression: Compression; readonly fromAt: number } | undefined;
};

/** What became of a piece; one of PACKED_IN_VAIN is plain, a patch having been no use. */
export const PACKED_ZERO = 0;
export const PACKED_PLAIN = 1;
export const PACKED_IN_VAIN = 2;
export const PACKED_PATCH = 3;
/** A patch that stands on all of the piece's likes; its record names the first one. */
export const PACKED_LIKE = 4;

export type PackResult = {
  /** The frame, with a record for each piece that is not zero: over what lay from `fromAt` on. */
  readonly at: number;
  readonly storedBytes: number;
  /** One for each piece. */
  readonly fates: Uint8Array;
};

/** What stands before the content of so many pieces at most, if none of them is a patch. */
export function frameRoomBytes(pieceCount: number): number {
  return 64 + 8 * pieceCount;
}

/** A patch is taken if it has at most this share of the bytes that it stands for. */
const PATCH_SHARE_MAX = 0.5;

/** Below this share of its bytes nothing better than a patch against what was there is tried. */
const SMALL_SHARE = 1 / 32;

/** A patch against likes has at most this share of what the piece takes otherwise. */
const LIKES_WORTH = 0.9;
/** What it takes to say which one each of them is. */
const LIKE_BYTES = 8;

/** What is compared of old and new bytes before a patch is tried: 32 of each 256 bytes. */
const LIKENESS_STEP_BYTES = 256;
const LIKENESS_BYTES = 32;

export function pack({ memory: range, pieces, isHashed, ...job }: PackJob): PackResult {
  const { frame } = job;
  const memory = bytesOf(range);
  const old = job.old && new Uint8Array(job.old);
  const around = job.likes && new Uint8Array(job.likes);
  const fates = new Uint8Array(pieces.length);
  const inputs: FrameInput[] = [];
  for (const [index, { at, lengthBytes, hashAt, oldAt, likes = [] }] of pieces.entries()) {
    const bytes = memory.subarray(at, at + lengthBytes);
    const hash = memory.subarray(hashAt, hashAt + SHA256_BYTES);
    if (!isHashed) {
      if (isZero(bytes)) hash.fill(0);
      else hash.set(sha256(bytes));
    }
    if (frame === undefined || isZero(hash)) continue;
    const was = oldAt === undefined ? undefined : old?.subarray(oldAt, oldAt + lengthBytes);
    const patch = was && patchOf(bytes, was);
    const parents = likes.map((like) => around!.subarray(like.at, like.at + like.lengthBytes));
    const like = parents.length > 0 && likePatchOf(bytes, parents, patch, frame.compression);
    inputs.push(like || patch || { kind: 'plain', bytes });
    if (like) fates[index] = PACKED_LIKE;
    else if (patch !== undefined) fates[index] = PACKED_PATCH;
    else fates[index] = was === undefined ? PACKED_PLAIN : PACKED_IN_VAIN;
  }
  if (frame === undefined || inputs.length === 0) return { at: 0, storedBytes: 0, fates };
  const { compression, fromAt } = frame;
  const { at, storedBytes } = encodeFrameWithin(inputs, compression, memory.subarray(fromAt));
  return { at: fromAt + at, storedBytes, fates };
}

type Patch = Extract<FrameInput, { kind: 'patch' }>;

function patchOf(bytes: Uint8Array, old: Uint8Array): Patch | undefined {
  if (!looksAlike(old, bytes)) return undefined;
  const patch = encodePatch(bytes, [old]);
  if (patch === undefined || patch.byteLength > bytes.byteLength * PATCH_SHARE_MAX)
    return undefined;
  return { kind: 'patch', rawBytes: bytes.byteLength, patch, parents: [plainReference(old)] };
}

/** Undefined if it is not clearly smaller than what there is without it. */
function likePatchOf(
  bytes: Uint8Array,
  parents: readonly Uint8Array[],
  known: Patch | undefined,
  compression: Compression,
): Patch | undefined {
  const rawBytes = bytes.byteLength;
  if (known !== undefined && known.patch.byteLength <= rawBytes * SMALL_SHARE) return undefined;
  const patch = encodePatch(bytes, parents);
  if (patch === undefined) return undefined;
  const storedBytes = patch.byteLength + LIKE_BYTES * parents.length;
  const mostBytes = (known?.patch.byteLength ?? rawBytes) * LIKES_WORTH;
  if (storedBytes > mostBytes) return undefined;
  if (known === undefined) {
    const aloneBytes = compress(bytes, compression).stored.byteLength;
    if (storedBytes > aloneBytes * LIKES_WORTH) return undefined;
  }
  return { kind: 'patch', rawBytes, patch, parents: [plainReference(parents[0]!)] };
}

/** Where no place of the old bytes is as it was, a patch is hardly worth what trying it costs. */
function looksAlike(old: Uint8Array, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.byteLength; at += LIKENESS_STEP_BYTES) {
    const end = at + LIKENESS_BYTES;
    if (equalBytes(old.subarray(at, end), bytes.subarray(at, end))) return true;
  }
  return false;
}

/** Names content by its CRC-32 and the beginning of its SHA-256: it finds, and proves nothing. */
export function plainReference(bytes: Uint8Array): Uint8Array {
  const reference = new Uint8Array(PARENT_REFERENCE_BYTES);
  new DataView(reference.buffer).setUint32(0, crc32(bytes), true);
  reference.set(sha256(bytes).subarray(0, PARENT_REFERENCE_BYTES - 4), 4);
  return reference;
}
