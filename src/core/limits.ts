/** The named limits of core, each with its reason. */

/** What one read or write hands to the kernel; Linux itself stops just below 2 GiB. */
export const TRANSFER_BYTES_MAX = 2 ** 30;

/** How often an interrupted call is tried again: a storm of signals ends as an error. */
export const INTERRUPTED_RETRIES_MAX = 100;

/** The longest delay of a Node timer (2^31 - 1 ms); a longer one would fire at once. */
export const TIMER_DELAY_MAX_MS = 2 ** 31 - 1;

/** Waiters of one gate: far above any sensible load, low enough to show a runaway producer. */
export const GATE_WAITERS_MAX = 65536;
