/** Promotions: the provider begins to write what agents wrote, planned or by force. */
import { type Env, messageOf, pause } from '../../../core/index.ts';
import type { Snapshot } from '../../../store/index.ts';
import { ReplicateError } from '../errors.ts';
import { LEASE_MARGIN, MOVE_TIMEOUT_MS } from '../limits.ts';
import { withoutPaths } from '../requests.ts';
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
};

/** An agent that is here. */
export type Contact = { wishMove(replica: Replica): void; fence(replica: Replica): Promise<void> };

export type Presence = {
  readonly contact: Contact | undefined;
  readonly sinceContactMs: number | undefined;
};

/** A timer stands still while the host sleeps, and a lease does not. */
const LOOK_MS = 500;

type Lease = { heardMs: number; isEnding: boolean };

export class Promotions {
  readonly #env: Env;
  readonly #leases = new WeakMap<Replica, Lease>();
  readonly #moves = new Map<Replica, PromiseWithResolvers<Snapshot>>();

  constructor(env: Env) {
    this.#env = env;
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

  /** REPLICATE_NO_CONTACT, REPLICATE_NOT_MOVED, REPLICATE_FENCED after an offer. */
  async promote(
    replica: Replica,
    presence: () => Presence,
    options: PromoteOptions,
  ): Promise<Promoted> {
    const { isForced, signal } = options;
    const { promotion, offer } = replica.authority.state;
    const loss = lossOf(replica, presence());
    if (!isForced) checkNotOffered(replica.volume, replica.authority.state);
    let snapshot: Snapshot;
    if (promotion !== undefined && offer === undefined) {
      snapshot = await replica.promote({ isForced, wallMs: this.#env.clock.wallMs() });
    } else if (isForced) snapshot = await this.#force(replica, presence, options);
    else {
      const { contact } = presence();
      if (contact === undefined) throw noContact(replica.volume);
      snapshot = await this.#move(replica, contact, signal);
    }
    const { authority, promotion: now } = replica.authority.state;
    const { volume } = replica;
    return { volume, authority, snapshot, isForced: now?.isForced ?? isForced, loss };
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
    const how = { isForced: false, wallMs: this.#env.clock.wallMs() };
    const snapshot = await replica.promote(how);
    move.resolve(snapshot);
    return replica.authority.state.authority;
  }

  /** A move has failed; says why, for the agent. */
  refused(replica: Replica, error: unknown): string {
    const reason = withoutPaths(messageOf(error));
    this.#moves.get(replica)?.reject(error);
    return reason;
  }

  /** The session of the agent is over: a move that waits for it does not come about. */
  ended(replica: Replica): void {
    this.#moves.get(replica)?.reject(notMoved(replica.volume, 'the link to its agent broke'));
  }

  async #move(
    replica: Replica,
    contact: Contact,
    signal: AbortSignal | undefined,
  ): Promise<Snapshot> {
    if (this.#moves.has(replica)) throw notMoved(replica.volume, 'it is being moved already');
    const move = Promise.withResolvers<Snapshot>();
    this.#moves.set(replica, move);
    const late = () => move.reject(notMoved(replica.volume, 'its agent did not offer it in time'));
    const timer = this.#env.clock.after(MOVE_TIMEOUT_MS, late, { keepsProcess: true });
    signal?.addEventListener('abort', late, { once: true });
    try {
      contact.wishMove(replica);
      return await move.promise;
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', late);
      this.#moves.delete(replica);
    }
  }

  async #force(
    replica: Replica,
    presence: () => Presence,
    { isAgentDead, signal }: PromoteOptions,
  ): Promise<Snapshot> {
    const lease = this.opened(replica);
    lease.isEnding = true;
    try {
      const { leaseMs = 0 } = replica.authority.state;
      const untilMs = isAgentDead ? 0 : lease.heardMs + leaseMs * LEASE_MARGIN;
      await this.#waitUntil(untilMs, signal);
      const how = { isForced: true, wallMs: this.#env.clock.wallMs() };
      const snapshot = await replica.promote(how);
      await presence().contact?.fence(replica);
      return snapshot;
    } finally {
      lease.isEnding = false;
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

/** What a promotion without the agent would lose. */
function lossOf({ epoch, cutWallMs, missingBytes }: Replica, { sinceContactMs }: Presence): Loss {
  return { epoch, cutWallMs, sinceContactMs, missingBytes };
}

function noContact(volume: string): ReplicateError {
  return new ReplicateError('REPLICATE_NO_CONTACT', `the agent of ${volume} is not connected`, {
    hint: '--force promotes without it; what it has not sent is then a branch, if it ever returns.',
  });
}

function notMoved(volume: string, why: string): ReplicateError {
  return new ReplicateError('REPLICATE_NOT_MOVED', `${volume} was not moved: ${why}`, {
    hint: 'Its agent goes on as before; try again, or promote it with --force.',
  });
}
