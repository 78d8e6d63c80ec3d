/** store: the repository - packs, index, manifests, commit log; see README.md. */
export {
  type BackupOptions,
  BackupSession,
  type CommitFacts,
  type Original,
} from './backup-session.ts';
export { BATCH_BYTES, type Batch } from './batch.ts';
export { boundedPlans, type PartPlan } from './bounded-plans.ts';
export { ByteCache } from './byte-cache.ts';
export {
  type BlockForm,
  type BlockListing,
  type BlockPage,
  type ChangedBlock,
  changedBlocks,
  PAGE_RESULTS_DEFAULT,
  PAGE_RESULTS_MAX,
  type PageRequest,
  pageOfBlocks,
} from './changed-blocks.ts';
export { type CheckOptions, type CheckReport, check, type Problem } from './check.ts';
export type { ChunkIndex, Location } from './chunk-index.ts';
export { ChunkReader } from './chunk-reader.ts';
export type { KeyInfo, NewKey } from './crypto-key-objects.ts';
export { type ChangedExtent, diffTrees } from './diff.ts';
export { KeyRing, type Secret, type UnlockOptions } from './encryption.ts';
export { StoreError, type StoreErrorCode } from './errors.ts';
export { FrameCache } from './frame-cache.ts';
export type { GcOptions, GcProgress, GcReport } from './gc-report.ts';
export { coveredBytes, type Geometry, leafCount, treeHeight } from './geometry.ts';
export { type HeadMemory, headFiles, type KnownHead } from './head-memory.ts';
export { mayBeDamage } from './healing.ts';
export { Leaf, PIECE_CHUNK, PIECE_DISCARDED, PIECE_HOLE, PIECE_ZERO } from './leaf.ts';
export { FANOUT, LEAF_BYTES } from './limits.ts';
export { RECORD_CHUNK } from './pack-table.ts';
export {
  dropParity,
  type Protection,
  protectedPacks,
  protectRepository,
  setParity,
} from './parity.ts';
export { parityKey } from './parity-file.ts';
export { eachChunk, leaves } from './pieces.ts';
export {
  choosePacks,
  type PackChoice,
  type ReadMemory,
  type ReadRun,
  readFiles,
} from './read-memory.ts';
export { type RebuiltIndex, rebuildIndex } from './rebuild-index.ts';
export { type RepairReport, repairAll } from './repair-all.ts';
export type { RepairNote } from './repair-base.ts';
export { Repository } from './repository.ts';
export type { HeadOptions, InitOptions, OpenOptions } from './repository-options.ts';
export { isEmptyPolicy, type Kept, type RetentionPolicy, retention } from './retention.ts';
export { plainSealer, type SealedObjects, type Sealer, sealedObjects } from './sealer.ts';
export { singleWriterStore, type WriterOptions } from './single-writer.ts';

export { Slots } from './slots.ts';

export {
  checkTag,
  checkVolumeName,
  geometryOf,
  originalId,
  parseSnapshotName,
  type Snapshot,
  treeOf,
  type UnreadableExtent,
} from './snapshot.ts';
export type { TagChange } from './snapshot-changes.ts';
export { SnapshotWriter, type WriterStats } from './snapshot-writer.ts';
export { isSingleWriter, type Superblock } from './superblock.ts';
export type { Tree, TreeReader } from './tree-reader.ts';
export {
  CANONICAL_BYTES,
  nodeDigest,
  volumeDigest,
  zeroChunkDigest,
  zeroDigest,
} from './volume-digest.ts';
export { isWhole } from './whole.ts';
