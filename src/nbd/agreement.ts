/** What a connection was given when its handshake was over. */
import type { Clock } from '../core/index.ts';
import type { Budget } from './budget.ts';
import type { MetaContext, OpenExport } from './exports.ts';
import type { JobPool } from './jobs.ts';
import type { SlabPool } from './slabs.ts';

/** What the connections of one server share. */
export type Shared = {
  readonly slabs: SlabPool;
  readonly jobs: JobPool;
  readonly budget: Budget;
  readonly clock: Clock;
};

export type Agreement = {
  readonly style: number;
  readonly opened: OpenExport;
  /** The selected contexts and the numbers they got. */
  readonly contexts: readonly { readonly id: number; readonly context: MetaContext }[];
};
