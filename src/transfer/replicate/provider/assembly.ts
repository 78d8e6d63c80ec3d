/** Assembly: snapshots of replicas; volumes of a group become snapshots of one epoch together. */
import { hasCode, toHex } from '../../../core/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import { JOURNAL_BYTES_DUE, JOURNAL_PIECES_DUE } from '../limits.ts';
import { inTurnOfAll, type Taker } from './in-turn.ts';
import { type Frozen, type Known, type Layers, piecesOf } from './layers.ts';
import { chunkAt } from './pieces.ts';
import { closed, notTheAgents } from './replica-errors.ts';
import type { ReplicaOptions } from './replica-options.ts';
import { originOf } from './replica-state.ts';

type Parts = Taker & {
  readonly options: ReplicaOptions;
  readonly layers: Layers;
  /** An epoch is on its way: what lies in the journal that would be closed belongs to it. */
  readonly isBusy: () => boolean;
  /** The others that the present epoch was committed with. */
  readonly companions: () => Promise<readonly Assembly[]>;
};

export class Assembly {
  readonly #parts: Parts;
  #making: Making | undefined;
  /** Somebody waits for a snapshot of the epoch that is on its way. */
  #wish: PromiseWithResolvers<Snapshot> | undefined;
  readonly #stop = new AbortController();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  get volume(): string {
    return this.#parts.volume;
  }

  get isRunning(): boolean {
    return this.#making !== undefined;
  }

  /** Aborted when the provider stops. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  inTurn = <T>(work: () => Promise<T>): Promise<T> => this.#parts.inTurn(work);

  /**
   * The present epoch as a snapshot, and those of its group at the same one; the newest snapshot if
   * nothing came since. `isAlone`: of this volume only.
   */
  async snapshot({ isAlone = false } = {}): Promise<Snapshot> {
    const { layers } = this.#parts;
    const wantedEpoch = layers.epoch;
    for (;;) {
      this.signal.throwIfAborted();
      if (this.#making?.epoch === wantedEpoch) return await this.#making.done;
      const all = isAlone ? [this] : [this, ...(await this.#parts.companions())];
      // A failure is told to whoever asked for that one.
      for (const one of all) await one.#making?.done.catch(() => undefined);
      const begun = await inTurnOfAll(all, () => this.#begin(all));
      if (begun.making !== undefined) return await begun.making.done;
      if (begun.later === undefined) continue;
      const later = await begun.later.promise;
      if (later.volume === this.volume) return later;
    }
  }

  /** The epoch that was on its way has been committed, or given up. */
  proceed(): void {
    const wish = this.#wish;
    this.#wish = undefined;
    if (wish !== undefined) this.snapshot().then(wish.resolve, wish.reject);
    // Tried again after the next commit; who asks for a snapshot is told why there is none.
    else if (this.#isDue()) this.snapshot().catch(() => undefined);
  }

  stop(): void {
    this.#stop.abort(closed(this.volume));
  }

  async settled(): Promise<void> {
    await this.#making?.done.catch(() => undefined);
    this.#wish?.reject(closed(this.volume));
  }

  #isDue(): boolean {
    if (this.isRunning) return false;
    const { journalBytesDue = JOURNAL_BYTES_DUE } = this.#parts.options;
    const { journal, pieces } = this.#parts.layers.top;
    if (pieces.length === 0) return false; // All of it may serve the epoch that is sent once more.
    return journal.sizeBytes >= journalBytesDue || pieces.length >= JOURNAL_PIECES_DUE;
  }

  /** In turn of all: what comes next goes to new journals. */
  async #begin(all: readonly Assembly[]): Promise<Begun> {
    const epochs = new Set(all.map((one) => one.#parts.layers.epoch));
    if (epochs.size > 1 || all.some((one) => one.isRunning)) return {};
    const busy = all.find((one) => one.#parts.isBusy());
    if (busy !== undefined) {
      // An epoch on its way lies in the journal that would be closed: it ends first.
      busy.#wish ??= Promise.withResolvers();
      busy.#wish.promise.catch(() => undefined); // Told to whoever waits for it.
      return { later: busy.#wish };
    }
    const frozen: (Frozen | undefined)[] = [];
    for (const one of all) frozen.push(await one.#freeze());
    const each = all.map((one, index) => one.#start(frozen[index]));
    return { making: each[0]! };
  }

  /** Undefined if the newest snapshot is what is there. */
  async #freeze(): Promise<Frozen | undefined> {
    const { layers } = this.#parts;
    return layers.isAtSnapshot ? undefined : await layers.freeze();
  }

  #start(frozen: Frozen | undefined): Making {
    const { layers } = this.#parts;
    const done = (frozen === undefined ? this.#sameAgain() : this.#make(frozen)).finally(() => {
      this.#making = undefined;
    });
    done.catch(() => undefined); // Told to whoever waits for it.
    this.#making = { epoch: layers.epoch, done };
    return this.#making;
  }

  /** Nothing has changed: the snapshot that is there is that of the epoch of the group, too. */
  async #sameAgain(): Promise<Snapshot> {
    const { layers, options } = this.#parts;
    const snapshot = layers.snapshot!;
    const added = tagsOf(layers.known).filter((tag) => !snapshot.tags.includes(tag));
    if (added.length > 0) await options.repository.tag([snapshot], { added });
    return snapshot;
  }

  async #make(frozen: Frozen): Promise<Snapshot> {
    const { layers, options, volume } = this.#parts;
    const parent = layers.snapshot;
    using view = layers.view(frozen.layers);
    // What a resize added or took away is no change that an epoch has told.
    const isSameSize = parent?.sizeBytes === view.device.sizeBytes;
    const pieces = piecesOf(frozen.layers);
    const since = isSameSize ? { parent, changed: pieces } : undefined;
    const { digest, epoch } = frozen.known;
    const expectedDigest = digest && toHex(digest);
    const wish = { volume, origin: originOf(options.owner), expectedDigest, signal: this.signal };
    const tags = tagsOf(frozen.known);
    const hashAt = (offsetBytes: number) => chunkAt(pieces, offsetBytes);
    const making = options.makeSnapshot(view.device, since, { ...wish, tags, hashAt });
    const snapshot = await making.catch((error: unknown) => {
      throw hasCode(error, 'STORE_DIGEST') ? notTheAgents(volume, epoch, error) : error;
    });
    await this.inTurn(() => layers.settle(snapshot, frozen));
    return snapshot;
  }
}

/** By which the snapshots of a group that belong together are found. */
function tagsOf({ group, epoch }: Known): readonly string[] {
  return group === undefined ? [] : [`${group.name}@${epoch}`];
}

type Making = { readonly epoch: number; readonly done: Promise<Snapshot> };

type Begun = {
  readonly making?: Making;
  readonly later?: PromiseWithResolvers<Snapshot>;
};
