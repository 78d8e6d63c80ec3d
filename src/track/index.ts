/** track: where change sets come from - sources, the ladder that chooses; see README.md. */
export { type AuditReport, audit, auditWords, confidence, ToldUnits } from './audit.ts';
export {
  type CannotSay,
  type CannotSayReason,
  CHANGE_SOURCES,
  type ChangeAnswer,
  type ChangedRange,
  type ChangeQuestion,
  type ChangeSet,
  type ChangeSource,
  type ChangeSourceName,
  cannotSay,
  type Everything,
  type Finish,
  type Outcome,
} from './change-source.ts';
export { checksumSource, fullSource } from './comparison.ts';
export { TrackError, type TrackErrorCode } from './errors.ts';
export {
  type Ext4JournalOptions,
  ext4JournalSource,
  ext4Places,
  type JournalMemory,
  parseJournalMemory,
} from './ext4-journal.ts';
export {
  findImageSnapshot,
  type ImageSnapshotsOptions,
  imageSnapshotsSource,
  parseImageSnapshotMemory,
} from './image-snapshots.ts';
export { type BitmapMemory, parseBitmapMemory } from './kept-bitmap.ts';
export {
  CHANGE_CHOICES,
  type ChangeChoice,
  type Found,
  findChanges,
  type LadderOptions,
} from './ladder.ts';
export { AUDIT_BYTES, AUDIT_SHARE } from './limits.ts';
export { bitmapContext, type NbdBitmapOptions, nbdBitmapSource } from './nbd-bitmap.ts';
export {
  AccessProfile,
  HALF_LIFE_SECONDS,
  type Heat,
  ProfileKeeper,
  profileIn,
  type RegionAccess,
} from './profile/index.ts';
export {
  BITMAP_NAME_DEFAULT,
  type Qcow2BitmapOptions,
  qcow2BitmapSource,
} from './qcow2-bitmap.ts';
export {
  parseQemuMemory,
  type QemuBitmapOptions,
  qemuBitmapSource,
} from './qemu-bitmap.ts';
export { type MomentOptions, openQemuMoment, QemuMoment } from './qemu-moment.ts';
export { rbdDiffSource } from './rbd-diff.ts';
export {
  parseCloneMemory,
  type SharedExtentsOptions,
  sharedExtentsSource,
} from './shared-extents.ts';
export { SourceMemory } from './source-memory.ts';
export { thinDeltaSource } from './thin-delta.ts';
export {
  BLOCK_BYTES,
  type Cursor,
  type Cut,
  type DirtyMap,
  type FreezeOptions,
  type Holding,
  type Identity,
  type Lost,
  MOMENT_PREFIX,
  Moment,
  markOf,
  PreImages,
  reasonOf,
  type Since,
  type StoppedTracker,
  stoppedTrackerSource,
  type Told,
  type TrackedDevice,
  type TrackedOptions,
  Tracker,
  type TrackerOptions,
  toldUpTo,
  tracked,
} from './tracker/index.ts';
export { Trust } from './trust.ts';
