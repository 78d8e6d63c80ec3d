/** The round trip of a session, as its heartbeats show it. */
import type { Clock } from '../core/index.ts';
import { encodeHeartbeat, type Heartbeat } from './messages/index.ts';

/** RFC 6298, section 2: the smoothed round trip moves by an eighth of each difference. */
const SMOOTHING = 8;

export class RoundTrip {
  readonly #clock: Clock;
  /** What the peer said last, and when. */
  #peerUs = 0;
  #peerAtUs = 0;
  #smoothedMs: number | undefined;
  /** What the way itself takes: the others were held up by work at either end. */
  leastMs = Number.POSITIVE_INFINITY;
  /** When the peer last showed that it had read something of ours. */
  answeredAtMs: number;
  peerBacklogBytes = 0;
  /** By which lanes the peer sends, and why; empty until it says so. */
  peerLanes = '';

  constructor(clock: Clock) {
    this.#clock = clock;
    this.answeredAtMs = clock.monotonicMs();
  }

  /** 0 until it is known. */
  get milliseconds(): number {
    return this.#smoothedMs ?? 0;
  }

  next(backlogBytes: number, lanes: string | undefined): Uint8Array {
    const timeUs = this.#nowUs();
    const heldUs = this.#peerUs === 0 ? 0 : timeUs - this.#peerAtUs;
    return encodeHeartbeat({ timeUs, echoUs: this.#peerUs, heldUs, backlogBytes, lanes });
  }

  /** Answers whether the peer waits for an echo of its first one. */
  hear({ timeUs, echoUs, heldUs, backlogBytes, lanes = '' }: Heartbeat): boolean {
    const nowUs = this.#nowUs();
    this.peerBacklogBytes = backlogBytes;
    this.peerLanes = lanes;
    this.#peerUs = timeUs;
    this.#peerAtUs = nowUs;
    if (echoUs === 0) return true;
    const sampleMs = (nowUs - echoUs - heldUs) / 1000;
    // An echo from the future, or of another connection's clock, says nothing.
    if (sampleMs < 0 || echoUs > nowUs) return false;
    this.answeredAtMs = nowUs / 1000;
    this.leastMs = Math.min(this.leastMs, sampleMs);
    this.#smoothedMs ??= sampleMs;
    this.#smoothedMs += (sampleMs - this.#smoothedMs) / SMOOTHING;
    return false;
  }

  #nowUs(): number {
    return Math.max(1, Math.floor(this.#clock.monotonicMs() * 1000));
  }
}
