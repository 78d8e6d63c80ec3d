/** transfer/backup: from a device to a snapshot and back; see README.md. */

export { auditVolume, type VolumeAudit } from './audit-volume.ts';
export {
  type BackupRequest,
  type BackupResult,
  backup,
  backupThreads,
  readUnitBytes,
} from './backup.ts';
export {
  backupChanges,
  type ChangesRequest,
  type ChangesResult,
} from './backup-changes.ts';
export { prepareRestore } from './prepare-restore.ts';
export { type RestoreOptions, type RestoreResult, restore } from './restore.ts';
export { checkOwner } from './volume-owner.ts';
