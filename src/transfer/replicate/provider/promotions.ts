/** Promotions: the provider begins to write what agents wrote, planned or by force. */
import { type Env, messageOf, pause } from '../../../core/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import { ReplicateError } from '../errors.ts';
import { LEASE_MARGIN, MOVE_TIMEOUT_MS } from '../limits.ts';
import { withoutPaths } from '../requests.ts';
import type { GroupPromotions } from './group-promotion.ts';
import { inTurnOfAll } from './in-turn.ts';
import { checkNotOffered } from './promoted-volume.ts';
import type { Replica } from './replica.ts';

export type PromoteOptions = {
  /** Without the agent: what it has not sent is lost to the volume. */
  readonly isForced: boolean;
  /** Does not wait until an agent with a lease has surely stopped. */
  readonly isAgentDead: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** What is known of what a promotion by force loses. */
export type Loss = {
  readonly epoch: number;
  /** When that epoch was cut, on the agent's clock; undefined if that is not known any more. */
  readonly cutWallMs: number | undefined;
  /** Since the agent was here last; undefined if it was not since this provider runs. */
  readonly sinceContactMs: number | undefined;
  /** Of a later epoch that was on its way. */
  readonly missingBytes: number;
};

export type Promoted = {
  readonly volume: string;
  readonly authority: number;
  readonly snapshot: Snapshot;
  readonly isForced: boolean;
  readonly loss: Loss;
  /** The others of its group, at the same epoch. */
  readonly others?: readonly Promoted[];
  /** Of the group, and not at that epoch here: not promoted. */
  readonly missing?: readonly string[];
};

/** An agent that is here. */
export type Contact = { wishMove(replica: Replica): void; fence(replica: Replica): Promise<void> };

export type Presence = {
  readonly contact: Contact | undefined;
  readonly sinceContactMs: number | undefined;
};

/** A timer stands still while the host sleeps, and a lease does not. */
const LOOK_MS = 500;

/** Replicas that are offered together, or not at all. */
type Move = {
  readonly replicas: readonly Replica[];
  readonly arrived: Set<Replica>;
  readonly done: PromiseWithResolvers<readonly Snapshot[]>;
  /** Why it does not come about: its agent may have gone on since. */
  failure?: unknown;
};

type Seizure = { readonly isForced: boolean; readonly wallMs: number };

type Lease = { heardMs: number; isEnding: boolean };

export class Promotions {
  readonly #env: Env;
  readonly #leases = new WeakMap<Replica, Lease>();
  readonly #moves = new Map<Replica, Move>();

  readonly #groups: GroupPromotions;

  constructor(env: Env, groups: GroupPromotions) {
    this.#env = env;
    this.#groups = groups;
  }

  /** REPLICATE_FENCED once the end of the lease is waited for. */
  renew(replica: Replica): void {
    const lease = this.opened(replica);
    const { promotion, authority } = replica.authority.state;
    if (lease.isEnding || promotion !== undefined) throw replica.authority.fenced(authority);
    lease.heardMs = this.#env.clock.bootMs();
  }

  /** Of an earlier life nobody knows when it heard the agent: perhaps just now. */
  opened(replica: Replica): Lease {
    let lease = this.#leases.get(replica);
    if (lease === undefined) {
      lease = { heardMs: this.#env.clock.bootMs(), isEnding: false };
      this.#leases.set(replica, lease);
    }
    return lease;
  }

  /**
   * All of them at the same epoch, or none. If a disk fails in between, the same once more goes on
   * with the rest. REPLICATE_NO_CONTACT, REPLICATE_NOT_MOVED, REPLICATE_FENCED after an offer.
   */
  async promote(
    replicas: readonly Replica[],
    presenceOf: (replica: Replica) => Presence,
    options: PromoteOptions,
  ): Promise<readonly Promoted[]> {
    const { isForced, signal } = options;
    const lost = () => replicas.map((replica) => lossOf(replica, presenceOf(replica)));
    const lostByForce = lost();
    if (!isForced) for (const one of replicas) checkNotOffered(one.volume, one.authority.state);
    let snapshots: readonly Snapshot[];
    if (replicas.every(isPromoted)) snapshots = await this.#seizeAll(replicas, isForced);
    else if (isForced) snapshots = await this.#force(replicas, presenceOf, options);
    else {
      const contacts = replicas.map((replica) => {
        const { contact } = presenceOf(replica);
        if (contact === undefined) throw noContact(replica.volume);
        return contact;
      });
      snapshots = await this.#move(replicas, contacts, signal);
    }
    // A move brings what was missing when it began.
    const losses = isForced ? lostByForce : lost();
    return replicas.map(({ volume, authority: { state } }, at) => {
      const { authority, promotion } = state;
      const how = { isForced: promotion?.isForced ?? isForced, loss: losses[at]! };
      return { volume, authority, snapshot: snapshots[at]!, ...how };
    });
  }

  /** The agent has stopped with this content; answers under which authority this side writes. */
  async takeOver(
    replica: Replica,
    offered: { readonly authority: number; readonly epoch: number; readonly digest: string },
  ): Promise<number> {
    const move = this.#moves.get(replica);
    if (move === undefined) throw notMoved(replica.volume, 'nobody here asked for it');
    await replica.authority.admit(offered.authority);
    if (offered.epoch !== replica.epoch) {
      throw notMoved(replica.volume, `epoch ${offered.epoch} is not here, but ${replica.epoch}`);
    }
    const { digest } = await replica.assemble();
    if (digest !== offered.digest) throw notMoved(replica.volume, 'the digests differ');
    if (move.failure !== undefined) throw move.failure;
    const { replicas, arrived, done } = move;
    arrived.add(replica);
    // In turn from here on: an agent that comes back meanwhile is answered behind it.
    if (arrived.size === replicas.length) done.resolve(this.#seizeAll(replicas, false));
    await done.promise;
    return replica.authority.state.authority;
  }

  /** A move has failed; says why, for the agent. */
  refused(replica: Replica, error: unknown): string {
    const reason = withoutPaths(messageOf(error));
    fail(this.#moves.get(replica), error);
    return reason;
  }

  /** The session of the agent is over: a move that waits for it does not come about. */
  ended(replica: Replica): void {
    fail(this.#moves.get(replica), notMoved(replica.volume, 'the link to its agent broke'));
  }

  async #move(
    replicas: readonly Replica[],
    contacts: readonly Contact[],
    signal: AbortSignal | undefined,
  ): Promise<readonly Snapshot[]> {
    for (const { volume } of replicas.filter((replica) => this.#moves.has(replica))) {
      throw notMoved(volume, 'it is being moved already');
    }
    const done = Promise.withResolvers<readonly Snapshot[]>();
    const move: Move = { replicas, arrived: new Set<Replica>(), done };
    for (const replica of replicas) this.#moves.set(replica, move);
    const { volume } = replicas[0]!;
    const late = () => fail(move, notMoved(volume, 'its agent did not offer it in time'));
    const timer = this.#env.clock.after(MOVE_TIMEOUT_MS, late, { keepsProcess: true });
    signal?.addEventListener('abort', late, { once: true });
    try {
      for (const [at, contact] of contacts.entries()) contact.wishMove(replicas[at]!);
      return await done.promise;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', late);
      for (const replica of replicas) this.#moves.delete(replica);
    }
  }

  async #force(
    replicas: readonly Replica[],
    presenceOf: (replica: Replica) => Presence,
    { isAgentDead, signal }: PromoteOptions,
  ): Promise<readonly Snapshot[]> {
    const leases = replicas.map((replica) => this.opened(replica));
    for (const lease of leases) lease.isEnding = true;
    try {
      const ends = replicas.map(({ authority: { state } }, at) => {
        const { leaseMs = 0 } = state;
        return isAgentDead ? 0 : leases[at]!.heardMs + leaseMs * LEASE_MARGIN;
      });
      await this.#waitUntil(Math.max(...ends), signal);
      const snapshots = await this.#seizeAll(replicas, true);
      for (const replica of replicas) await presenceOf(replica).contact?.fence(replica);
      return snapshots;
    } finally {
      for (const lease of leases) lease.isEnding = false;
    }
  }

  /** No epoch is committed between the first and the last of them. */
  async #seizeAll(replicas: readonly Replica[], isForced: boolean): Promise<readonly Snapshot[]> {
    const how = { isForced, wallMs: this.#env.clock.wallMs() };
    await inTurnOfAll(replicas, async () => {
      if (replicas.length > 1) await this.#groups.decide(replicas, how);
      for (const replica of replicas) await this.#seize(replicas, replica, how);
    });
    return await Promise.all(replicas.map((replica) => replica.stand()));
  }

  /** It is decided: a replica whose own file does not say so takes it when it is opened again. */
  async #seize(all: readonly Replica[], replica: Replica, how: Seizure): Promise<void> {
    try {
      await replica.seize(how);
    } catch (error) {
      if (all.length === 1) throw error;
      const failure = notWritten(replica.volume, error);
      for (const one of all) one.fail(failure);
      throw failure;
    }
  }

  async #waitUntil(bootMs: number, signal: AbortSignal | undefined): Promise<void> {
    const { clock } = this.#env;
    for (let leftMs = bootMs - clock.bootMs(); leftMs > 0; leftMs = bootMs - clock.bootMs()) {
      signal?.throwIfAborted();
      await pause(this.#env, Math.min(leftMs, LOOK_MS), signal, { keepsProcess: true });
    }
  }
}

function fail(move: Move | undefined, error: unknown): void {
  if (move === undefined) return;
  move.failure ??= error;
  move.done.reject(error);
}

/** What a promotion without the agent would lose. */
function lossOf({ epoch, cutWallMs, missingBytes }: Replica, { sinceContactMs }: Presence): Loss {
  return { epoch, cutWallMs, sinceContactMs, missingBytes };
}

/** And not offered: it is written here. */
function isPromoted({ authority: { state } }: Replica): boolean {
  return state.promotion !== undefined && state.offer === undefined;
}

function noContact(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_NO_CONTACT', `the agent of ${volume} is not connected`, {
    hint: '--force promotes without it; what it has not sent is then a branch, if it ever returns.',
  });
}

function notWritten(volume: string, cause: unknown): ReplicateError {
  const message = `${volume} is promoted with its group, and cannot keep it: ${messageOf(cause)}`;
  return new ReplicateError('REPLICATE_JOURNAL_FAILED', message, {
    hint: 'Make room or repair the disk of the state directory, and promote it once more.',
    cause,
  });
}

function notMoved(volume: string, why: string): ReplicateError {
  return new ReplicateError('REPLICATE_NOT_MOVED', `${volume} was not moved: ${why}`, {
    hint: 'Its agent goes on as before; try again, or promote it with --force.',
  });
}
