/** How a repository is made, and opened. */
import type { ObjectStore } from '../objects/index.ts';
import type { FingerprintBits } from './chunk-index.ts';
import type { NewKey } from './crypto-key-objects.ts';
import type { UnlockOptions } from './encryption.ts';
import type { HeadGuardOptions } from './head-guard.ts';
import type { OnHealed } from './healing-store.ts';
import type { Superblock } from './superblock.ts';

/** `heads`: what this node has seen of the log before; see HeadGuardOptions. */
export type HeadOptions = Pick<HeadGuardOptions, 'memory' | 'onTrouble' | 'onRolledBack'>;

export type OpenOptions = UnlockOptions & {
  readonly heads?: HeadOptions;
  /**
   * Puts over the store what this repository needs: a cache, a guard. A repository of one writer is
   * opened only with it.
   */
  readonly prepare?: (objects: ObjectStore, superblock: Superblock) => ObjectStore;
  /** Told when a damaged pack is read with the help of its parity. */
  readonly onHealed?: OnHealed;
  /** False to see damage as it is, also where parity undoes it. */
  readonly heals?: boolean;
  /** Tests shorten fingerprints, so that unequal chunks collide. */
  readonly fingerprints?: FingerprintBits;
};

export type InitOptions = {
  readonly chunkBytes?: number;
  /** The object store was found to overwrite: it cannot keep two writers apart. */
  readonly singleWriter?: boolean;
  /** Encrypts the repository: its first password. */
  readonly key?: Omit<NewKey, 'created'>;
};
