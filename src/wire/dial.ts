/** The side that dials: keeps one session, over as many connections as that takes. */
import { type Env, equalBytes, type Stream, type Timer } from '../core/index.ts';
import { BufferPool } from './buffers.ts';
import { protocolError, WireError } from './errors.ts';
import { exchange, type MaybeSecure, makeHello, readHello } from './hello-exchange.ts';
import { LaneChooser, type LaneMode } from './lane-chooser.ts';
import * as limits from './limits.ts';
import * as m from './messages/index.ts';
import { Session } from './session.ts';
import type { SessionHandlers } from './session-types.ts';
import { StreamLane } from './stream-lane.ts';
import { openUdpLane } from './udp/udp-doors.ts';

export type DialOptions = {
  readonly env: Pick<Env, 'clock' | 'random' | 'net'>;
  readonly pool?: BufferPool;
  /** A new connection, on which the peer has proven who it is; `dialTls` makes one. */
  dial(): Promise<Stream>;
  /** Who is dialled, for this program. */
  readonly identity: string;
  readonly capabilities?: readonly string[];
  readonly required?: readonly string[];
  readonly pairingToken?: Uint8Array;
  readonly handlers: SessionHandlers;
  /** Further connections that carry data, as far as the host offers them. */
  readonly streamLanes?: number;
  /** Which lanes carry data; `auto` tries those that come about. */
  readonly lane?: LaneMode;
  /** Where datagrams go, in numbers; by default to where the connection leads. */
  readonly udpHost?: string;
};

export type DialledSession = {
  readonly session: Session;
  readonly chooser: LaneChooser;
};

/** Settles once the host has said hello; from then on losses of the connection are mended. */
export async function dialSession(options: DialOptions): Promise<DialledSession> {
  return await new Dialler(options).open();
}

/** Between two tries to open a UDP lane. */
const UDP_PAUSE_FIRST_MS = 10_000;
const UDP_PAUSE_MAX_MS = 600_000;

const LOOPBACK = /^(127\.|::1$|::ffff:127\.)/;

class Dialler {
  readonly #options: DialOptions;
  readonly #pool: BufferPool;
  #session: Session | undefined;
  #pauseMs = limits.REDIAL_FIRST_MS;
  #timer: Timer | undefined;
  #udpTimer: Timer | undefined;
  #udpPauseMs = 0;
  #laneCount = 0;
  #chooser: LaneChooser | undefined;
  /** The control lane's connection, out of which keys come. */
  #stream: MaybeSecure | undefined;

  constructor(options: DialOptions) {
    this.#options = options;
    this.#pool = options.pool ?? new BufferPool();
  }

  async open(): Promise<DialledSession> {
    await this.#connect();
    return { session: this.#session!, chooser: this.#chooser! };
  }

  async #connect(): Promise<void> {
    const { env, dial, pairingToken, capabilities, required } = this.#options;
    const stream: MaybeSecure = await dial();
    const session = this.#session;
    if (session?.state === 'closed') {
      stream.destroy();
      return;
    }
    const hello = makeHello({
      sessionToken: session?.token ?? new Uint8Array(m.SESSION_TOKEN_BYTES),
      ...(session?.resumeState ?? { received: m.nothingReceived, firstNumber: 1 }),
      ...{ capabilities, required, pairingToken: session === undefined ? pairingToken : undefined },
    });
    await new Promise<void>((resolve, reject) => {
      exchange(stream, {
        ...{ clock: env.clock, pool: this.#pool, expected: [m.HELLO] },
        say: { type: m.HELLO, body: m.encodeHello(hello) },
        onFirst: ({ messages, body }) => {
          // In this very call: what follows the hello is the session's to hear.
          try {
            const answer = readHello(body, capabilities);
            this.#session = this.#meet(stream, answer);
            this.#laneCount = 0;
            this.#stream = stream;
            this.#session.attach(messages, answer);
            resolve();
          } catch (error) {
            messages.fail(error);
            reject(error);
          }
        },
        onFailed: reject,
      });
    });
  }

  #meet(stream: MaybeSecure, hello: m.Hello): Session {
    const known = this.#session;
    if (known !== undefined) {
      if (!equalBytes(known.token, hello.sessionToken)) {
        throw protocolError('the host answers with another session');
      }
      known.meet(hello);
      return known;
    }
    const { env, identity, handlers } = this.#options;
    const session: Session = new Session({
      ...{ env, pool: this.#pool, token: hello.sessionToken, identity },
      fingerprint: stream.peerCertificate?.fingerprint,
      handlers: {
        ...bound(handlers),
        onBroken: (error) => {
          handlers.onBroken?.(error);
          this.#pauseMs = limits.REDIAL_FIRST_MS;
          this.#redialLater();
        },
        onLaneOffer: (offer) => {
          handlers.onLaneOffer?.(offer);
          if (offer.kind === m.LANE_STREAM) void this.#openLane(offer);
          else this.#planUdp(offer);
        },
      },
      onGone: () => {
        this.#timer?.cancel();
        this.#udpTimer?.cancel();
        this.#chooser?.stop();
      },
    });
    session.meet(hello);
    session.onLaneGone = ({ kind }) => {
      if (kind === 'tls') this.#laneCount -= 1;
    };
    this.#chooser = new LaneChooser(env.clock, session, this.#options.lane ?? 'auto');
    return session;
  }

  #redialLater(): void {
    this.#timer = this.#options.env.clock.after(this.#pauseMs, () => {
      this.#pauseMs = Math.min(2 * this.#pauseMs, limits.REDIAL_MAX_MS);
      this.#connect().catch((error: unknown) => {
        const session = this.#session!;
        if (session.state === 'closed') return;
        if (isFinal(error)) session.fail(error);
        else if (session.state === 'broken') {
          this.#options.handlers.onUnreachable?.(error);
          this.#redialLater();
        }
      });
    });
  }

  /** At once at first; where UDP is blocked, ever more rarely. */
  #planUdp(offer: m.LaneOffer): void {
    const { env, lane = 'auto' } = this.#options;
    if (lane !== 'auto' && lane !== 'udp') return;
    this.#udpTimer?.cancel();
    this.#udpTimer = env.clock.after(this.#udpPauseMs, () => {
      this.#udpPauseMs = Math.min(UDP_PAUSE_MAX_MS, 2 * this.#udpPauseMs + UDP_PAUSE_FIRST_MS);
      void this.#openUdp(offer);
    });
  }

  async #openUdp(offer: m.LaneOffer): Promise<void> {
    const session = this.#session!;
    const stream = this.#stream;
    const host = this.#options.udpHost ?? stream?.remoteHost;
    const exportKey = stream?.exportKey?.bind(stream);
    if (session.state !== 'open' || host === undefined || exportKey === undefined) return;
    // Nothing is lost within a host, and datagrams cost it many times what TCP does.
    if ((this.#options.lane ?? 'auto') === 'auto' && LOOPBACK.test(host)) return;
    const { env } = this.#options;
    const pool = this.#pool;
    try {
      const onProven = () => {
        this.#udpPauseMs = UDP_PAUSE_FIRST_MS;
      };
      await openUdpLane({ env, pool, session, offer, exportKey, host, onProven });
    } catch {
      // No socket for it: data goes by the other lanes.
    }
  }

  /** A lane that does not come about is done without. */
  async #openLane({ laneId, token }: m.LaneOffer): Promise<void> {
    const session = this.#session!;
    if (this.#laneCount >= (this.#options.streamLanes ?? 0)) return;
    this.#laneCount += 1;
    const { env } = this.#options;
    const sessionToken = session.token;
    try {
      const stream = await this.#options.dial();
      exchange(stream, {
        ...{ clock: env.clock, pool: this.#pool, expected: [m.LANE_JOIN] },
        say: { type: m.LANE_JOIN, body: m.encodeLaneJoin({ sessionToken, laneId, token }) },
        onFirst: ({ messages, body }) => {
          if (session.state !== 'open' || m.decodeLaneJoin(body).laneId !== laneId) {
            messages.destroy();
            return;
          }
          session.addLane(new StreamLane(laneId, 'tls', messages, session));
        },
        onFailed: () => {
          this.#laneCount -= 1;
        },
      });
    } catch {
      this.#laneCount -= 1;
    }
  }
}

/** Trying again would end in the same way. */
function isFinal(error: unknown): boolean {
  if (!(error instanceof WireError)) return false;
  return (
    error.code !== 'WIRE_TIMEOUT' &&
    error.code !== 'WIRE_CLOSED' &&
    error.remoteCode !== 'WIRE_BUSY'
  );
}

/** Handlers may be an object with methods of a class, which a spread would lose. */
function bound(handlers: SessionHandlers): SessionHandlers {
  return {
    onMessage: (message) => handlers.onMessage(message),
    onRoom: () => handlers.onRoom?.(),
    onResumed: () => handlers.onResumed?.(),
    onPeerError: (error) => handlers.onPeerError?.(error),
    onLaneClosed: (lane, error) => handlers.onLaneClosed?.(lane, error),
    onClosed: (error) => handlers.onClosed(error),
  };
}
