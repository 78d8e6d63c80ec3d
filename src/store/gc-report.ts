/** What a run of garbage collection is asked for, and what it tells. */

export type GcOptions = {
  /** Only finds out what would be done. */
  readonly dryRun?: boolean;
  /** Chunks that resemble others of any volume are stored anew, as patches. */
  readonly similar?: boolean;
  /** Readers are taken for dead: they will find that what they read is gone. */
  readonly breakPins?: boolean;
  /** How long a writer without a lock is watched before it is taken for dead. */
  readonly waitMs?: number;
  readonly packTargetBytes?: number;
  readonly onProgress?: (progress: GcProgress) => void;
  readonly signal?: AbortSignal;
};

export type GcProgress = { readonly step: string; readonly done: number };

export type GcReport = {
  /** Packs of which nothing is needed, and those that were, or would be, rewritten. */
  deadPacks: number;
  sparsePacks: number;
  /** What is needed of these was copied. */
  copiedBytes: number;
  newPacks: number;
  /** Packs that the log names no more. */
  droppedPacks: number;
  /** Packs that were condemned and turned out to be needed. */
  sparedPacks: number;
  /** Condemned packs that wait until these writers have ended. */
  condemnedPacks: number;
  waitingFor: {
    readonly kind: 'backup' | 'gc' | 'reader';
    readonly volume: string;
    readonly writer: string;
  }[];
  /** Packs and segments that no commit had ever named, unfinished files, sessions of the dead. */
  orphans: number;
  unfinishedFiles: number;
  deadSessions: number;
  /** Bytes of everything that was removed. */
  freedBytes: number;
  /** Whole chunks that became, or would become, patches; and how much less they take. */
  similarChunks: number;
  similarBytes: number;
  /** In a dry run: what the packs concerned have, less what would be copied. */
  wouldFreeBytes: number;
  /** Packs that lacked parity and have it now; and that are damaged, so that they get none. */
  protectedPacks: number;
  unprotectedPacks: number;
  /** There was no room to rewrite packs: only those that nothing is needed of are gone. */
  noSpace: boolean;
};

export function emptyReport(): GcReport {
  return {
    deadPacks: 0,
    sparsePacks: 0,
    copiedBytes: 0,
    newPacks: 0,
    droppedPacks: 0,
    sparedPacks: 0,
    condemnedPacks: 0,
    waitingFor: [],
    orphans: 0,
    unfinishedFiles: 0,
    deadSessions: 0,
    freedBytes: 0,
    similarChunks: 0,
    similarBytes: 0,
    wouldFreeBytes: 0,
    protectedPacks: 0,
    unprotectedPacks: 0,
    noSpace: false,
  };
}
