/** Layers: what a replica is made of - a snapshot, and journals over it - and how that changes. */
import assert from 'node:assert/strict';
import { isZero } from '../../../codec/index.ts';
import type { Env } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { Repository, Snapshot } from '../../../store/index.ts';
import { encodeEpochCommit } from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { ReplicateError } from '../errors.ts';
import { JOURNAL_MORE_BYTES, JOURNAL_VOLUMES_MAX } from '../limits.ts';
import type { Attempt } from './attempt.ts';
import { Contents } from './contents.ts';
import { Journal } from './journal.ts';
import { RECORD_COMMIT } from './journal-record.ts';
import { begin, newId, pathOf } from './new-replica.ts';
import { overlay, type Piece } from './pieces.ts';
import { type Applied, Replay } from './replay.ts';
import { baseGone, journalFull } from './replica-errors.ts';
import { type ReplicaState, readReplicaState, writeReplicaState } from './replica-state.ts';
import { type SectionCache, sectionsOf } from './section-cache.ts';
import { View } from './view.ts';

export type LayersOptions = {
  /** Exists; belongs to this volume alone. */
  readonly directory: string;
  readonly volume: string;
  readonly owner: string;
  /** Of a replica that begins; one that is there has its own. */
  readonly sizeBytes: number;
  readonly repository: Repository;
  /** Of all its journals; tests make it small. */
  readonly journalBytesMax?: number | undefined;
  /** Whether a group has decided that an epoch counts. */
  readonly isDecided?: (group: EpochGroup, epoch: number) => Promise<boolean>;
};

/** One journal, and what of it is part of the state. */
export type Layer = {
  readonly number: number;
  readonly journal: Journal;
  pieces: readonly Piece[];
};

/** What is known of an epoch. */
export type Known = {
  readonly epoch: number;
  /** Of the volume in it, if its agent said so. */
  readonly digest?: Uint8Array | undefined;
  /** Its agent's own name for it. */
  readonly mark?: string | undefined;
  /** When it was cut, on its agent's clock, for people. */
  readonly cutWallMs?: number | undefined;
  /** With which it was cut and committed. */
  readonly group?: EpochGroup | undefined;
};

/** Journals that are to become a snapshot, and the epoch that they end with. */
export type Frozen = { readonly known: Known; readonly layers: readonly Layer[] };

/** A device, for as long as this is not disposed. */
export type Viewed = { readonly device: Device; [Symbol.dispose](): void };

/** An epoch that stays readable until this is disposed, whatever comes after it. */
export type HeldView = AsyncDisposable & { readonly device: Device; readonly epoch: number };

/** One call that changes it at a time; the caller sees to that. */
export class Layers implements AsyncDisposable {
  readonly contents: Contents;
  readonly env: Env;
  readonly #options: LayersOptions;
  readonly sections: SectionCache;
  #state: ReplicaState;
  #base: Device | undefined;
  #pin: AsyncDisposable | undefined;
  /** Oldest first; the last one is written to. */
  #layers: Layer[] = [];
  /** Below the journals. */
  snapshot: Snapshot | undefined;
  /** Of the present epoch. */
  known: Known = { epoch: 0 };
  /** The highest number that an epoch had here. */
  seen = 0;

  private constructor(env: Env, options: LayersOptions, state: ReplicaState) {
    this.env = env;
    this.#options = options;
    this.#state = state;
    this.sections = sectionsOf(env);
    this.contents = new Contents(options.repository, this.sections);
  }

  static async open(env: Env, options: LayersOptions): Promise<Layers> {
    // Others may have forgotten snapshots, or taken the name, since the repository was opened.
    await options.repository.refresh();
    const known = await readReplicaState(env, options.directory);
    const state = known ?? (await begin(env, options));
    checkOwner(state, options);
    const layers = new Layers(env, options, state);
    try {
      await layers.#load();
      return layers;
    } catch (error) {
      await layers[Symbol.asyncDispose]();
      throw error;
    }
  }

  get id(): string {
    return this.#state.replica;
  }

  get epoch(): number {
    return this.known.epoch;
  }

  /** What is written to. */
  get top(): Layer {
    return this.#layers.at(-1)!;
  }

  /** Providers by which its epochs come. */
  get via(): readonly string[] {
    return this.#state.via ?? [];
  }

  async comeBy(via: readonly string[]): Promise<void> {
    if (via.join() !== this.via.join()) await this.#save({ via });
  }

  /** Of the volume at its agent, and of the next epoch. */
  get sizeBytes(): number {
    return this.#state.sizeBytes;
  }

  /** Of the present epoch: after a resize it is that of before, until an epoch has come. */
  get presentBytes(): number {
    const before = this.epoch > this.#state.epoch ? undefined : this.snapshot;
    return before?.sizeBytes ?? this.sizeBytes;
  }

  /** Nothing but zeroes: no epoch has come, and there is no snapshot. */
  get isEmpty(): boolean {
    return this.epoch === 0 && this.snapshot === undefined;
  }

  /** No epoch has changed anything since the snapshot. */
  get isAtSnapshot(): boolean {
    const hasPieces = this.#layers.some(({ pieces }) => pieces.length > 0);
    return !hasPieces && this.snapshot?.sizeBytes === this.presentBytes;
  }

  get journalBytes(): number {
    return this.#layers.reduce((sum, { journal }) => sum + journal.sizeBytes, 0);
  }

  /** The epoch, whose commit is durable, is the state from here on. */
  apply(applied: Applied, pieces: readonly Piece[]): void {
    this.top.pieces = overlay(this.top.pieces, pieces);
    this.contents.committed();
    this.known = knownOf(applied);
  }

  /** Nothing more of it comes: what did is found again, if the next epoch has it too. */
  giveUp(attempt: Attempt | undefined): undefined {
    attempt?.giveUp();
    if (attempt !== undefined) this.contents.gaveUp(attempt.came);
  }

  view(layers: readonly Layer[] = this.#layers): Viewed {
    const { volume } = this.#options;
    const sizeBytes = this.presentBytes;
    const ends = layers.map(({ journal }) => journal.use());
    const device = new View({
      ...{ name: `replica:${volume}`, sizeBytes, base: this.#base, pieces: piecesOf(layers) },
      ...{ sections: this.sections, chunks: this.contents.chunks },
    });
    return {
      device,
      [Symbol.dispose]() {
        for (const end of ends) end();
      },
    };
  }

  /** While nothing changes: what the pin of the present layers holds is pinned once more. */
  async hold(): Promise<HeldView> {
    const { epoch, snapshot } = this;
    const pin = await this.#options.repository.pin(snapshot === undefined ? [] : [snapshot]);
    const view = this.view();
    return {
      ...{ epoch, device: view.device },
      async [Symbol.asyncDispose]() {
        view[Symbol.dispose]();
        await pin[Symbol.asyncDispose]();
      },
    };
  }

  /** Puts a new journal behind the present ones, which nobody writes to any more. */
  async freeze(): Promise<Frozen> {
    const frozen = { known: this.known, layers: [...this.#layers] };
    const { journals } = this.#state;
    await this.#begin(this.sizeBytes, (number) => ({ journals: [...journals, number] }));
    return frozen;
  }

  /**
   * The next epoch has another size. All of the present one lies in the snapshot, or there is
   * nothing; it is another replica from here on, so that its agent compares.
   */
  async resize(sizeBytes: number): Promise<void> {
    assert(this.isAtSnapshot || this.isEmpty);
    const gone = [...this.#layers];
    const { epoch } = this;
    const replica = newId(this.env);
    await this.#begin(sizeBytes, (number) => ({
      ...{ sizeBytes, epoch, replica, mark: undefined, cutWallMs: undefined, group: undefined },
      journals: [number],
    }));
    this.known = { epoch };
    await this.#drop(gone);
  }

  get #journalBytesMax(): number {
    const { journalBytesMax } = this.#options;
    return journalBytesMax ?? JOURNAL_VOLUMES_MAX * this.sizeBytes + JOURNAL_MORE_BYTES;
  }

  /** REPLICATE_JOURNAL_FULL. */
  checkRoom(): void {
    const { journalBytes } = this;
    if (journalBytes < this.#journalBytesMax) return;
    throw journalFull(this.#options.volume, journalBytes, this.#journalBytesMax);
  }

  /** Where all that lies in a full journal was given up, another one takes its place. */
  async makeRoom(): Promise<void> {
    const { top } = this;
    if (top.pieces.length > 0 || this.journalBytes < this.#journalBytesMax) return;
    const others = this.#state.journals.filter((number) => number !== top.number);
    await this.#begin(this.sizeBytes, (number) => ({ journals: [...others, number] }));
    await this.#drop([top]);
  }

  /** Its agent had `epoch` of it, and it went back: another replica, with numbers of its own. */
  async renew(epoch: number): Promise<void> {
    await this.#save({ replica: newId(this.env) });
    this.seen = Math.max(this.seen, epoch);
  }

  /** Puts a new journal on top. */
  async #begin(
    sizeBytes: number,
    change: (number: number) => Partial<ReplicaState>,
  ): Promise<void> {
    const number = this.top.number + 1;
    const { volume } = this.#options;
    const journal = await Journal.create(this.env, this.#pathOf(number), { volume, sizeBytes });
    try {
      await this.#save(change(number));
    } catch (error) {
      await journal[Symbol.asyncDispose]();
      throw error;
    }
    this.#layers.push({ number, journal, pieces: [] });
    this.contents.startAnew();
  }

  /** The snapshot stands for the frozen layers from here on. */
  async settle(snapshot: Snapshot, { known, layers: gone }: Frozen): Promise<void> {
    const { repository } = this.#options;
    const pin = await repository.pin([snapshot]);
    try {
      const base = await this.contents.chunks.device(snapshot);
      const isGone = (number: number) => gone.some((layer) => layer.number === number);
      const journals = this.#state.journals.filter((number) => !isGone(number));
      await this.#save({ snapshot: snapshot.id, ...stateOf(known), journals });
      this.#base = base;
    } catch (error) {
      await pin[Symbol.asyncDispose]();
      throw error;
    }
    this.snapshot = snapshot;
    const before = this.#pin;
    this.#pin = pin;
    await before?.[Symbol.asyncDispose]();
    await this.#drop(gone);
  }

  async #drop(gone: readonly Layer[]): Promise<void> {
    this.#layers = this.#layers.filter((layer) => !gone.includes(layer));
    for (const { number, journal } of gone) {
      // Somebody may still read an older epoch; the file needs no name for that.
      void journal[Symbol.asyncDispose]().catch(() => undefined);
      await this.env.files.remove(this.#pathOf(number));
    }
  }

  /** From here on the state is that snapshot, as if it had come as an epoch of that number. */
  async moveOn(snapshot: Snapshot, epoch: number): Promise<void> {
    const { layers } = await this.freeze();
    const known = { epoch };
    await this.settle(snapshot, { known, layers });
    this.known = known;
    this.seen = Math.max(this.seen, epoch);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { journal } of this.#layers) await journal[Symbol.asyncDispose]();
    await this.#pin?.[Symbol.asyncDispose]();
  }

  async #save(change: Partial<ReplicaState>): Promise<void> {
    const next = { ...this.#state, ...change };
    await writeReplicaState(this.env, this.#options.directory, next);
    this.#state = next;
  }

  #pathOf(number: number): string {
    return pathOf(this.#options.directory, number);
  }

  async #load(): Promise<void> {
    const { volume, repository } = this.#options;
    const { snapshot: id, epoch, journals } = this.#state;
    const snapshot = repository.snapshots(volume).find((one) => one.id === id);
    if (id !== null && snapshot === undefined) throw baseGone(volume, id);
    this.#pin = await repository.pin(snapshot === undefined ? [] : [snapshot]);
    if (snapshot !== undefined) this.#base = await this.contents.chunks.device(snapshot);
    this.snapshot = snapshot;
    this.known = stateOf(this.#state);
    this.seen = epoch;
    for (const number of journals) await this.#takeUp(number);
    // Once more: what an earlier life could not make durable can be read, and lost later.
    await this.#save({});
    await this.#removeStrangers();
  }

  async #takeUp(number: number): Promise<void> {
    const { volume, isDecided } = this.#options;
    const { sizeBytes } = this;
    this.contents.startAnew();
    const replay = new Replay({ sizeBytes, contents: this.contents, path: this.#pathOf(number) });
    const journal = await replay.open(this.env, volume);
    const layer: Layer = { number, journal, pieces: [] };
    this.#layers.push(layer);
    const { ready } = replay;
    if (ready && (await isDecided?.(ready.group, ready.commit.epoch))) {
      journal.append(RECORD_COMMIT, { parts: [encodeEpochCommit(ready.commit)] });
      await journal.durable();
      replay.commit(ready.commit);
    }
    replay.giveUp();
    layer.pieces = replay.pieces;
    this.seen = Math.max(this.seen, replay.seen);
    if (replay.last !== undefined) this.known = knownOf(replay.last);
  }

  /** Files that a crash has left behind. */
  async #removeStrangers(): Promise<void> {
    const { directory } = this.#options;
    const own = new Set(this.#state.journals.map((number) => `journal-${number}`));
    for (const name of await this.env.files.list(directory)) {
      const isStrange = /^(journal-|(replica|authority)\.json\.)/.test(name);
      if (isStrange && !own.has(name)) await this.env.files.remove(`${directory}/${name}`);
    }
  }
}

/** What all of them say together, the later ones over the earlier ones. */
export function piecesOf(layers: readonly Layer[]): readonly Piece[] {
  return layers.reduce<readonly Piece[]>(
    (all, { pieces }) => (all.length === 0 ? pieces : overlay(all, pieces)),
    [],
  );
}

/** Without a digest if its agent does not keep one. */
function knownOf({ commit: { epoch, digest }, cut: { mark, wallMs }, group }: Applied): Known {
  return { epoch, digest: isZero(digest) ? undefined : digest, mark, cutWallMs: wallMs, group };
}

/** What the state file keeps of it. */
function stateOf({ epoch, mark, cutWallMs, group }: Omit<Known, 'digest'>) {
  return { epoch, mark, cutWallMs, group };
}

type Identity = Pick<ReplicaState, 'volume' | 'owner'>;

/** REPLICATE_VOLUME_TAKEN. */
export function checkOwner(state: Identity, { volume, owner }: Identity): void {
  if (state.owner !== owner || state.volume !== volume) {
    throw new ReplicateError('REPLICATE_VOLUME_TAKEN', `${volume} belongs to another agent`, {
      hint: 'Replicate under another name (--name).',
    });
  }
}
