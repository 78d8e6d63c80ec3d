/** Replica: a volume at the provider; always some epoch whole, over a snapshot and journals. */
import type { Env, FileLock } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import {
  type BlockData,
  type BlockReference,
  type EpochCommit,
  type EpochCut,
  encodeBlockReference,
  encodeEpochCommit,
  encodeEpochCut,
} from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import { protocolBreach, ReplicateError } from '../errors.ts';
import { Assembly } from './assembly.ts';
import { Attempt } from './attempt.ts';
import { ChangingHands } from './changing-hands.ts';
import { encodeReady } from './group-record.ts';
import { inTurnOfAll } from './in-turn.ts';
import * as record from './journal-record.ts';
import { type HeldView, Layers, type Viewed } from './layers.ts';
import { presentBytes, proveFor } from './parents.ts';
import type { PromotedOptions } from './promoted-volume.ts';
import { ReplicaAuthority } from './replica-authority.ts';
import { closed, nothingThere } from './replica-errors.ts';
import type { MakeSnapshot, ReplicaOptions } from './replica-options.ts';
import { originOf } from './replica-state.ts';

type Parts = { lock: FileLock; authority: ReplicaAuthority; layers: Layers };

export class Replica implements AsyncDisposable {
  readonly volume: string;
  readonly owner: string;
  /** Who may write it. */
  readonly authority: ReplicaAuthority;
  readonly hands: ChangingHands;
  /** Where it lies, for what a promotion writes. */
  readonly place: PromotedOptions;
  readonly #options: ReplicaOptions;
  readonly #lock: FileLock;
  readonly #layers: Layers;
  #attempt: Attempt | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #failure: ReplicateError | undefined;
  readonly #assembly: Assembly;
  #isClosed = false;

  /** Takes a replica up, or begins one. REPLICATE_*; what the repository says. */
  static async open(env: Env, options: ReplicaOptions): Promise<Replica> {
    const { directory, volume } = options;
    const lock = await env.files.lock(`${directory}/lock`);
    if (lock === undefined) {
      throw new ReplicateError('REPLICATE_BUSY', `the replica of ${volume} is in use`, {
        hint: 'Another `ferry serve` has it; one process serves a state directory.',
      });
    }
    try {
      const authority = await ReplicaAuthority.open(env, directory, volume);
      return new Replica(options, { lock, authority, layers: await Layers.open(env, options) });
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  private constructor(options: ReplicaOptions, { lock, authority, layers }: Parts) {
    this.volume = options.volume;
    this.owner = options.owner;
    this.#options = options;
    this.#lock = lock;
    this.authority = authority;
    this.#layers = layers;
    const { volume, repository, directory } = options;
    this.place = { volume, repository, directory };
    this.hands = new ChangingHands({ volume, repository, authority, layers });
    this.#assembly = new Assembly({
      ...{ volume, options, layers, isBusy: () => this.#attempt !== undefined },
      inTurn: (work) => this.inTurn(work),
      companions: async () => (await this.companions()).map((one) => one.#assembly),
    });
  }

  /** Tells this replica from one of the same name that began anew. */
  get id(): string {
    return this.#layers.id;
  }

  /** The epoch whose state this is; 0 before the first. */
  get epoch(): number {
    return this.#layers.epoch;
  }

  /** The highest number that was ever used here; a new epoch needs a higher one. */
  get seenEpoch(): number {
    return this.#layers.seen;
  }

  /** Of the volume at its agent; the present epoch may have come before a resize. */
  get sizeBytes(): number {
    return this.#layers.sizeBytes;
  }

  /** Providers by which its epochs come, the nearest one last. */
  get via(): readonly string[] {
    return this.#layers.via;
  }

  comeBy(via: readonly string[]): Promise<void> {
    return this.inTurn(() => this.#layers.comeBy(via));
  }

  /** Nothing but zeroes: no epoch has come, and there is no snapshot. */
  get isEmpty(): boolean {
    return this.#layers.isEmpty;
  }

  /** An epoch has come since the newest snapshot. */
  get isChanged(): boolean {
    return this.epoch > 0 && !this.#layers.isAtSnapshot;
  }

  /** Of the epoch that is on its way: what its agent has changed, and is not here yet. */
  get missingBytes(): number {
    return this.#attempt?.missingBytes ?? 0;
  }

  /** The agent's own name for the present epoch. */
  get mark(): string | undefined {
    return this.#layers.known.mark;
  }

  /** With which the present epoch was committed. */
  get group(): EpochGroup | undefined {
    return this.#layers.known.group;
  }

  /** Of the newest snapshot that was made of it. */
  get snapshot(): Snapshot | undefined {
    return this.#layers.snapshot;
  }

  /** When the present epoch was cut, on its agent's clock; undefined if that is not known. */
  get cutWallMs(): number | undefined {
    return this.#layers.known.cutWallMs;
  }

  get journalBytes(): number {
    return this.#layers.journalBytes;
  }

  /** The present epoch, for as long as the answer is not disposed. */
  view(): Viewed {
    return this.#layers.view();
  }

  /** As `view`, for long: what lies in the repository stays there until then. */
  hold(): Promise<HeldView> {
    return this.inTurn(() => this.#layers.hold());
  }

  /** The agent's volume has another size: the next epoch has it too, and the agent compares. */
  async resize(sizeBytes: number): Promise<void> {
    while (sizeBytes !== this.sizeBytes) {
      const { promotion, authority } = this.authority.state;
      if (promotion !== undefined) throw this.authority.fenced(authority);
      await this.inTurn(async () => {
        this.#attempt = this.#layers.giveUp(this.#attempt);
      });
      // Alone: its agent opens it, and does not send epochs of its group meanwhile.
      if (this.isChanged) await this.#assembly.snapshot({ isAlone: true });
      await this.inTurn(async () => {
        const isStill = this.#attempt === undefined && !this.#assembly.isRunning;
        if (isStill && !this.isChanged) await this.#layers.resize(sizeBytes);
      });
    }
  }

  /** Of the present epoch; zeroes behind its end, where a later one may have more. */
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return presentBytes(this.#layers, offsetBytes, lengthBytes);
  }

  /**
   * Its agent has begun a session: what an earlier one had begun to send will not come any more. An
   * agent that was offered the volume must say itself that it did not take it: this may be old.
   */
  async greet(authority: number): Promise<void> {
    await this.inTurn(async () => {
      this.#attempt = this.#layers.giveUp(this.#attempt);
      await this.hands.greeted(authority);
    });
    this.proceed(); // Whoever waits for a snapshot waits no longer for that epoch.
  }

  /** In turn: no agent writes it any more, but this side. */
  async seize(how: { readonly isForced: boolean; readonly wallMs: number }): Promise<void> {
    if (this.isEmpty) throw nothingThere(this.volume);
    this.#attempt = this.#layers.giveUp(this.#attempt);
    await this.authority.promote({ ...how, epoch: this.epoch });
  }

  /** What this side writes over. */
  async stand(): Promise<Snapshot> {
    this.proceed();
    return this.hands.standing ?? (await this.hands.standOn(await this.assemble()));
  }

  /** The agent has taken what it was offered. */
  giveBack(): Promise<void> {
    return this.inTurn(() => this.hands.giveBack());
  }

  /** Stores what was written since a promotion. */
  store(device: Device, since: Parameters<MakeSnapshot>[1]): Promise<Snapshot> {
    const { volume, owner } = this;
    const origin = originOf(owner);
    const wish = { volume, origin, expectedDigest: undefined, signal: this.#assembly.signal };
    return this.#options.makeSnapshot(device, since, wish);
  }

  /** Begins an epoch; one on its way is given up. REPLICATE_BASE, REPLICATE_FENCED. */
  begin(cut: EpochCut): Promise<void> {
    return this.inTurn(async () => {
      await this.authority.admit(cut.authority);
      if (cut.epoch <= this.#layers.seen) {
        throw protocolBreach(`epoch ${cut.epoch} begins after ${this.#layers.seen}`);
      }
      if (cut.base !== this.epoch) {
        const what = `${this.volume}: epoch ${cut.epoch} is told against ${cut.base}`;
        throw new ReplicateError('REPLICATE_BASE', `${what}, the replica has ${this.epoch}`, {
          hint: 'The agent compares its volume with the replica, and goes on from there.',
        });
      }
      this.#layers.seen = cut.epoch;
      this.#attempt = this.#layers.giveUp(this.#attempt);
      await this.#layers.makeRoom();
      this.#attempt = new Attempt(cut, this.sizeBytes);
      this.#options.onEpoch?.({ event: 'begun', epoch: cut.epoch });
      this.#layers.top.journal.append(record.RECORD_CUT, { parts: [encodeEpochCut(cut)] });
    });
  }

  /** Which of these hashes need not be sent. */
  knows(hashes: readonly Uint8Array[]): Promise<boolean[]> {
    return this.#layers.contents.knows(hashes);
  }

  /** Settles when it is durable. REPLICATE_HASH, _PROTOCOL, _QUOTA: the epoch is to be given up. */
  async put(data: BlockData, signal?: AbortSignal): Promise<void> {
    const attempt = this.#attemptOf(data.epoch);
    if (attempt === undefined || attempt.failure !== undefined) return;
    await this.#taking(attempt, async () => {
      attempt.check(data.entries);
      attempt.count(data);
      const proving = proveFor(this.#layers, attempt, data, signal);
      const proven = await proving.catch((error: unknown) => {
        if (attempt === this.#attempt) throw error; // Else it is of no interest any more.
      });
      if (proven === undefined || attempt !== this.#attempt) return;
      const layer = this.#layers.top;
      const { frameChecksum: lastChecksum } = proven.data;
      const payload = { parts: proven.parts, lastChecksum };
      const place = layer.journal.append(record.RECORD_DATA, payload);
      attempt.addData(proven.data, layer.journal, place);
      await layer.journal.durable();
      if (layer === this.#layers.top) this.#layers.contents.learn(proven.data, place);
    });
  }

  /** As `put`; REPLICATE_UNKNOWN_CONTENT. */
  async refer(message: BlockReference): Promise<void> {
    const attempt = this.#attemptOf(message.epoch);
    if (attempt === undefined || attempt.failure !== undefined) return;
    await this.#taking(attempt, async () => {
      attempt.check(message.references);
      const { journal } = this.#layers.top;
      const contents = await this.#layers.contents.resolve(message, journal);
      if (attempt !== this.#attempt) return;
      journal.append(record.RECORD_REFERENCES, { parts: [encodeBlockReference(message)] });
      attempt.addReferences(message, contents);
      await journal.durable();
    });
  }

  /** Makes the epoch the state, if all of it is here: false otherwise. Settles when durable. */
  commit(commit: EpochCommit): Promise<boolean> {
    return this.inTurn(async () => {
      const isWhole = this.isWhole(commit);
      if (isWhole === 'whole') await this.settle(commit);
      if (isWhole === 'whole') this.proceed();
      return isWhole !== 'missing';
    });
  }

  /** In turn: whether all of an epoch is here; `before`: it is the state, as once more is told. */
  isWhole(commit: EpochCommit): 'missing' | 'whole' | 'before' {
    const attempt = this.#attemptOf(commit.epoch);
    if (attempt === undefined) return commit.epoch <= this.epoch ? 'before' : 'missing';
    if (attempt.failure !== undefined) throw attempt.failure;
    if (!attempt.isComplete(commit)) return 'missing';
    attempt.pieces(); // What cannot be the state is found here.
    return 'whole';
  }

  /** In turn: an epoch that is whole is the state once its group is decided. */
  async ready(commit: EpochCommit, group: EpochGroup): Promise<void> {
    const { journal } = this.#layers.top;
    journal.append(record.RECORD_READY, { parts: [encodeReady({ group, commit })] });
    await journal.durable();
  }

  /** In turn: an epoch that is whole becomes the state. Settles when durable. */
  async settle(commit: EpochCommit, group?: EpochGroup): Promise<void> {
    const attempt = this.#attemptOf(commit.epoch)!;
    const { journal } = this.#layers.top;
    journal.append(record.RECORD_COMMIT, { parts: [encodeEpochCommit(commit)] });
    await journal.durable();
    const pieces = attempt.pieces();
    this.#layers.apply({ commit, cut: attempt.cut, group }, pieces);
    this.#attempt = undefined;
    const { tally } = attempt;
    this.#options.onEpoch?.({ event: 'committed', epoch: commit.epoch, tally, changed: pieces });
  }

  /** In turn, once an epoch has become the state, or was given up. */
  proceed(): void {
    this.#assembly.proceed();
  }

  /** Nobody knows what became of an epoch before it is opened again. */
  fail(error: ReplicateError): void {
    this.#failure ??= error;
  }

  /** The present epoch as a snapshot, with those of its group at the same one. */
  assemble(): Promise<Snapshot> {
    return this.#assembly.snapshot();
  }

  /** Those that the present epoch was committed with, as far as they still are at it. */
  async companions(): Promise<readonly Replica[]> {
    const names = this.group?.members.filter((name) => name !== this.volume) ?? [];
    if (names.length === 0) return [];
    const others = (await this.#options.others?.(names)) ?? [];
    // In turn: an epoch that is just being committed is not the state of all of them yet.
    return await inTurnOfAll([this, ...others], async () =>
      others.filter((one) => one.epoch === this.epoch && one.group?.name === this.group?.name),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#assembly.stop();
    await this.#turn.catch(() => undefined);
    await this.#assembly.settled();
    await this.#turn.catch(() => undefined);
    await this.#close();
  }

  /** Changes of the state, one after the other. What has failed for good is told to all. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(() => {
      if (this.#failure !== undefined) throw this.#failure;
      return work();
    });
    this.#turn = mine.catch(() => undefined); // Told to whoever asked for it.
    return mine;
  }

  /** Undefined for what belongs to an epoch that was given up. */
  #attemptOf(epoch: number): Attempt | undefined {
    return this.#attempt?.cut.epoch === epoch ? this.#attempt : undefined;
  }

  /** Counts what is under way; a failure is the attempt's too. */
  async #taking(attempt: Attempt, work: () => Promise<void>): Promise<void> {
    attempt.pending += 1;
    try {
      this.#options.mayStore?.();
      this.#layers.checkRoom();
      await work();
    } catch (error) {
      attempt.fail(error);
      throw error;
    } finally {
      attempt.pending -= 1;
    }
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    this.#failure ??= closed(this.volume);
    try {
      await this.#layers[Symbol.asyncDispose]();
    } finally {
      await this.#lock.release();
    }
  }
}
