/** Mounts a snapshot: read-only as it is, or with a local layer that takes the writes. */
import type { Env, Extent } from '../../core/index.ts';
import { type Device, type KeptLayer, openKeptLayer, WriteGate } from '../../device/index.ts';
import type { Repository, Snapshot } from '../../store/index.ts';
import { TransferError } from '../errors.ts';

export type MountOptions = {
  /** Where writes go; without it the mount is read-only. Made if absent. */
  readonly layerDirectory?: string;
  /** Writes that an earlier mount left are taken up; otherwise they make it refuse. */
  readonly goOn?: boolean;
  /** Read-only mounts: clients are told in what the snapshot differs from this one. */
  readonly since?: Snapshot | undefined;
};

/** What a commit hands over: ranges outside `changed` are as the parent has them. */
export type Changes = { readonly parent: Snapshot; readonly changed: Iterable<Extent> };

/** Stores the device's content as a snapshot. */
export type Store<Result> = (device: Device, since: Changes) => Promise<Result>;

/** A mounted snapshot. Disposing it keeps the layer. */
export interface Mount extends AsyncDisposable {
  readonly device: Device;
  /** Writes of an earlier mount were there and have been taken up. */
  readonly continued: boolean;
  /** Bytes that differ, or may differ, from the snapshot. */
  changedBytes(): number;
  /** A commit has kept all that was written. */
  readonly isCommitted: boolean;
  /** Has `store` keep the present content as a snapshot; writers wait meanwhile. */
  commit<Result extends { readonly snapshot: Snapshot }>(store: Store<Result>): Promise<Result>;
  /** Closes the mount and removes the layer with all that was written. */
  discard(): Promise<void>;
}

/** Borrows the repository. TRANSFER_LAYER if a layer is there and `goOn` was not said. */
export async function mount(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
  options: MountOptions,
): Promise<Mount> {
  const { since } = options;
  const pin = await repository.pin(since === undefined ? [snapshot] : [snapshot, since], true);
  try {
    return await mountPinned(env, repository, snapshot, options, pin);
  } catch (error) {
    await pin[Symbol.asyncDispose]();
    throw error;
  }
}

async function mountPinned(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
  { layerDirectory, goOn = false, since }: MountOptions,
  pin: AsyncDisposable,
): Promise<Mount> {
  const base = await repository.device(snapshot, { since });
  if (layerDirectory === undefined) return readOnlyMount(base, pin);
  const identity = `${repository.superblock.repositoryId}/${snapshot.id}`;
  const layer = await openKeptLayer(env.files, { base, identity, directory: layerDirectory });
  if (layer.continued && !goOn && layer.device.changedBytes() > 0) {
    await layer[Symbol.asyncDispose]();
    throw new TransferError(
      'TRANSFER_LAYER',
      `writes of an earlier mount are kept in ${layerDirectory}`,
      { hint: 'Take them up with --continue, or remove that directory to drop them.' },
    );
  }
  return new WritableMount(repository, snapshot, layer, pin);
}

function readOnlyMount(device: Device, pin: AsyncDisposable): Mount {
  return {
    device,
    continued: false,
    changedBytes: () => 0,
    isCommitted: false,
    commit: async () => {
      throw new TransferError('TRANSFER_LAYER', `${device.name} is mounted read-only`, {
        hint: 'Mount it with --rw to keep changes.',
      });
    },
    discard: () => Promise.resolve(pin[Symbol.asyncDispose]()),
    [Symbol.asyncDispose]: () => pin[Symbol.asyncDispose](),
  };
}

class WritableMount implements Mount {
  readonly #repository: Repository;
  readonly #layer: KeptLayer;
  readonly #gate: WriteGate;
  readonly #pin: AsyncDisposable;
  readonly continued: boolean;
  /** What the layer's blocks are changes of, and contain all changes since. */
  #parent: Snapshot;
  /** How many changes the last commit has seen; undefined before there is one. */
  #committedChanges: number | undefined;
  /** One commit at a time. */
  #committing: Promise<unknown> = Promise.resolve();

  constructor(repository: Repository, snapshot: Snapshot, layer: KeptLayer, pin: AsyncDisposable) {
    this.#pin = pin;
    this.#repository = repository;
    this.#layer = layer;
    this.#gate = new WriteGate(layer.device);
    this.#parent = snapshot;
    this.continued = layer.continued && layer.device.changedBytes() > 0;
  }

  get device(): Device {
    return this.#gate;
  }

  changedBytes(): number {
    return this.#layer.device.changedBytes();
  }

  get isCommitted(): boolean {
    return this.#committedChanges === this.#gate.changes;
  }

  async commit<Result extends { readonly snapshot: Snapshot }>(
    store: Store<Result>,
  ): Promise<Result> {
    const result = this.#committing.then(() => this.#commit(store));
    this.#committing = result.catch(() => undefined);
    return result;
  }

  async #commit<Result extends { readonly snapshot: Snapshot }>(
    store: Store<Result>,
  ): Promise<Result> {
    await this.#gate.close();
    try {
      await this.#repository.refresh();
      const { device } = this.#layer;
      const result = await store(device, {
        parent: this.#parent,
        changed: device.changedExtents(),
      });
      this.#parent = result.snapshot;
      this.#committedChanges = this.#gate.changes;
      return result;
    } finally {
      this.#gate.open();
    }
  }

  async discard(): Promise<void> {
    await this.#committing;
    await this.#layer.discard();
    await this.#pin[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#committing;
    await this.#layer[Symbol.asyncDispose]();
    await this.#pin[Symbol.asyncDispose]();
  }
}
