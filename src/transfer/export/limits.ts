/** The named limits of exports' control sockets, each with its reason. */

/** One line of the control protocol: a page of ranges, and nothing that a peer could grow. */
export const LINE_BYTES_MAX = 256 * 1024;

/** Ranges in one answer; the asker wants the next page when it has used this one. */
export const RANGES_PER_PAGE = 2000;

/** An export that runs answers at once; one that hangs must not hang a backup. */
export const CONNECT_TIMEOUT_MS = 5000;

/** Sealing a cut forces a file and a log to disk, behind whatever else the disk does. */
export const ANSWER_TIMEOUT_MS = 60_000;

/** Askers at the same time. */
export const ASKERS_MAX = 64;

/** The control sockets that are looked through for an export of a file. */
export const EXPORTS_MAX = 1000;
