/** ntfs: read-only parsers of NTFS and its two journals; see README.md. */
export type { NtfsBoot } from './boot.ts';
export { findInDirectory } from './directory.ts';
export { FOLDERS_DEEP_MAX } from './limits.ts';
export { type LogRestart, openLogFile } from './log-file.ts';
export { LogRecords, type LogWalk } from './log-records.ts';
export { fileNameAt, type Reference, referenceAt } from './numbers.ts';
export { ATTRIBUTE, isBlank, type NtfsRecord } from './record.ts';
export type { NtfsRun } from './runs.ts';
export {
  lastUsnBefore,
  openUsnJournal,
  type UsnJournal,
  usnRecords,
} from './usn.ts';
export { type Ntfs, openNtfs, RECORD, RECORDS_OWN } from './volume.ts';
