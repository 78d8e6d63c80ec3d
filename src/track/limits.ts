/** The named limits of track, each with its reason. */

/** The least that an audit compares: a chunk of the usual size. A bit is kept for each. */
export const AUDIT_UNIT_BYTES = 64 * 1024;

/** Reads of an audit at the same time: it must not crowd out the backup that it belongs to. */
export const AUDITS_IN_FLIGHT = 4;

/** Untold ranges that a report lists; the others are counted. */
export const UNTOLD_KEPT_MAX = 100;

/** Of what is called clean each run reads this much again, unless a person says otherwise. */
export const AUDIT_SHARE = 0.005;

/** And no more than this: on large volumes the share is smaller, and the report says so. */
export const AUDIT_BYTES = 256 * 2 ** 20;

/** More changed ranges than that in memory are as good as everything. */
export const DIRTY_RUNS_MAX = 1_000_000;
