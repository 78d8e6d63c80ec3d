/** transfer: what the journeys share; each journey has a face of its own, `backup/index.ts` ... */
export {
  type CostEstimate,
  type CostItem,
  defaultPrices,
  estimateCost,
  readPrices,
} from './cost.ts';
export { deviceDigest } from './device-digest.ts';
export {
  checkRawTarget,
  type Disk,
  type DiskFormat,
  isTakenForQcow2,
  openDisk,
} from './disk-image.ts';
export { TransferError, type TransferErrorCode } from './errors.ts';
export type { OnProgress, Progress } from './progress.ts';
export { defaultVolumeName, isPath, openRestoreTarget, openSource, originOf } from './sources.ts';
export { type ObjectCount, type RepositoryStats, repositoryStats } from './stats.ts';
