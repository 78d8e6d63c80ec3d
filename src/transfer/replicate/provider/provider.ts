/** Provider: the replicas of a tenant, and the sessions by which agents keep them up to date. */
import { type Env, hasCode, sha256, toHex } from '../../../core/index.ts';
import { checkVolumeName, type Repository, type Snapshot } from '../../../store/index.ts';
import type { Session, SessionHandlers } from '../../../wire/index.ts';
import { ReplicateError } from '../errors.ts';
import { checkSame } from './layers.ts';
import { ProviderSession } from './provider-session.ts';
import { type MakeSnapshot, Replica } from './replica.ts';
import { readReplicaState } from './replica-state.ts';

export type Quota = {
  /** Volumes of one agent. */
  readonly volumesMax: number;
  /** Bytes of all its volumes together, as they are seen. */
  readonly logicalBytesMax: number;
};

export type ProviderEvent =
  | { readonly event: 'opened'; readonly volume: string; readonly agent: string }
  | { readonly event: 'epoch'; readonly volume: string; readonly epoch: number }
  | { readonly event: 'snapshot'; readonly volume: string; readonly snapshot: Snapshot }
  | { readonly event: 'failed'; readonly volume: string | undefined; readonly error: unknown };

export type ProviderOptions = {
  readonly env: Env;
  readonly repository: Repository;
  /** Holds a folder for each replica; exists. */
  readonly directory: string;
  readonly makeSnapshot: MakeSnapshot;
  readonly quota?: Partial<Quota>;
  /** Tests make it small. */
  readonly journalBytesDue?: number;
  readonly onEvent?: (event: ProviderEvent) => void;
};

type Held = { readonly replica: Promise<Replica>; holder: ProviderSession | undefined };

export class Provider implements AsyncDisposable {
  readonly #options: ProviderOptions;
  readonly #volumes = new Map<string, Held>();
  readonly #sessions = new Set<ProviderSession>();
  /** Replicas that are being closed. */
  readonly #dropping = new Map<string, Promise<void>>();
  /** A repository takes one snapshot at a time. */
  #snapshots: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(options: ProviderOptions) {
    this.#options = options;
  }

  /** What a session of this agent is told, to be given to its host. */
  open(session: Session, agent: string): SessionHandlers {
    const opened = new ProviderSession(this, session, agent);
    this.#sessions.add(opened);
    return opened;
  }

  /** Names of the volumes that are open here. */
  get volumes(): readonly string[] {
    return [...this.#volumes.keys()];
  }

  /** The replica of an agent's volume, opened if need be. REPLICATE_* and what opening says. */
  async replica(volume: string, agent: string, sizeBytes: number): Promise<Replica> {
    checkVolumeName(volume);
    if (this.#isClosed) throw closing();
    await this.#dropping.get(volume)?.catch(() => undefined); // Told by `drop`.
    let held = this.#volumes.get(volume);
    if (held === undefined) {
      const opening = this.#checkQuota(agent, volume, sizeBytes).then(() =>
        this.#openReplica(agent, volume, sizeBytes),
      );
      held = { replica: opening, holder: undefined };
      this.#volumes.set(volume, held);
      opening.catch(() => this.#volumes.delete(volume));
    }
    const replica = await held.replica;
    checkSame(replica, { volume, owner: agent, sizeBytes });
    return replica;
  }

  /** The replica, for `session` alone from now on. */
  async take(session: ProviderSession, volume: string, sizeBytes: number): Promise<Replica> {
    const before = this.#volumes.get(volume)?.holder;
    // Only its own agent can take a volume away from a session.
    if (before !== undefined && before !== session && before.agent === session.agent) {
      await before.leave(volume);
    }
    const replica = await this.replica(volume, session.agent, sizeBytes);
    const held = this.#volumes.get(volume);
    if (held === undefined) throw closing();
    held.holder = session;
    this.#options.onEvent?.({ event: 'opened', volume, agent: session.agent });
    return replica;
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
      if (held.holder === session) held.holder = undefined;
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

  async #openReplica(owner: string, volume: string, sizeBytes: number): Promise<Replica> {
    const { env, directory, repository, journalBytesDue } = this.#options;
    const own = `${directory}/${folderOf(volume)}`;
    await env.files.makeDirectory(own);
    await env.files.syncDirectory(directory);
    return await Replica.open(env, {
      ...{ directory: own, volume, owner, sizeBytes, repository },
      makeSnapshot: (...wanted) => this.#makeSnapshot(...wanted),
      ...(journalBytesDue !== undefined && { journalBytesDue }),
    });
  }

  #makeSnapshot: MakeSnapshot = (device, since, of) => {
    const mine = this.#snapshots.then(async () => {
      const snapshot = await this.#options.makeSnapshot(device, since, of);
      this.tell({ event: 'snapshot', volume: of.volume, snapshot });
      return snapshot;
    });
    this.#snapshots = mine.catch((error: unknown) => {
      this.tell({ event: 'failed', volume: of.volume, error });
    });
    return mine;
  };

  /** REPLICATE_QUOTA. What an agent has is what lies in the folders here and is its own. */
  async #checkQuota(agent: string, volume: string, sizeBytes: number): Promise<void> {
    const { quota = {} } = this.#options;
    const { volumesMax = Infinity, logicalBytesMax = Infinity } = quota;
    if (volumesMax === Infinity && logicalBytesMax === Infinity) return;
    const others = await this.#ownedBy(agent, volume);
    const bytes = others.reduce((sum, other) => sum + other, sizeBytes);
    if (others.length + 1 <= volumesMax && bytes <= logicalBytesMax) return;
    const have = `${others.length + 1} volumes with ${bytes} bytes`;
    throw new ReplicateError('REPLICATE_QUOTA', `${volume} would make it ${have}`, {
      hint: 'Ask whoever runs the provider for more (`ferry serve --quota`).',
    });
  }

  async #ownedBy(agent: string, except: string): Promise<number[]> {
    const { env, directory } = this.#options;
    const sizes: number[] = [];
    for (const name of await env.files.list(directory)) {
      if (name === folderOf(except)) continue;
      const state = await readReplicaState(env, `${directory}/${name}`).catch((error: unknown) => {
        if (hasCode(error, 'REPLICATE_STATE')) return undefined;
        throw error;
      });
      if (state?.owner === agent) sizes.push(state.sizeBytes);
    }
    return sizes;
  }
}

/** A name of the agent's choice makes no path here. */
function folderOf(volume: string): string {
  return toHex(sha256(new TextEncoder().encode(volume))).slice(0, 32);
}

function closing(): ReplicateError {
  return new ReplicateError('REPLICATE_CLOSED', 'the provider is being stopped', {
    hint: 'Connect again later.',
  });
}
