/** What a replica is opened with, and tells. */
import type { Extent } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import type { Tally } from './attempt.ts';
import type { LayersOptions } from './layers.ts';
import type { Replica } from './replica.ts';

export type SnapshotWish = {
  readonly volume: string;
  readonly origin: string;
  /** Of the content, if its agent said so: STORE_DIGEST if it is not, and nothing is committed. */
  readonly expectedDigest: string | undefined;
  /** Of a group: which of its epochs it is. */
  readonly tags?: readonly string[];
  /** Of whole chunks of the repository: they need not be read. */
  readonly hashAt?: (offsetBytes: number) => Uint8Array | undefined;
  /** The provider stops: what is stored so far is kept, and found again by the next try. */
  readonly signal: AbortSignal;
};

/** Stores what a device holds as a snapshot of the volume, and answers with it. */
export type MakeSnapshot = (
  device: Device,
  since: { readonly parent: Snapshot; readonly changed: readonly Extent[] } | undefined,
  wish: SnapshotWish,
) => Promise<Snapshot>;

export type EpochEvent =
  | { readonly event: 'begun'; readonly epoch: number }
  | {
      readonly event: 'committed';
      readonly epoch: number;
      readonly tally: Readonly<Tally>;
      readonly changed: readonly Extent[];
    };

export type ReplicaOptions = LayersOptions & {
  readonly makeSnapshot: MakeSnapshot;
  /** REPLICATE_QUOTA if nothing more is taken from the owner. */
  readonly mayStore?: () => void;
  /** Other replicas of the same owner, as far as they can be opened. */
  readonly others?: (volumes: readonly string[]) => Promise<readonly Replica[]>;
  /** Tests make it small. */
  readonly journalBytesDue?: number | undefined;
  readonly onEpoch?: (event: EpochEvent) => void;
};
