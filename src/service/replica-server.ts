/** `ferry serve`: listens for agents, knows them or pairs, hands them to their tenants. */
import type { Address, Env, Listener, PeerCertificate, Timer } from '../core/index.ts';
import { fromHex, pause, toHex } from '../core/index.ts';
import type { Provider, ProviderEvent } from '../transfer/replicate/index.ts';
import {
  BufferPool,
  checkPinned,
  checkShown,
  type Knock,
  type LaneMode,
  type NodeIdentity,
  OneTimeTokens,
  PAIRING_TOKEN_BYTES,
  type Session,
  SessionHost,
  type Traffic,
  vouchedName,
  WireError,
} from '../wire/index.ts';
import { ServiceError } from './errors.ts';
import type { Grant } from './grant.ts';
import { encodeInvitation } from './invitation.ts';
import { nodeName, type Peer, type PeerBook, vouchedFingerprint } from './peer-book.ts';
import { type Defaults, PeerPolicy } from './peer-policy.ts';
import { SnapshotTurns } from './snapshot-turns.ts';
import { FIRST_TENANT, type Tenant, type TenantOptions, tenantOf } from './tenant.ts';

export type ServerEvent =
  | (ProviderEvent & { readonly tenant: string })
  /** Somebody came and was not let in, or left before that. */
  | { readonly event: 'refused'; readonly peer: string; readonly error: unknown }
  | { readonly event: 'paired'; readonly name: string; readonly tenant: string }
  /** An agent that the authority stands behind has come for the first time. */
  | { readonly event: 'vouched'; readonly name: string }
  /** A new session; one that goes on over another connection is none. */
  | {
      readonly event: 'came';
      readonly agent: string;
      readonly name: string;
      readonly tenant: string;
      readonly peer: string;
    }
  /** A session has ended; `error` is undefined after a goodbye. */
  | {
      readonly event: 'ended';
      readonly agent: string;
      readonly name: string;
      readonly error: unknown;
      readonly traffic: Traffic;
    }
  /** The peer book cannot be read: what was known of it still holds. */
  | { readonly event: 'trouble'; readonly error: unknown };

export type ReplicaServerOptions = {
  /** The first one is that of `--repo`. */
  readonly tenants: readonly TenantOptions[];
  readonly address: Address;
  readonly identity: NodeIdentity;
  readonly peers: PeerBook;
  /** PEM: agents that it stands behind need not pair; they are known by the names it gave them. */
  readonly authorities?: Uint8Array | undefined;
  /** Of agents whose grant says nothing else. */
  readonly defaults?: Defaults;
  readonly lane?: LaneMode;
  /** Tests make it small. */
  readonly journalBytesDue?: number;
  readonly onEvent?: (event: ServerEvent) => void;
};

/** Invitations that are open at the same time, and for how long each is good. */
const INVITATIONS_MAX = 16;
const INVITATION_MS = 60 * 60 * 1000;

/** Further TLS connections that one session may open. */
const STREAM_LANES = 4;

/** How soon a revocation or another grant holds for sessions that are open. */
const PEERS_LOOK_MS = 2_000;

/** At a stop: for what is under way to become durable, before connections are cut. */
export const DRAIN_MS = 10_000;

export class ReplicaServer implements AsyncDisposable {
  readonly tenants: readonly Tenant[];
  readonly host: SessionHost;
  readonly #env: Env;
  readonly #options: ReplicaServerOptions;
  readonly #policy: PeerPolicy;
  readonly #buffers = new BufferPool();
  readonly #invitations: OneTimeTokens<Grant>;
  #known: ReadonlyMap<string, Peer> = new Map();
  #revoked: ReadonlySet<string> = new Set();
  #listener: Listener | undefined;
  #look: Timer | undefined;
  #isStopping = false;

  static async start(env: Env, options: ReplicaServerOptions): Promise<ReplicaServer> {
    const server = new ReplicaServer(env, options);
    await server.#readPeers();
    await server.#listen();
    server.#watchPeers();
    return server;
  }

  private constructor(env: Env, options: ReplicaServerOptions) {
    this.#env = env;
    this.#options = options;
    const { identity, lane, defaults = {}, journalBytesDue, authorities } = options;
    this.#policy = new PeerPolicy(env, defaults);
    const policy = this.#policy;
    const turns = new SnapshotTurns(env.clock);
    const fingerprint = toHex(identity.fingerprint);
    this.tenants = options.tenants.map((tenant) =>
      tenantOf(env, tenant, {
        ...{ policy, fingerprint, ...(journalBytesDue !== undefined && { journalBytesDue }) },
        snapshots: (make, signal) =>
          turns.run(() => {
            // A first synchronisation has just ended, often: what it took is of use here.
            this.#buffers.releaseIdle();
            return make();
          }, signal),
        onEvent: (event) => this.#tell({ ...event, tenant: tenant.name }),
      }),
    );
    const { clock, random } = env;
    this.#invitations = new OneTimeTokens({
      ...{ clock, random, tokenBytes: PAIRING_TOKEN_BYTES },
      ...{ countMax: INVITATIONS_MAX, validMs: INVITATION_MS },
    });
    this.host = new SessionHost({
      ...{ env, pool: this.#buffers },
      tls: env.net.tls({
        ...{ role: 'server' },
        credentials: { kind: 'pinned', identity, ...(authorities && { authorities }) },
      }),
      streamLanes: STREAM_LANES,
      ...(lane !== undefined && { lane }),
      admit: (knock) => this.#admit(knock),
      onRefused: (error, peer) => this.#tell({ event: 'refused', peer, error }),
    });
  }

  /** With the port that was picked. */
  get address(): Address {
    return this.#listener!.address;
  }

  get isStopping(): boolean {
    return this.#isStopping;
  }

  /** By fingerprint, as of the last look. */
  get agents(): ReadonlyMap<string, Peer> {
    return this.#known;
  }

  /** SERVICE_UNKNOWN_TENANT. */
  provider(tenant: string): Provider {
    const found = this.tenants.find(({ name }) => name === tenant);
    if (found !== undefined) return found.provider;
    throw new ServiceError('SERVICE_UNKNOWN_TENANT', `there is no tenant ${tenant} here`, {
      hint: 'Start `ferry serve` with --tenant NAME=REPO.',
    });
  }

  /** A token for `ferry pair`, good for one use within an hour. SERVICE_UNKNOWN_TENANT. */
  invite(tenant = FIRST_TENANT): string {
    this.provider(tenant);
    const secret = this.#invitations.issue(tenant === FIRST_TENANT ? {} : { tenant });
    return encodeInvitation({ fingerprint: this.#options.identity.fingerprint, secret });
  }

  /** Lets what is under way become durable, for DRAIN_MS at most. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopping = true;
    this.#look?.cancel();
    await this.#listener?.close();
    const done = new AbortController();
    const drained = Promise.all(
      this.tenants.map(({ provider }) => provider[Symbol.asyncDispose]()),
    ).finally(() => done.abort());
    await Promise.race([drained, pause(this.#env, DRAIN_MS, done.signal, { keepsProcess: true })]);
    this.host.close('the provider stops');
  }

  async #listen(): Promise<void> {
    const { address } = this.#options;
    this.#listener = await this.#env.net.listen(address, (stream) => this.host.accept(stream));
    const actual = this.#listener.address;
    // Datagrams go to numbers only; without them there are still the lanes over TLS.
    if (actual.kind !== 'tcp' || !/^[\d.]+$|:/.test(actual.host)) return;
    await this.host.listenUdp(actual.host, actual.port).catch((error: unknown) => {
      this.#tell({ event: 'refused', peer: 'udp', error });
    });
  }

  async #admit({ certificate, hello, peer }: Knock) {
    if (this.#isStopping) throw stopping();
    const wallMs = this.#env.clock.wallMs();
    const shown = checkShown(certificate, wallMs);
    if (hello.pairingToken !== undefined) await this.#pair(shown, hello.pairingToken);
    await this.#readPeers();
    const agent = await this.#identify(shown, wallMs);
    const { name: tenant, provider } = this.#tenantOf(agent);
    // It keeps the name by which it came.
    const name = this.#known.get(agent)?.name ?? agent;
    return {
      identity: agent,
      open: (session: Session) => {
        this.#tell({ event: 'came', agent, name, tenant, peer });
        const handlers = provider.open(session, agent);
        return {
          onMessage: (message: Parameters<typeof handlers.onMessage>[0]) =>
            handlers.onMessage(message),
          onRoom: () => handlers.onRoom?.(),
          onResumed: () => handlers.onResumed?.(),
          onClosed: (error: unknown) => {
            handlers.onClosed(error);
            const { traffic } = session;
            this.#tell({ event: 'ended', agent, name, error, traffic });
          },
        };
      },
    };
  }

  /** Paired with, or by the name that its authority gave it. */
  async #identify(shown: PeerCertificate, wallMs: number): Promise<string> {
    if (!shown.isVouchedFor || this.#known.has(toHex(shown.fingerprint))) {
      checkPinned(shown, this.#pins(), wallMs);
      return toHex(shown.fingerprint);
    }
    const name = vouchedName(shown);
    const fingerprint = vouchedFingerprint(name);
    const agent = toHex(fingerprint);
    if (this.#revoked.has(agent)) throw revoked();
    if (!this.#known.has(agent)) {
      const peer = { role: 'agent', name, address: null, fingerprint } as const;
      await this.#options.peers.add({ ...peer, isVouchedFor: true });
      await this.#readPeers();
      this.#tell({ event: 'vouched', name });
    }
    return agent;
  }

  #tenantOf(agent: string): Tenant {
    const tenant = this.#known.get(agent)?.grant?.tenant ?? FIRST_TENANT;
    const found = this.tenants.find(({ name }) => name === tenant);
    if (found !== undefined) return found;
    throw new WireError('WIRE_DENIED', 'the tenant of this agent is not served here', {
      hint: 'Ask whoever runs the provider.',
    });
  }

  async #pair({ names, fingerprint }: PeerCertificate, token: Uint8Array): Promise<void> {
    const grant = this.#invitations.redeem(token);
    const name = nodeName(names, toHex(fingerprint).slice(0, 8));
    const peer = { role: 'agent', name, address: null, fingerprint } as const;
    await this.#options.peers.add(grant.tenant === undefined ? peer : { ...peer, grant });
    this.#tell({ event: 'paired', name, tenant: grant.tenant ?? FIRST_TENANT });
  }

  #pins(): readonly Uint8Array[] {
    const paired = [...this.#known.values()].filter(({ isVouchedFor }) => isVouchedFor !== true);
    return paired.map(({ fingerprint }) => fromHex(fingerprint, 32)!);
  }

  async #readPeers(): Promise<void> {
    const all = await this.#options.peers.peers('agent');
    const [gone, agents] = [all.filter(isGone), all.filter((peer) => !isGone(peer))];
    this.#revoked = new Set(gone.map(({ fingerprint }) => fingerprint));
    this.#known = new Map(agents.map((peer) => [peer.fingerprint, peer]));
    this.#policy.grants = new Map(agents.map((peer) => [peer.fingerprint, peer.grant ?? {}]));
  }

  #watchPeers(): void {
    this.#look = this.#env.clock.after(PEERS_LOOK_MS, () => {
      const before = this.#known;
      this.#readPeers()
        .then(
          () => this.#endStrangers(before),
          (error: unknown) => this.#tell({ event: 'trouble', error }),
        )
        .finally(() => {
          if (!this.#isStopping) this.#watchPeers();
        });
    });
  }

  /** Who was revoked, or moved to another tenant, leaves now. */
  #endStrangers(before: ReadonlyMap<string, Peer>): void {
    for (const session of this.host.sessions) {
      const peer = this.#known.get(session.identity);
      if (peer === undefined) session.fail(revoked());
      else if (peer.grant?.tenant !== before.get(session.identity)?.grant?.tenant) {
        session.fail(stopping());
      }
    }
  }

  #tell(event: ServerEvent): void {
    this.#options.onEvent?.(event);
  }
}

function isGone({ isRevoked }: Peer): boolean {
  return isRevoked === true;
}

function revoked(): WireError {
  return new WireError('WIRE_NOT_TRUSTED', 'this agent was revoked', {
    hint: 'Pair with the provider again (`ferry pair`), or have `ferry peers` there let it in.',
  });
}

function stopping(): WireError {
  return new WireError('WIRE_BUSY', 'the provider does not take sessions of this agent now', {
    hint: 'Come again.',
  });
}
