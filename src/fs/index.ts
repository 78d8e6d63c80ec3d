/** fs: read-only parsers of what lies on a device; see README.md. */
export { FsError, type FsErrorCode } from './errors.ts';
export { BACKING_CHAIN_MAX } from './limits.ts';
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
