/** The named limits of object stores, each with its reason. */

/** Fits, below any folder, into the 255 bytes and 4 KiB that file systems allow. */
export const OBJECT_NAME_BYTES_MAX = 200;

/** Open files that wait for the next range read; the usual limit of a process is 1,024. */
export const IDLE_HANDLES_MAX = 64;

/** Folders known to be durable; packs have 256, the rest a handful. Forgetting one costs a sync. */
export const DURABLE_FOLDERS_MAX = 4096;

/** Files that a listing asks about at once: enough to keep the thread pool busy. */
export const LISTING_CALLS_MAX = 16;
