/** Provider: the replicas of a tenant, and the sessions by which agents keep them up to date. */
import { type Env, type Extent, hasCode } from '../../../core/index.ts';
import { checkVolumeName, type Repository, type Snapshot } from '../../../store/index.ts';
import type { Session, SessionHandlers } from '../../../wire/index.ts';
import type { EpochGroup } from '../epoch-group.ts';
import type { Tally } from './attempt.ts';
import { type Committing, commitTogether } from './group-commit.ts';
import { Decisions } from './group-decision.ts';
import { GroupPromotions } from './group-promotion.ts';
import { checkLogical, checkStored, isPromoted, replicaStates } from './holdings.ts';
import { checkOwner, type HeldView } from './layers.ts';
import { replicaFolder } from './new-replica.ts';
import { noPolicy, type Policy } from './policy.ts';
import { type Presence, type Promoted, type PromoteOptions, Promotions } from './promotions.ts';
import { ProviderSession } from './provider-session.ts';
import { Replica } from './replica.ts';
import { closing, loop, unknownVolume } from './replica-errors.ts';
import type { EpochEvent, MakeSnapshot } from './replica-options.ts';
import { type ReplicaState, readReplicaState } from './replica-state.ts';
import { setAside } from './set-aside.ts';
import { StoredBytes } from './stored-bytes.ts';
import type { VolumeStatus } from './volume-status.ts';

export type ProviderEvent =
  | { readonly event: 'opened'; readonly volume: string; readonly agent: string }
  | {
      readonly event: 'epoch';
      readonly volume: string;
      readonly epoch: number;
      readonly tally: Readonly<Tally>;
      /** Ascending. */
      readonly changed: readonly Extent[];
    }
  | { readonly event: 'snapshot'; readonly volume: string; readonly snapshot: Snapshot }
  | {
      readonly event: 'promoted';
      readonly volume: string;
      readonly authority: number;
      readonly isForced: boolean;
    }
  | { readonly event: 'failed'; readonly volume: string | undefined; readonly error: unknown };

export type ProviderOptions = {
  readonly env: Env;
  readonly repository: Repository;
  /** Holds a folder for each replica; exists. */
  readonly directory: string;
  readonly makeSnapshot: MakeSnapshot;
  readonly policy?: Policy;
  /** Of this node: a volume that has come by it already is refused. */
  readonly fingerprint?: string;
  /** Tests make it small. */
  readonly journalBytesDue?: number;
  readonly onEvent?: (event: ProviderEvent) => void;
};

type Held = {
  readonly replica: Promise<Replica>;
  /** Once it is open. */
  opened: Replica | undefined;
  holder: ProviderSession | undefined;
  /** On the monotonic clock: since when an epoch is on its way, and when the agent was here. */
  behindSinceMs: number | undefined;
  seenMs: number;
  wasSeen: boolean;
};

export class Provider implements AsyncDisposable {
  readonly promotions: Promotions;
  readonly #options: ProviderOptions;
  readonly policy: Policy;
  readonly #volumes = new Map<string, Held>();
  readonly #sessions = new Set<ProviderSession>();
  /** Replicas that are being closed. */
  readonly #dropping = new Map<string, Promise<void>>();
  readonly #decisions: Decisions;
  readonly #groupPromotions: GroupPromotions;
  readonly #stored: StoredBytes;
  /** A repository takes one snapshot at a time. */
  #snapshots: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ProviderOptions) {
    this.#options = options;
    this.policy = options.policy ?? noPolicy;
    this.#stored = new StoredBytes(options);
    this.#groupPromotions = new GroupPromotions(options.env, options.directory);
    this.promotions = new Promotions(options.env, this.#groupPromotions);
    this.#decisions = new Decisions(options.env, options.directory);
  }

  get env(): Env {
    return this.#options.env;
  }

  get repository(): Repository {
    return this.#options.repository;
  }

  /** Makes an epoch the state, or one of each of a group; false while something is missing. */
  commit(all: readonly Committing[], group: EpochGroup | undefined): Promise<boolean> {
    const { replica, commit } = all[0]!;
    if (group === undefined) return replica.commit(commit);
    return commitTogether(all, group, this.#decisions);
  }

  /** What a session of this agent is told, to be given to its host. */
  open(session: Session, agent: string): SessionHandlers {
    const opened = new ProviderSession(this, session, agent);
    this.#sessions.add(opened);
    return opened;
  }

  /** The replica of an agent's volume, opened or begun if need be. REPLICATE_*, and why not. */
  async replica(volume: string, agent: string, sizeBytes: number): Promise<Replica> {
    checkVolumeName(volume);
    if (this.#isClosed) throw closing();
    await this.#dropping.get(volume)?.catch(() => undefined); // Told by `drop`.
    const replica = await this.#held(volume, async () => {
      const state = await this.#stateOf(volume);
      if (state === undefined) await this.#checkLogical(agent, volume, sizeBytes);
      const { owner } = state ?? { owner: agent };
      const open = () => this.#openReplica(owner, volume, state?.sizeBytes ?? sizeBytes);
      return await open().catch(async (error: unknown) => {
        if (owner !== agent || !hasCode(error, 'REPLICATE_BASE_GONE')) throw error;
        const { env, directory } = this.#options;
        this.tell({
          event: 'failed',
          volume,
          error: await setAside(env, directory, volume, error),
        });
        return await open();
      });
    }).replica;
    checkOwner(replica, { volume, owner: agent });
    // What this side writes keeps its size; its agent is told that it is fenced.
    const isPromoted = replica.authority.state.promotion !== undefined;
    if (replica.sizeBytes !== sizeBytes && !isPromoted) {
      await this.#checkLogical(agent, volume, sizeBytes);
      await replica.resize(sizeBytes);
    }
    return replica;
  }

  /** The replica, for `session` alone from now on. */
  async take(
    session: ProviderSession,
    volume: string,
    sizeBytes: number,
    via: readonly string[] = [],
  ): Promise<Replica> {
    if (via.some((provider) => provider === this.#options.fingerprint)) throw loop(volume);
    const before = this.#volumes.get(volume)?.holder;
    // Only its own agent can take a volume away from a session.
    if (before !== undefined && before !== session && before.agent === session.agent) {
      await before.leave(volume);
    }
    const replica = await this.replica(volume, session.agent, sizeBytes);
    const held = this.#volumes.get(volume);
    if (held === undefined) throw closing();
    held.holder = session;
    held.wasSeen = true;
    await replica.comeBy(via);
    this.#options.onEvent?.({ event: 'opened', volume, agent: session.agent });
    return replica;
  }

  /** A replica that is here already; undefined if there is none of that name. */
  async known(volume: string): Promise<Replica | undefined> {
    if (this.#isClosed) throw closing();
    await this.#dropping.get(volume)?.catch(() => undefined); // Told by `drop`.
    const open = this.#volumes.get(volume);
    if (open !== undefined) return await open.replica;
    const state = await this.#stateOf(volume);
    if (state === undefined) return undefined;
    const { owner, sizeBytes } = state;
    return await this.#held(volume, () => this.#openReplica(owner, volume, sizeBytes)).replica;
  }

  /** The present epoch of a replica, for long. */
  async hold(volume: string): Promise<HeldView | undefined> {
    return await (await this.known(volume))?.hold();
  }

  /** All replicas that are here, whether open or not, by their names. */
  async list(): Promise<VolumeStatus[]> {
    const { env, directory } = this.#options;
    const states = await replicaStates(env, directory);
    await this.#stored.find();
    const found = await Promise.all(states.map((state) => this.#statusOf(state)));
    return found.sort((a, b) => (a.volume < b.volume ? -1 : 1));
  }

  /** REPLICATE_QUOTA if the agent has as much stored as it may have, or more. */
  #checkStored(agent: string): void {
    const quota = this.policy.quotaOf(agent);
    if (quota.storedBytesMax < Infinity) checkStored(this.storedBytes(agent), quota);
  }

  /** What an agent's snapshots have added, as of late, and its journals. */
  storedBytes(agent: string): number {
    return this.#stored.of(agent);
  }

  /** Has this side write what an agent wrote, and all of its group. REPLICATE_UNKNOWN_VOLUME. */
  async promote(volume: string, options: PromoteOptions): Promise<Promoted> {
    const replica = await this.known(volume);
    if (replica === undefined) throw unknownVolume(volume);
    const all = [replica, ...(await replica.companions())];
    const missing = (replica.group?.members ?? []).filter(
      (name) => !all.some((one) => one.volume === name),
    );
    const presenceOf = (one: Replica) => this.#presenceOf(one.volume);
    const promoting = this.promotions.promote(all, presenceOf, options);
    const [first, ...others] = await promoting.catch((error: unknown) => {
      // Opened again, they take what was decided. Those of a session are closed with it.
      const isBroken = options.isForced && hasCode(error, 'REPLICATE_JOURNAL_FAILED');
      if (isBroken) for (const one of all) this.drop(one.volume);
      throw error;
    });
    for (const { volume: name, authority, isForced } of [first!, ...others]) {
      this.tell({ event: 'promoted', volume: name, authority, isForced });
    }
    return { ...first!, ...(replica.group && { others, missing }) };
  }

  #presenceOf(volume: string): Presence {
    const held = this.#volumes.get(volume);
    const holder = held?.holder;
    if (holder?.isConnected === true) return { contact: holder, sinceContactMs: 0 };
    const nowMs = this.#options.env.clock.monotonicMs();
    const sinceContactMs = held?.wasSeen === true ? nowMs - lastSeenOf(held) : undefined;
    return { contact: undefined, sinceContactMs };
  }

  /** After a failure of its disk: whoever comes next opens it anew. */
  drop(volume: string): void {
    const held = this.#volumes.get(volume);
    if (held === undefined || this.#isClosed) return;
    const closed = held.replica.then(
      (replica) => replica[Symbol.asyncDispose](),
      () => undefined, // Told to whoever wanted to open it.
    );
    this.#dropping.set(volume, closed);
    this.#volumes.delete(volume);
    const isOver = () => this.#dropping.delete(volume);
    closed.then(isOver, (error: unknown) => {
      isOver();
      this.tell({ event: 'failed', volume, error });
    });
  }

  tell(event: ProviderEvent): void {
    this.#options.onEvent?.(event);
  }

  ended(session: ProviderSession): void {
    this.#sessions.delete(session);
    for (const held of this.#volumes.values()) {
      if (held.holder !== session) continue;
      held.holder = undefined;
      held.seenMs = session.lastSeenMs;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const session of this.#sessions) await session.stop();
    for (const { replica } of this.#volumes.values()) {
      await (await replica.catch(() => undefined))?.[Symbol.asyncDispose]();
    }
    await Promise.allSettled(this.#dropping.values());
    this.#volumes.clear();
  }

  #held(volume: string, open: () => Promise<Replica>): Held {
    const known = this.#volumes.get(volume);
    if (known !== undefined) return known;
    const replica = open();
    const seenMs = this.#options.env.clock.monotonicMs();
    const held: Held = {
      ...{ replica, opened: undefined, holder: undefined, behindSinceMs: undefined, seenMs },
      wasSeen: false,
    };
    this.#volumes.set(volume, held);
    replica.then(
      (opened) => {
        held.opened = opened;
        this.#stored.opened(opened);
        this.promotions.opened(opened);
      },
      () => {
        if (this.#volumes.get(volume) === held) this.#volumes.delete(volume);
      },
    );
    return held;
  }

  #stateOf(volume: string): Promise<ReplicaState | undefined> {
    const { env, directory } = this.#options;
    return readReplicaState(env, `${directory}/${replicaFolder(volume)}`);
  }

  async #openReplica(owner: string, volume: string, sizeBytes: number): Promise<Replica> {
    await this.#stored.find();
    const { env, directory, repository, journalBytesDue } = this.#options;
    const own = `${directory}/${replicaFolder(volume)}`;
    await env.files.makeDirectory(own);
    await env.files.syncDirectory(directory);
    const replica = await Replica.open(env, {
      ...{ directory: own, volume, owner, sizeBytes, repository, journalBytesDue },
      makeSnapshot: (...wanted) => this.#makeSnapshot(...wanted),
      mayStore: () => this.#checkStored(owner),
      others: (volumes) => this.#others(owner, volumes),
      isDecided: (group, epoch) => this.#decisions.isDecided({ owner, group, epoch }),
      onEpoch: (event) => this.#onEpoch(volume, event),
    });
    try {
      await this.#groupPromotions.finish(replica);
      return replica;
    } catch (error) {
      await replica[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** As far as they are there; what is wrong with one is told to whoever opens that. */
  async #others(owner: string, volumes: readonly string[]): Promise<Replica[]> {
    const all = volumes.map((volume) => this.known(volume).catch(() => undefined));
    const replicas = await Promise.all(all);
    return replicas.filter((one) => one !== undefined).filter((one) => one.owner === owner);
  }

  #onEpoch(volume: string, event: EpochEvent): void {
    const held = this.#volumes.get(volume);
    if (event.event === 'begun') {
      if (held !== undefined) held.behindSinceMs ??= this.#options.env.clock.monotonicMs();
      return;
    }
    if (held !== undefined) held.behindSinceMs = undefined;
    const { epoch, tally, changed } = event;
    this.tell({ event: 'epoch', volume, epoch, tally, changed });
  }

  #makeSnapshot: MakeSnapshot = (device, since, wish) => {
    const mine = this.#snapshots.then(async () => {
      const snapshot = await this.#options.makeSnapshot(device, since, wish);
      this.tell({ event: 'snapshot', volume: wish.volume, snapshot });
      return snapshot;
    });
    this.#snapshots = mine.catch((error: unknown) => {
      if (!this.#isClosed) this.tell({ event: 'failed', volume: wish.volume, error });
    });
    return mine;
  };

  async #statusOf({ volume, owner, ...state }: ReplicaState): Promise<VolumeStatus> {
    const held = this.#volumes.get(volume);
    const replica = held?.opened;
    const { env, directory } = this.#options;
    if (held === undefined || replica === undefined) {
      const { sizeBytes, epoch, snapshot, group } = state;
      return {
        ...{ volume, owner, sizeBytes, epoch, snapshot, isOpen: false, isConnected: false },
        ...{
          group: group?.name,
          isPromoted: await isPromoted(env, `${directory}/${replicaFolder(volume)}`),
          lagMs: undefined,
          backlogBytes: 0,
          journalBytes: this.#stored.foundBytes(volume),
        },
      };
    }
    const { sizeBytes, epoch, journalBytes, missingBytes: backlogBytes } = replica;
    const isConnected = held.holder?.isConnected === true;
    const sinceMs = [held.behindSinceMs, isConnected ? undefined : lastSeenOf(held)];
    const nowMs = env.clock.monotonicMs();
    const lagMs = Math.max(0, ...sinceMs.flatMap((ms) => (ms === undefined ? [] : [nowMs - ms])));
    const snapshot = replica.snapshot?.id ?? null;
    return {
      ...{ volume, owner, sizeBytes, epoch, snapshot, isOpen: true, isConnected },
      ...{ lagMs, backlogBytes, journalBytes, group: replica.group?.name },
      isPromoted: replica.authority.state.promotion !== undefined,
    };
  }

  /** REPLICATE_QUOTA. What an agent has is what lies in the folders here and is its own. */
  async #checkLogical(agent: string, volume: string, sizeBytes: number): Promise<void> {
    const quota = this.policy.quotaOf(agent);
    if (quota.volumesMax === Infinity && quota.logicalBytesMax === Infinity) return;
    const { env, directory } = this.#options;
    const states = await replicaStates(env, directory);
    checkLogical(states, agent, quota, { volume, sizeBytes });
  }
}

function lastSeenOf({ holder, seenMs }: Held): number {
  return holder?.lastSeenMs ?? seenMs;
}
