/** codec: records, frames and the threads that make them; see README.md. */
export {
  type Compression,
  compress,
  decompress,
  defaultCompression,
} from './compression.ts';
export type { DecodeStep } from './decode.ts';
export { ERASURE_ROWS_MAX, fillRows } from './erasure.ts';
export { CodecError, type CodecErrorCode } from './errors.ts';
export {
  checksumOfFrame,
  encodeFrame,
  type Frame,
  type FrameInput,
  type FrameRecord,
  PARENT_REFERENCE_BYTES,
  type ParentReference,
  parseFrame,
  plainRecord,
  plainSection,
} from './frame.ts';
export {
  clearPart,
  FRAME_SEAL_AT,
  FRAME_SEAL_BYTES,
  type FramePlace,
  NONCE_TABLE,
  nonceOf,
  openFrame,
  type PackKey,
  sealFrame,
} from './frame-seal.ts';
export {
  type DecodeJob,
  type DecodePlan,
  DIGEST_ENTRY_BYTES,
  type DigestJob,
  type EncodeJob,
  type EncodeRecord,
  type EncodeResult,
  type PatchResult,
  runJob,
} from './jobs.ts';
export { checksumOfParts, joinedChecksum, type Parts, restChecksum } from './joined-checksum.ts';
export { LEFT_OUT } from './learn.ts';
export * from './limits.ts';
export {
  frameRoomBytes,
  PACKED_IN_VAIN,
  PACKED_LIKE,
  PACKED_PATCH,
  PACKED_ZERO,
  type PackJob,
  type PackLike,
  plainReference,
} from './pack.ts';
export { decodePatch, encodePatch } from './patch.ts';
export { CLEARLY_WORTH, type ParentChoice } from './patch-choice.ts';
export { type CodecPool, codecPool, worthThreads } from './pool.ts';
export type { FileName, ReadJob } from './read-ranges.ts';
export {
  bytesOf,
  FRAME_NOTES_BYTES,
  openShared,
  type SharedFrame,
  type SharedRange,
} from './shared-frame.ts';
export { type Signatures, type Signer, type Signing, signer } from './signing.ts';
export {
  findSimilar,
  SAMPLE_STEP_BYTES,
  SIMILAR_TABLE_BYTES,
  SimilarTable,
  samplesPerChunk,
  takeSamples,
} from './similar.ts';
export { isZero, withoutZeroMargins } from './zero.ts';
