/** Session: messages between two nodes, over one connection after another, none lost or doubled. */
import assert from 'node:assert/strict';
import type { Clock, Timer } from '../core/index.ts';
import {
  closedError,
  limitError,
  protocolError,
  remoteError,
  timeoutError,
  unsupported,
  WireError,
} from './errors.ts';
import { FLAG_MANDATORY, FLAGS_KNOWN, type Header, PRIORITIES } from './header.ts';
import { Inbound } from './inbound.ts';
import type { Lane, LaneOwner, Notice } from './lane.ts';
import { CONTROL_ID, LaneTable } from './lane-table.ts';
import * as limits from './limits.ts';
import type { MessageStream } from './message-stream.ts';
import * as m from './messages/index.ts';
import { costOf, Outbound, type Outgoing, ROUTE_CONTROL, ROUTE_DATA } from './outbound.ts';
import { preparedBody } from './packed-body.ts';
import { RoundTrip } from './round-trip.ts';
import type { SendOptions, SessionHandlers, SessionOptions, Traffic } from './session-types.ts';
import { StreamLane } from './stream-lane.ts';

export type SessionState = 'open' | 'broken' | 'closed';

const NOTICES_MAX = 64;

export class Session implements LaneOwner {
  readonly token: Uint8Array;
  readonly identity: string;
  readonly fingerprint: Uint8Array | undefined;
  handlers: SessionHandlers;
  readonly #clock: Clock;
  readonly #onGone: (() => void) | undefined;
  readonly #outbound: Outbound;
  readonly #inbound: Inbound;
  #state: SessionState = 'broken';
  #roundTrip: RoundTrip;
  #lanesText: string | undefined;
  readonly #lanes = new LaneTable();
  /** Told whenever lanes come, become ready, or go. */
  onLanesChanged: (() => void) | undefined;
  onLaneGone: ((lane: Lane) => void) | undefined;
  #peer: m.Hello | undefined;
  #notices: Notice[] = [];
  #isAckDue = false;
  #isHeartbeatDue = false;
  #ackTimer: Timer | undefined;
  #beatTimer: Timer | undefined;
  #expiry: Timer | undefined;
  /** When something came last, on the monotonic clock. */
  heardAtMs = 0;
  #wantsRoom = false;
  acknowledgedBytes = 0;

  constructor(options: SessionOptions) {
    const { env, pool, token, identity, fingerprint, handlers, received, onGone } = options;
    this.#onGone = onGone;
    this.token = token;
    this.identity = identity;
    this.fingerprint = fingerprint;
    this.handlers = handlers;
    this.#clock = env.clock;
    this.#outbound = new Outbound(({ laneId, bodyBytes }) => {
      const state = this.#lanes.byId(laneId);
      if (state !== undefined) state.acknowledgedBytes += bodyBytes;
    });
    this.#inbound = new Inbound({
      ...{ pool, received },
      onMessage: (message) => this.handlers.onMessage(message),
      onDone: (isUrgent) => this.#planAck(isUrgent),
    });
    this.#roundTrip = new RoundTrip(env.clock);
  }

  get state(): SessionState {
    return this.#state;
  }

  get roundTrip(): Pick<RoundTrip, 'milliseconds' | 'leastMs'> {
    return this.#roundTrip;
  }

  /** Bytes that wait, and bytes that are sent and not acknowledged. */
  get backlogBytes(): number {
    return this.#outbound.waitingBytes + this.#outbound.unacknowledgedBytes;
  }

  get waitingBytes(): number {
    return this.#outbound.waitingBytes;
  }

  get traffic(): Traffic {
    const { peerBacklogBytes, peerLanes } = this.#roundTrip;
    const [{ receivedBytes }, { resentBytes }] = [this.#lanes, this.#outbound];
    return { receivedBytes, peerBacklogBytes, peerLanes, resentBytes };
  }

  /** Everything that was sent is acknowledged. */
  get isIdle(): boolean {
    return this.#outbound.isIdle;
  }

  /** What a HELLO of this side has to say: what came, and where this side's numbers begin. */
  get resumeState(): { received: m.Received; firstNumber: number } {
    return { received: this.#inbound.received, firstNumber: this.#outbound.firstNumber };
  }

  get lanes(): readonly Lane[] {
    return this.#lanes.all;
  }

  get peerHello(): m.Hello | undefined {
    return this.#peer;
  }

  /** False: the queue of this priority is full; `onRoom` tells when to come again. */
  send(options: SendOptions): boolean {
    const { type, priority, optional = false, parts, lastChecksum, onAcknowledged } = options;
    assert(type >= m.NUMBERED_MIN && priority >= 0 && priority < PRIORITIES);
    if (this.#state === 'closed') throw closedError();
    const body = preparedBody(type, { parts, lastChecksum }, optional ? 0 : FLAG_MANDATORY);
    if (!this.#outbound.hasRoom(priority, body.bodyBytes)) {
      this.#wantsRoom = true;
      return false;
    }
    const fresh = { hasRoom: options.hasRoom ?? false, onAcknowledged, sequence: 0, laneId: -1 };
    this.#outbound.push({ ...body, ...fresh, type, priority });
    this.pump();
    return true;
  }

  /** Tells the peer of something that could not be done; the session goes on. */
  sendError(error: Omit<m.ErrorMessage, 'isFatal'>): void {
    this.notify(m.ERROR, m.encodeError({ ...error, isFatal: false }));
  }

  /** A message without number; lost with the connection. */
  notify(type: number, body: Uint8Array): void {
    if (this.#state !== 'open') return;
    if (this.#notices.length >= NOTICES_MAX) {
      this.fail(limitError(`${NOTICES_MAX} notices wait for a peer that does not read`));
      return;
    }
    this.#notices.push({ type, flags: 0, body });
    this.pump();
  }

  /** Takes in what the peer's hello says of the past; an older connection is given up. */
  meet(hello: m.Hello): void {
    this.#lanes.clear(undefined);
    this.#outbound.resend(undefined);
    this.#outbound.skipTo(m.lastOf(hello.received) + 1);
    this.#outbound.acknowledge(hello.received);
    this.#inbound.skipTo(hello.firstNumber);
  }

  /** Goes on over a connection on which both sides have said hello. */
  attach(messages: MessageStream, hello: m.Hello): StreamLane {
    assert(this.#state !== 'closed');
    const isFirst = this.#peer === undefined;
    this.#expiry?.cancel();
    this.#peer = hello;
    this.#state = 'open';
    this.#roundTrip = new RoundTrip(this.#clock);
    this.heardAtMs = this.#clock.monotonicMs();
    this.#isAckDue = true;
    this.#isHeartbeatDue = true;
    const lane = new StreamLane(CONTROL_ID, 'control', messages, this);
    this.addLane(lane);
    this.#beat();
    if (!isFirst) this.handlers.onResumed?.();
    this.pump();
    return lane;
  }

  /** A further lane; it carries nothing until `useLanes` names it. */
  addLane(lane: Lane): void {
    this.#lanes.add(lane, this.#peer!.creditBytes);
    if (lane.isReady) this.onLaneReady(lane);
  }

  /** Data goes by these lanes from now on, or by the control lane; `why` is told to the peer. */
  useLanes(lanes: readonly Lane[], why = this.#lanesText): void {
    this.#lanesText = why;
    this.#lanes.use(lanes);
    this.pump();
  }

  /** Bytes of bodies that went by this lane and are acknowledged. */
  acknowledgedBytesOf(lane: Lane): number {
    return this.#lanes.of(lane)?.acknowledgedBytes ?? 0;
  }

  pump(): void {
    if (this.#state !== 'open') return;
    this.#lanes.control?.pump();
    for (const lane of this.#lanes.carriers) lane.pump();
    if (!this.#wantsRoom) return;
    this.#wantsRoom = false;
    this.handlers.onRoom?.();
  }

  /** Says goodbye and ends; what was not acknowledged may be resumed by the same token. */
  end(reason = 'done', againAfterMs = 0): void {
    if (this.#state === 'closed') return;
    const control = this.#lanes.control;
    if (this.#state === 'open' && control instanceof StreamLane) {
      this.notify(m.GOODBYE, m.encodeGoodbye({ reason, againAfterMs }));
      control.end();
    }
    this.#close(undefined);
  }

  /** Tells the peer why, and ends. */
  fail(error: unknown): void {
    if (this.#state === 'closed') return;
    const control = this.#lanes.control;
    if (control !== undefined) this.#lanes.remove(control);
    if (control instanceof StreamLane) control.fail(error);
    this.#close(error);
  }

  /** The connection is given up; the session waits for the next one. */
  drop(error: unknown): void {
    if (this.#state !== 'open') return;
    this.#state = 'broken';
    this.#notices = [];
    this.#beatTimer?.cancel();
    this.#ackTimer?.cancel();
    this.#ackTimer = undefined;
    this.#lanes.clear(error);
    this.#outbound.resend(undefined);
    this.#expiry = this.#clock.after(limits.RESUME_MS, () => {
      this.#close(timeoutError(`the peer did not come back within ${limits.RESUME_MS} ms`));
    });
    this.handlers.onBroken?.(error);
  }

  nextNotice(lane: Lane): Notice | undefined {
    if (this.#lanes.control !== lane) return undefined;
    const notice = this.#notices.shift();
    if (notice !== undefined) return notice;
    if (this.#isAckDue) {
      this.#isAckDue = false;
      return { type: m.ACK, flags: 0, body: this.#ack() };
    }
    if (!this.#isHeartbeatDue) return undefined;
    this.#isHeartbeatDue = false;
    const body = this.#roundTrip.next(this.#outbound.waitingBytes, this.#lanesText);
    return { type: m.HEARTBEAT, flags: 0, body };
  }

  nextMessage(lane: Lane): Outgoing | undefined {
    const state = this.#lanes.of(lane);
    if (this.#state !== 'open' || state === undefined) return undefined;
    const isControl = lane.id === CONTROL_ID;
    const carriesData = this.#lanes.carries(lane);
    const urgent = isControl ? this.#outbound.peek(ROUTE_CONTROL) : undefined;
    const data = carriesData ? this.#outbound.peek(ROUTE_DATA) : undefined;
    const message = data && urgent && urgent.priority <= data.priority ? urgent : (data ?? urgent);
    if (message === undefined) return undefined;
    const costBytes = costOf(message.bodyBytes);
    if (state.sentBytes + costBytes > state.limitBytes) return undefined;
    state.sentBytes += costBytes;
    this.#outbound.take(message, lane.id);
    return message;
  }

  admit(lane: Lane, header: Header): boolean {
    const { type, flags, bodyBytes } = header;
    const state = this.#lanes.of(lane);
    if (state === undefined) throw closedError();
    if ((flags & ~FLAGS_KNOWN) !== 0) throw unsupported(`flags ${flags}`);
    if (type < m.NUMBERED_MIN) {
      if (bodyBytes > limits.HELLO_BYTES_MAX) throw limitError(`a notice of ${bodyBytes} bytes`);
      if (lane.id !== CONTROL_ID) throw protocolError(`${m.nameOfType(type)} on a data lane`);
      return false;
    }
    this.#inbound.admit(header, state.credit);
    return true;
  }

  onMessage(lane: Lane, header: Header, body: Uint8Array, buffer: Uint8Array | undefined): void {
    this.heardAtMs = this.#clock.monotonicMs();
    try {
      if (header.type < m.NUMBERED_MIN) this.#onNotice(header, body);
      else this.#inbound.onMessage(header, body, buffer, this.#lanes.came(lane, header));
    } catch (error) {
      this.fail(error);
    }
  }

  onLaneReady(_lane: Lane): void {
    this.onLanesChanged?.();
  }

  onLaneClosed(lane: Lane, error: unknown): void {
    if (this.#lanes.of(lane) === undefined) return;
    this.#lanes.remove(lane);
    if (lane.id === CONTROL_ID) {
      // What does not parse or breaks the rules would do so again.
      if (error instanceof WireError && error.code !== 'WIRE_TIMEOUT') this.#close(error);
      else this.drop(error ?? closedError());
      return;
    }
    this.#outbound.resend(lane.id);
    this.notify(m.LANE_CLOSE, m.encodeLaneClose({ laneId: lane.id }));
    this.#laneGone(lane, error);
  }

  #onNotice({ type, flags }: Header, body: Uint8Array): void {
    if (type === m.ACK) this.#onAck(m.decodeAck(body));
    else if (type === m.HEARTBEAT) {
      if (!this.#roundTrip.hear(m.decodeHeartbeat(body))) return;
      this.#isHeartbeatDue = true;
      this.#lanes.control?.pump();
    } else if (type === m.ERROR) this.#onError(m.decodeError(body));
    else if (type === m.GOODBYE) {
      m.decodeGoodbye(body);
      this.#close(undefined);
    } else if (type === m.LANE_CLOSE) {
      const lane = this.#lanes.byId(m.decodeLaneClose(body).laneId)?.lane;
      if (lane === undefined || lane.id === CONTROL_ID) return;
      this.#lanes.remove(lane);
      this.#outbound.resend(lane.id);
      lane.destroy();
      this.#laneGone(lane, undefined);
    } else if (type === m.LANE_OFFER) this.handlers.onLaneOffer?.(m.decodeLaneOffer(body));
    else if (m.isKnownType(type)) throw protocolError(`${m.nameOfType(type)} out of its turn`);
    else if ((flags & FLAG_MANDATORY) !== 0) throw unsupported(`messages of type ${type}`);
  }

  #onAck({ received, credits }: m.Ack): void {
    this.acknowledgedBytes += this.#outbound.acknowledge(received);
    this.#lanes.grant(credits);
    this.pump();
  }

  #onError(error: m.ErrorMessage): void {
    if (!error.isFatal) {
      this.handlers.onPeerError?.(error);
      return;
    }
    this.#close(remoteError(error));
  }

  #ack(): Uint8Array {
    this.#ackTimer?.cancel();
    this.#ackTimer = undefined;
    const { credits } = this.#lanes;
    return this.#inbound.ack(credits, this.#clock.monotonicMs(), this.#roundTrip.milliseconds);
  }

  #planAck(isUrgent: boolean): void {
    if (this.#state !== 'open' || this.#isAckDue) return;
    if (isUrgent) {
      this.#isAckDue = true;
      this.#lanes.control?.pump();
      return;
    }
    this.#ackTimer ??= this.#clock.after(limits.ACK_DELAY_MS, () => {
      this.#ackTimer = undefined;
      this.#planAck(true);
    });
  }

  #beat(): void {
    this.#beatTimer?.cancel();
    this.#beatTimer = this.#clock.after(limits.HEARTBEAT_MS, () => {
      const nowMs = this.#clock.monotonicMs();
      const silentMs = nowMs - Math.min(this.heardAtMs, this.#roundTrip.answeredAtMs);
      if (silentMs > limits.SILENCE_MS) {
        this.drop(timeoutError(`the peer has said nothing new for ${Math.round(silentMs)} ms`));
        return;
      }
      this.#isHeartbeatDue = true;
      this.#beat();
      this.#lanes.control?.pump();
    });
  }

  #laneGone(lane: Lane, error: unknown): void {
    this.handlers.onLaneClosed?.(lane, error);
    this.onLaneGone?.(lane);
    this.onLanesChanged?.();
    this.pump();
  }

  #close(error: unknown): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    for (const timer of [this.#beatTimer, this.#ackTimer, this.#expiry]) timer?.cancel();
    this.#lanes.clear(error);
    this.#onGone?.();
    this.handlers.onClosed(error);
  }
}
