/** fs: read-only parsers of what lies on a device; see README.md. */
export { FsError, type FsErrorCode } from './errors.ts';
export { type Ext4, type Ext4Group, openExt4 } from './ext4.ts';
export { type Ext4Inode, type FileRun, fileRuns, inodeOf, leafRuns } from './ext4-inode.ts';
export { type Ext4Super, looksLikeExt4, readExt4Super } from './ext4-super.ts';
export { type Jbd2, type Jbd2Super, openJbd2 } from './jbd2.ts';
export { type Commit, commitAt, findCommit, type Walk, walkLog } from './jbd2-log.ts';
export { BACKING_CHAIN_MAX } from './limits.ts';
export { ntfsPlaces } from './ntfs/places.ts';
export { type Partition, type PartitionTable, readPartitions } from './partitions.ts';
export {
  type DirtyRun,
  dirtyRuns,
  type Qcow2Bitmap,
  readQcow2Bitmaps,
} from './qcow2-bitmaps.ts';
export { type Qcow2DeviceOptions, qcow2Device } from './qcow2-device.ts';
export {
  looksLikeQcow2,
  type Qcow2Backing,
  type Qcow2Header,
  type Qcow2Table,
  readQcow2Header,
} from './qcow2-header.ts';
export { type Qcow2Map, readQcow2Map } from './qcow2-map.ts';
export {
  differingClusters,
  type Qcow2Snapshot,
  readQcow2Snapshots,
} from './qcow2-snapshots.ts';
