/** The side that is dialled: turns connections into sessions and lanes, or refuses them. */
import {
  type DatagramAddress,
  type Env,
  equalSecrets,
  type PeerCertificate,
  type Stream,
  type Tls,
  toHex,
} from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import { closedError, WireError } from './errors.ts';
import { HalfOpen } from './half-open.ts';
import { exchange, type First, type MaybeSecure, makeHello, readHello } from './hello-exchange.ts';
import { type LaneChoice, LaneChooser, type LaneMode } from './lane-chooser.ts';
import { LaneDoor } from './lane-door.ts';
import { SESSIONS_MAX, TLS_TIMEOUT_MS } from './limits.ts';
import type { MessageStream } from './message-stream.ts';
import * as m from './messages/index.ts';
import { Session } from './session.ts';
import type { SessionHandlers } from './session-types.ts';
import { UdpHost } from './udp/udp-doors.ts';

export type Knock = {
  /** Undefined without TLS, or if the peer showed none. */
  readonly certificate: PeerCertificate | undefined;
  readonly hello: m.Hello;
  /** Where it comes from, for logs. */
  readonly peer: string;
};

export type Admission = {
  /** Whose rights the session has; a session is only ever resumed by the same. */
  readonly identity: string;
  /** Called with the session, which is new, before its first message. */
  open(session: Session): SessionHandlers;
  /**
   * For a token that this process does not know: what was received under it and is durable here.
   * Undefined: the session is unknown, and the peer must begin anew.
   */
  recall?(token: Uint8Array): m.Received | undefined | Promise<m.Received | undefined>;
};

export type HostOptions = {
  readonly env: Pick<Env, 'clock' | 'random' | 'net'>;
  /** Undefined: connections are trusted as they are (a unix socket, a test). */
  readonly tls?: Tls | undefined;
  readonly pool?: BufferPool;
  readonly capabilities?: readonly string[];
  /** Further connections that each session may open. */
  readonly streamLanes?: number;
  /** Where to listen for datagrams (`listenUdp`); none: no session has a UDP lane. */
  readonly lane?: LaneMode;
  /** Refuses by throwing a WireError, which the peer is told. */
  admit(knock: Knock): Admission | Promise<Admission>;
  /** Sees each connection once it is secured, before its first byte: to record it, for one. */
  tap?(stream: Stream): Stream;
  /** A connection came to nothing. */
  onRefused?(error: unknown, peer: string): void;
};

export class SessionHost {
  readonly #options: HostOptions;
  readonly #pool: BufferPool;
  readonly #halfOpen = new HalfOpen();
  readonly #sessions = new Map<string, Session>();
  readonly #doors: LaneDoor;
  readonly #udp: UdpHost;
  readonly #choosers = new WeakMap<Session, LaneChooser>();
  #isClosed = false;

  constructor(options: HostOptions) {
    this.#options = options;
    this.#pool = options.pool ?? new BufferPool();
    this.#udp = new UdpHost(options.env, this.#pool);
    this.#doors = new LaneDoor(options.env, options.streamLanes ?? 0, this.#udp);
  }

  get halfOpenCount(): number {
    return this.#halfOpen.count;
  }

  get udpLaneCount(): number {
    return this.#udp.laneCount;
  }

  /** Datagrams that belonged to no lane, for the metrics. */
  get strayPackets(): number {
    return this.#udp.strayPackets;
  }

  /** Half-open connections that were ended to make room for others. */
  get crowdedOutCount(): number {
    return this.#halfOpen.endedCount;
  }

  get sessions(): readonly Session[] {
    return [...this.#sessions.values()];
  }

  /** Opens a port for the datagrams of all sessions, in numbers: `0.0.0.0`, 7007. */
  async listenUdp(host: string, port: number): Promise<DatagramAddress> {
    await this.#udp.listen(host, port);
    return this.#udp.address!;
  }

  /** Which lanes this side sends data by, and why. */
  choiceOf(session: Session): LaneChoice | undefined {
    return this.#choosers.get(session)?.choice;
  }

  /** Takes an accepted connection; must be called in the tick in which it was handed over. */
  accept(stream: Stream): void {
    if (this.#isClosed) {
      stream.destroy();
      return;
    }
    this.#halfOpen.add(stream);
    void this.#greet(stream);
  }

  /** Says goodbye to all. */
  close(reason: string, againAfterMs = 0): void {
    this.#isClosed = true;
    this.#halfOpen.clear();
    for (const session of this.#sessions.values()) session.end(reason, againAfterMs);
    this.#udp.close();
  }

  async #greet(stream: Stream): Promise<void> {
    const { env, tls } = this.#options;
    let secured: Stream = stream;
    try {
      if (tls !== undefined) {
        secured = await tls.secure(stream, { hostName: undefined, timeoutMs: TLS_TIMEOUT_MS });
      }
    } catch (error) {
      this.#refused(stream, error);
      return;
    }
    const tapped = this.#options.tap?.(secured) ?? secured;
    exchange(tapped, {
      ...{ clock: env.clock, pool: this.#pool, expected: [m.HELLO, m.LANE_JOIN] },
      onFirst: (first) => {
        void this.#answer(stream, tapped, first);
      },
      onFailed: (error) => this.#refused(stream, error),
    });
  }

  async #answer(
    stream: Stream,
    secured: MaybeSecure,
    { messages, type, body }: First,
  ): Promise<void> {
    try {
      const certificate = secured.peerCertificate;
      if (type === m.LANE_JOIN) this.#join(m.decodeLaneJoin(body), certificate, messages);
      else await this.#hello(readHello(body, this.#options.capabilities), secured, messages);
      this.#halfOpen.remove(stream);
    } catch (error) {
      messages.fail(error);
      this.#refused(stream, error);
    }
  }

  #join(join: m.LaneJoin, certificate: PeerCertificate | undefined, messages: MessageStream): void {
    const session = this.#sessions.get(toHex(join.sessionToken));
    if (session === undefined || !isSame(session, certificate)) throw unknownSession();
    this.#doors.join(session, join, messages);
  }

  async #hello(hello: m.Hello, secured: MaybeSecure, messages: MessageStream): Promise<void> {
    const { peer } = messages;
    const certificate = secured.peerCertificate;
    const admission = await this.#options.admit({ certificate, hello, peer });
    const found = await this.#find(hello, admission, certificate);
    if (messages.isClosed) throw closedError();
    const { session, isNew } = found;
    session.meet(hello);
    const reply = makeHello({
      ...{ sessionToken: session.token, capabilities: this.#options.capabilities },
      ...session.resumeState,
    });
    messages.send(m.HELLO, 0, m.encodeHello(reply));
    if (isNew) {
      this.#sessions.set(toHex(session.token), session);
      session.handlers = admission.open(session);
      const { env, lane = 'auto' } = this.#options;
      this.#choosers.set(session, new LaneChooser(env.clock, session, lane));
    }
    session.attach(messages, hello);
    this.#doors.offer(session, secured.exportKey?.bind(secured));
  }

  async #find(
    { sessionToken }: m.Hello,
    admission: Admission,
    certificate: PeerCertificate | undefined,
  ): Promise<{ session: Session; isNew: boolean }> {
    const { identity } = admission;
    const known = this.#sessions.get(toHex(sessionToken));
    if (known !== undefined) {
      if (known.identity !== identity || !isSame(known, certificate)) throw unknownSession();
      return { session: known, isNew: false };
    }
    const isAnew = sessionToken.every((byte) => byte === 0);
    const received = isAnew ? undefined : await admission.recall?.(sessionToken);
    if (!isAnew && received === undefined) throw unknownSession();
    if (this.#sessions.size >= SESSIONS_MAX) {
      throw new WireError('WIRE_BUSY', `${SESSIONS_MAX} sessions are open here already`, {
        hint: 'Come again later.',
      });
    }
    const token = isAnew ? new Uint8Array(m.SESSION_TOKEN_BYTES) : sessionToken;
    if (isAnew) this.#options.env.random.fill(token);
    const session = new Session({
      ...{ env: this.#options.env, pool: this.#pool, token, identity },
      fingerprint: certificate?.fingerprint,
      handlers: { onMessage() {}, onClosed() {} },
      ...(received !== undefined && { received }),
      onGone: () => {
        this.#sessions.delete(toHex(token));
        this.#doors.forget(session);
        this.#choosers.get(session)?.stop();
      },
    });
    return { session, isNew: true };
  }

  #refused(stream: Stream, error: unknown): void {
    this.#halfOpen.remove(stream);
    this.#options.onRefused?.(error, stream.peer);
  }
}

function isSame({ fingerprint }: Session, certificate: PeerCertificate | undefined): boolean {
  const other = certificate?.fingerprint;
  if (fingerprint === undefined || other === undefined) return fingerprint === other;
  return equalSecrets(fingerprint, other);
}

function unknownSession(): WireError {
  return new WireError('WIRE_SESSION_UNKNOWN', 'the session is not known here, or not yours', {
    hint: 'Begin a new one; what was durable is known by its epochs.',
  });
}
