/** Volume status: one volume at a provider, for people and metrics. */

export type VolumeStatus = {
  readonly volume: string;
  readonly owner: string;
  readonly sizeBytes: number;
  /** Of a replica that nobody has opened yet: at least this one. */
  readonly epoch: number;
  readonly isOpen: boolean;
  /** Its agent has a session here. */
  readonly isConnected: boolean;
  /** This side writes it, and its agent no more; undefined if what says so cannot be read. */
  readonly isPromoted: boolean | undefined;
  /**
   * How old the present epoch may be: since the next one began to come, or, without its agent,
   * since that was heard of last; 0 while the agent is here and nothing is on its way. Undefined if
   * nobody has opened it yet.
   */
  readonly lagMs: number | undefined;
  readonly backlogBytes: number;
  readonly journalBytes: number;
  readonly snapshot: string | null;
  /** With which the present epoch was committed. */
  readonly group?: string | undefined;
};
