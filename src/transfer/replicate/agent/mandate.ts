/** Mandate: as what an agent writes; it stops, hands over, is fenced, keeps what it wrote. */
import { type Clock, FerryError, messageOf, pause } from '../../../core/index.ts';
import { DeviceError, type WriteGate } from '../../../device/index.ts';
import { ReplicateError } from '../errors.ts';
import { type Claim, isPassing } from './agent.ts';
import type { AgentAuthority, Fence, Standing } from './agent-authority.ts';
import type { EpochSource } from './keep.ts';
import type { Lease } from './lease.ts';
import type { RemoteVolume } from './remote-volume.ts';

export type MandateOptions = {
  readonly clock: Clock;
  readonly authority: AgentAuthority;
  /** In front of the volume, where this process serves it. */
  readonly gate?: Pick<WriteGate, 'close' | 'open' | 'refuse' | 'refusal'>;
  /** The volume's digest, once nothing writes. */
  readonly digestOf?: () => Promise<Uint8Array>;
  readonly lease?: Lease;
  readonly onTrouble?: (error: unknown) => void;
  /** Another side writes from now on; told once for each time that it is found. */
  readonly onFenced?: (error: DeviceError) => void | Promise<void>;
};

/** A part of the lease after which the provider is asked again. */
const LEASE_PARTS = 3;

export class Mandate {
  readonly #options: MandateOptions;

  constructor(options: MandateOptions) {
    this.#options = options;
    // It was offered in an earlier life: nobody writes before the provider says who does.
    if (options.authority.standing.role === 'stopped') void options.gate?.close();
  }

  get claim(): Claim {
    const { authority, lease } = this.#options;
    return { authority: authority.standing.authority, leaseMs: lease?.leaseMs ?? 0 };
  }

  /** As this node has made it durable; what others have, only they can say. */
  get role(): Standing['role'] {
    return this.#options.authority.standing.role;
  }

  /** Nobody could be asked who writes it. REPLICATE_FENCED. */
  unheard(cause: unknown): ReplicateError {
    const { message, hint } = this.#options.authority.refusal();
    const text = `${message}; not heard: ${messageOf(cause)}`;
    return new ReplicateError('REPLICATE_FENCED', text, { hint, cause });
  }

  /** Another side writes it, or has: `opened` would say so. */
  isFencedBy(volume: RemoteVolume): boolean {
    const { standing } = this.#options.authority;
    if (standing.role !== 'fenced' && isOutdated(volume, standing)) return false;
    return standing.role === 'fenced' || isWrittenThere(volume, standing);
  }

  /** Another volume of its group is written elsewhere: this one is not written here any more. */
  async halt(): Promise<void> {
    const { authority, gate, onFenced } = this.#options;
    if (gate === undefined || gate.refusal !== undefined) return;
    const message = `${authority.volume} is not written without the others of its group`;
    const hint =
      'Promote the whole group there, or bring it back with `ferry replicate --reverse`.';
    const error = new DeviceError('DEVICE_READ_ONLY', message, { hint });
    gate.refuse(error);
    await onFenced?.(error);
  }

  /** After each opening. REPLICATE_FENCED if another side writes; what is only here is kept. */
  async opened(volume: RemoteVolume, source: EpochSource): Promise<void> {
    const { authority, gate, lease } = this.#options;
    const { known } = volume;
    if (isOlderThanFence(volume, authority.standing)) {
      await authority.doubt(known.promotedEpoch ?? volume.epoch);
      if (known.promotedEpoch === undefined) throw forgotten(authority);
    }
    const { standing } = authority;
    if (standing.role !== 'fenced' && isOutdated(volume, standing)) {
      throw outdated(authority, known.authority);
    }
    if (isWrittenThere(volume, standing)) {
      const epoch = known.promotedEpoch ?? volume.epoch;
      await this.#fenced(volume, { epoch, by: known.authority, isClean: false });
      await keepBranch({ authority, clock: this.#options.clock }, volume, source);
      throw authority.refusal();
    }
    if (standing.role === 'stopped' && standing.offeredTo === volume.replica) {
      await authority.resume();
      gate?.open();
    } else if (standing.role === 'fenced') throw authority.refusal();
    if (lease !== undefined) void this.#renew(volume, lease);
  }

  /** The provider wants to write: stops, has all of it there, offers it. Ends REPLICATE_FENCED. */
  async handOver(volume: RemoteVolume, sendRest: () => Promise<void>): Promise<void> {
    const { authority, gate, digestOf, onTrouble } = this.#options;
    volume.isMoveWished = false;
    const { authority: own } = volume.facts;
    if (gate === undefined || digestOf === undefined) {
      await volume.notTaken(
        own,
        'its writers are not stopped by this agent; see `ferry export --to`',
      );
      return;
    }
    await authority.stop(volume.replica);
    await gate.close();
    let digest: Uint8Array;
    try {
      await sendRest();
      digest = await digestOf();
    } catch (error) {
      // Nothing was offered yet: the next opening lets the writers go on, if there is none.
      if (isPassing(error)) throw error;
      await authority.resume();
      gate.open();
      throw error;
    }
    const answer = await volume.offer(digest);
    if ('reason' in answer) {
      await authority.resume();
      gate.open();
      onTrouble?.(notMoved(authority.volume, answer.reason));
      return;
    }
    const { epoch, authority: by } = answer;
    await this.#fenced(volume, { epoch, by, isClean: true });
    throw authority.refusal();
  }

  async #fenced(volume: RemoteVolume, how: Omit<Fence, 'replica'>): Promise<void> {
    const { authority, gate, lease, onFenced } = this.#options;
    await authority.fence({ ...how, replica: volume.replica });
    const { message, hint } = authority.refusal();
    const error = new DeviceError('DEVICE_READ_ONLY', message, { hint });
    gate?.refuse(error);
    lease?.end();
    await onFenced?.(error);
  }

  /** Until the session is over: then nobody is heard, and the lease runs out by itself. */
  async #renew(volume: RemoteVolume, lease: Lease): Promise<void> {
    const { clock } = this.#options;
    const { agent, facts } = volume;
    try {
      for (;;) {
        const sentMs = clock.bootMs();
        await agent.ask({ ask: 'lease' }, { volume: facts.number });
        lease.heard(sentMs);
        await agent.orOver(pause({ clock }, lease.leaseMs / LEASE_PARTS, undefined));
      }
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
    }
  }
}

/**
 * What was written here after the last common epoch becomes a volume of its own at the provider,
 * once. Nothing is made where nothing was written.
 */
export async function keepBranch(
  { authority, clock }: { readonly authority: AgentAuthority; readonly clock: Clock },
  volume: RemoteVolume,
  source: EpochSource,
): Promise<void> {
  const { standing } = authority;
  if (standing.isBranchKept === true || standing.isClean === true) return;
  if (await isUnwritten(volume, source, standing.epoch)) return await authority.clean();
  const day = new Date(clock.wallMs()).toISOString().slice(0, 10);
  const name = standing.branch ?? `${volume.facts.name}.branch-${day}-${standing.authority}`;
  await authority.branch(name, false);
  try {
    const branch = await volume.agent.open(name, source.sizeBytes);
    await using cut = await source.cut(branch.held);
    if (cut !== undefined) await branch.send({ ...cut, changed: 'compare' });
    await branch.snapshot();
  } catch (error) {
    if (isPassing(error)) throw error;
    throw new ReplicateError('REPLICATE_FENCED', `${name} is not kept: ${messageOf(error)}`, {
      hint: `What ${authority.volume} holds here is only here. Mend that, and run this again.`,
      cause: error,
    });
  }
  await authority.branch(name, true);
}

/** Whether the source says that nothing was written since `epoch`. */
async function isUnwritten(
  { replica, held }: RemoteVolume,
  source: EpochSource,
  epoch: number | undefined,
): Promise<boolean> {
  if (epoch === undefined) return false;
  const mark = held.epoch === epoch ? held.mark : undefined;
  await using cut = await source.cut({ replica, epoch, mark });
  if (cut === undefined) return true;
  return cut.changed !== 'compare' && cut.changedBytes === 0;
}

/** Whether the provider, or an agent under a higher authority, writes it. */
function isWrittenThere({ known }: RemoteVolume, { authority }: Standing): boolean {
  return known.promotedEpoch !== undefined || known.authority > authority;
}

/** It was promoted, and has given the volume back since: that it has forgotten. */
function isOutdated({ known }: RemoteVolume, { authority }: Standing): boolean {
  return known.promotedEpoch !== undefined && known.authority < authority;
}

/** It had more when it fenced this node. */
function isOlderThanFence(volume: RemoteVolume, standing: Standing): boolean {
  const { role, offeredTo, epoch = 0 } = standing;
  if (role !== 'fenced' || offeredTo !== volume.replica) return false;
  return (volume.known.promotedEpoch ?? volume.epoch) < epoch;
}

function outdated({ volume, standing }: AgentAuthority, authority: number): ReplicateError {
  const own = `written here under authority ${standing.authority}`;
  const message = `${volume} is promoted there under authority ${authority}, and ${own}`;
  return new ReplicateError('REPLICATE_WENT_BACK', message, {
    hint:
      "The provider's disk is an older copy, or it never heard of this node's authority. Stop " +
      'it, move the folder of the replica out of its state directory, and start it again.',
  });
}

function forgotten({ volume, standing }: AgentAuthority): ReplicateError {
  const message = `the provider wrote ${volume} under authority ${standing.by}, and forgot it`;
  return new ReplicateError('REPLICATE_WENT_BACK', message, {
    hint:
      'Its disk is an older copy: what was written there since is not in it. Bring that disk ' +
      `back, or promote what it has (\`ferry promote --force ${volume}\`), and run this again.`,
  });
}

function notMoved(volume: string, reason: string): ReplicateError {
  return new ReplicateError('REPLICATE_NOT_MOVED', `${volume} was not moved: ${reason}`, {
    hint: 'It is written here as before.',
  });
}
