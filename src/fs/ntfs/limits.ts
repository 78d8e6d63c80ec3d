/** The bounds of what the parsers of NTFS take from a disk, each with its reason. */

/** Windows formats clusters of 512 bytes to 2 MiB. */
export const CLUSTER_BYTES_MIN = 512;
export const CLUSTER_BYTES_MAX = 2 * 1024 * 1024;

/** 8 TiB in clusters of 4 KiB; a bit is kept for each in memory (256 MiB). */
export const CLUSTERS_MAX = 2 ** 31;

/** Files and directories, each with its record; a bit is kept for each, three times. */
export const RECORDS_MAX = 2 ** 28;

/** Records have 1 KiB, or 4 KiB on disks with such sectors. */
export const RECORD_BYTES_MIN = 512;
export const RECORD_BYTES_MAX = 16 * 1024;

/** Blocks of directories have 4 KiB. */
export const INDEX_BYTES_MAX = 64 * 1024;

/** Windows makes no longer list of attributes. */
export const ATTRIBUTE_LIST_BYTES_MAX = 256 * 1024;

/** Pieces of one stream in memory. */
export const STREAM_RUNS_MAX = 2 ** 20;

/** Blocks of a directory in which a name is looked for: $Extend has one or none. */
export const INDEX_BLOCKS_MAX = 1024;

/** Folders in folders: more than a path of 32,767 characters can have is a loop. */
export const FOLDERS_DEEP_MAX = 16_384;

/** Pages of $LogFile have 4 KiB. */
export const LOG_PAGE_BYTES_MIN = 512;
export const LOG_PAGE_BYTES_MAX = 64 * 1024;

/** NTFS itself takes 4 GiB at most. */
export const LOG_BYTES_MAX = 4 * 1024 ** 3;

/** One record of $LogFile: what it redoes and undoes, of one page each, or a table of the log. */
export const LOG_RECORD_BYTES_MAX = 16 * 1024 * 1024;

/** Clusters that are named in one walk through the log. */
export const LOGGED_CLUSTERS_MAX = 2 ** 22;

/** Read of $UsnJrnl between two moments; Windows makes it 32 MiB, people some GiB. */
export const USN_BYTES_MAX = 64 * 1024 ** 3;

/** Read at a time. */
export const PIECE_BYTES = 1024 * 1024;
