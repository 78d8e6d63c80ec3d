/** `ferry serve`: listens for agents, knows them or pairs with them, hands them to the provider. */
import type { Address, Env, Listener, PeerCertificate } from '../core/index.ts';
import { toHex } from '../core/index.ts';
import { Provider, type ProviderOptions } from '../transfer/replicate/index.ts';
import {
  checkPinned,
  checkShown,
  type Knock,
  type LaneMode,
  type NodeIdentity,
  OneTimeTokens,
  PAIRING_TOKEN_BYTES,
  SessionHost,
} from '../wire/index.ts';
import { encodeInvitation } from './invitation.ts';
import { nodeName, type PeerBook } from './peer-book.ts';

export type ReplicaServerOptions = Omit<ProviderOptions, 'env'> & {
  readonly address: Address;
  readonly identity: NodeIdentity;
  readonly peers: PeerBook;
  readonly lane?: LaneMode;
  /** Somebody came and was not let in, or left before that. */
  readonly onRefused?: (error: unknown, peer: string) => void;
  readonly onPaired?: (name: string) => void;
};

/** Invitations that are open at the same time, and for how long each is good. */
const INVITATIONS_MAX = 16;
const INVITATION_MS = 60 * 60 * 1000;

/** Further TLS connections that one session may open. */
const STREAM_LANES = 4;

export class ReplicaServer implements AsyncDisposable {
  readonly provider: Provider;
  readonly #env: Env;
  readonly #options: ReplicaServerOptions;
  readonly #invitations: OneTimeTokens<undefined>;
  readonly #host: SessionHost;
  #listener: Listener | undefined;

  static async start(env: Env, options: ReplicaServerOptions): Promise<ReplicaServer> {
    const server = new ReplicaServer(env, options);
    await server.#listen();
    return server;
  }

  private constructor(env: Env, options: ReplicaServerOptions) {
    this.#env = env;
    this.#options = options;
    this.provider = new Provider({ env, ...options });
    const { clock, random } = env;
    this.#invitations = new OneTimeTokens({
      ...{ clock, random, tokenBytes: PAIRING_TOKEN_BYTES },
      ...{ countMax: INVITATIONS_MAX, validMs: INVITATION_MS },
    });
    const { identity, lane, onRefused } = options;
    this.#host = new SessionHost({
      env,
      tls: env.net.tls({ role: 'server', credentials: { kind: 'pinned', identity } }),
      streamLanes: STREAM_LANES,
      ...(lane !== undefined && { lane }),
      admit: (knock) => this.#admit(knock),
      ...(onRefused !== undefined && { onRefused }),
    });
  }

  /** With the port that was picked. */
  get address(): Address {
    return this.#listener!.address;
  }

  get sessionCount(): number {
    return this.#host.sessions.length;
  }

  /** A token for `ferry pair`, good for one use within an hour. */
  invite(): string {
    const secret = this.#invitations.issue(undefined);
    return encodeInvitation({ fingerprint: this.#options.identity.fingerprint, secret });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener?.close();
    await this.provider[Symbol.asyncDispose]();
    this.#host.close('the provider stops');
  }

  async #listen(): Promise<void> {
    const { address } = this.#options;
    this.#listener = await this.#env.net.listen(address, (stream) => this.#host.accept(stream));
    const actual = this.#listener.address;
    // Datagrams go to numbers only; without them there are still the lanes over TLS.
    if (actual.kind !== 'tcp' || !/^[\d.]+$|:/.test(actual.host)) return;
    await this.#host.listenUdp(actual.host, actual.port).catch((error: unknown) => {
      this.#options.onRefused?.(error, 'udp');
    });
  }

  async #admit({ certificate, hello }: Knock) {
    const wallMs = this.#env.clock.wallMs();
    const shown = checkShown(certificate, wallMs);
    if (hello.pairingToken !== undefined) await this.#pair(shown, hello.pairingToken);
    const pins = await this.#options.peers.pins('agent');
    checkPinned(certificate, pins, wallMs);
    const agent = toHex(shown.fingerprint);
    return {
      identity: agent,
      open: (session: Parameters<Provider['open']>[0]) => this.provider.open(session, agent),
    };
  }

  async #pair({ names, fingerprint }: PeerCertificate, token: Uint8Array): Promise<void> {
    this.#invitations.redeem(token);
    const name = nodeName(names, toHex(fingerprint).slice(0, 8));
    await this.#options.peers.add({ role: 'agent', name, address: null, fingerprint });
    this.#options.onPaired?.(name);
  }
}
