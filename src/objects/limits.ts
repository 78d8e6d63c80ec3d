/** The named limits of object stores, each with its reason. */

/** Fits, below any folder, into the 255 bytes and 4 KiB that file systems allow. */
export const OBJECT_NAME_BYTES_MAX = 200;

/** Open files that wait for the next range read; the usual limit of a process is 1,024. */
export const IDLE_HANDLES_MAX = 64;

/** Folders known to be durable; packs have 256, the rest a handful. Forgetting one costs a sync. */
export const DURABLE_FOLDERS_MAX = 4096;

/** Files that a listing asks about at once: enough to keep the thread pool busy. */
export const LISTING_CALLS_MAX = 16;

/** One copy of the local cache: a frame, a table, an index segment. Larger ones are read afar. */
export const CACHED_BYTES_MAX = 64 * 1024 * 1024;

/** `FYCC`, little-endian: what a copy begins with. Another layout gets another one. */
export const CACHE_MAGIC = 0x43435946;

/** What stays of a full cache when room is made. */
export const CACHE_KEEP_SHARE = 0.9;

/** Names removed through a cached store, of which nothing is kept afterwards. */
export const CACHE_REMOVED_MAX = 65536;

/** Copies that wait for the local disk; what comes on top is not kept. */
export const CACHE_WAITING_BYTES_MAX = 32 * 1024 * 1024;
