/** The further lanes that a host's sessions may open: one-time tokens, and who comes with them. */
import type { Env } from '../core/index.ts';
import { WireError } from './errors.ts';
import { OneTimeTokens } from './identity/one-time-tokens.ts';
import type { LaneKind } from './lane.ts';
import { LANES_MAX, RESUME_MS, SESSIONS_MAX } from './limits.ts';
import type { MessageStream } from './message-stream.ts';
import * as m from './messages/index.ts';
import type { Session } from './session.ts';
import { StreamLane } from './stream-lane.ts';
import type { ExportKey } from './udp/keys.ts';
import type { UdpHost } from './udp/udp-doors.ts';

type Offered = { readonly session: Session; readonly laneId: number };

export class LaneDoor {
  readonly #streamLanes: number;
  readonly #udp: UdpHost;
  readonly #tokens: OneTimeTokens<Offered>;
  /** By session; ids are never used again in it. */
  readonly #lastIds = new WeakMap<Session, number>();

  constructor(env: Pick<Env, 'clock' | 'random'>, streamLanes: number, udp: UdpHost) {
    this.#udp = udp;
    this.#streamLanes = streamLanes;
    this.#tokens = new OneTimeTokens({
      ...env,
      tokenBytes: m.LANE_TOKEN_BYTES,
      countMax: LANES_MAX * SESSIONS_MAX,
      validMs: RESUME_MS,
    });
  }

  /** After each hello: as many tokens as the session may have further lanes. */
  offer(session: Session, exportKey: ExportKey | undefined): void {
    this.forget(session);
    session.onLaneGone = ({ kind }) => this.#offerAgain(session, kind, exportKey);
    const count = Math.min(this.#streamLanes, (session.peerHello?.lanesMax ?? 1) - 1);
    for (let at = 0; at < count; at += 1) {
      this.#offerStream(session);
    }
    if (exportKey !== undefined) this.#udp.offer(session, this.#nextId(session), exportKey);
  }

  #offerStream(session: Session): void {
    const laneId = this.#nextId(session);
    const token = this.#tokens.issue({ session, laneId });
    session.notify(
      m.LANE_OFFER,
      m.encodeLaneOffer({ laneId, kind: m.LANE_STREAM, token, port: 0 }),
    );
  }

  /** Another one in the place of a lane that is gone: with a new token, and so with new keys. */
  #offerAgain(session: Session, kind: LaneKind, exportKey: ExportKey | undefined): void {
    if (session.state !== 'open') return;
    if (kind === 'tls') this.#offerStream(session);
    else if (kind === 'udp' && exportKey !== undefined) {
      this.#udp.offer(session, this.#nextId(session), exportKey);
    }
  }

  #nextId(session: Session): number {
    const laneId = (this.#lastIds.get(session) ?? 0) + 1;
    this.#lastIds.set(session, laneId);
    return laneId;
  }

  join(session: Session, { laneId, token, sessionToken }: m.LaneJoin, messages: MessageStream) {
    const offered = this.#tokens.redeem(token);
    if (offered.session !== session || offered.laneId !== laneId || session.state !== 'open') {
      throw new WireError('WIRE_TOKEN', 'the token is for another session or lane', {
        hint: 'Get a new one by the control lane.',
      });
    }
    const blank = new Uint8Array(m.LANE_TOKEN_BYTES);
    messages.send(m.LANE_JOIN, 0, m.encodeLaneJoin({ sessionToken, laneId, token: blank }));
    session.addLane(new StreamLane(laneId, 'tls', messages, session));
  }

  forget(session: Session): void {
    this.#tokens.revoke((offered) => offered.session === session);
  }
}
