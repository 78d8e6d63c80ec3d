/** ntfs: what the journals of NTFS tell, not loaded where there is none; see README.md. */
export {
  type NtfsJournalOptions,
  type NtfsMemory,
  ntfsJournalSource,
  parseNtfsMemory,
} from './ntfs-journal.ts';
