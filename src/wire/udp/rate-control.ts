/**
 * How fast a UDP lane sends: by the largest delivery rate and the smallest round trip of late, as
 * BBR does (Cardwell et al., ACM Queue 14, 5, 2016), and not by single losses.
 */

/** Doubles the rate each round trip: 2 / ln 2. */
const STARTUP_GAIN = 2.885;
const DRAIN_GAIN = 1 / STARTUP_GAIN;
/** One phase per round trip: look for more, give back the queue that made, then keep the rate. */
const PHASE_GAINS = [1.25, 0.75, 1, 1, 1, 1, 1, 1] as const;
/** Packets under way, in bandwidth times delay; room for acknowledgements that come in lumps. */
const WINDOW_GAIN = 2;
/** Startup ends when the rate grew by less than a quarter in three rounds. */
const GROWTH_MIN = 1.25;
const FLAT_ROUNDS_MAX = 3;
/** Without a queue, or loss, a round without growth shows a late timer rather than a full path. */
const FLAT_ROUNDS_WITHOUT_QUEUE_MAX = 10;
const LOSS_OF_FULL_PATH = 0.05;
const RATE_ROUNDS = 10;
/** The smallest round trip is looked for anew, with half the packets under way, now and then. */
const ROUND_TRIP_VALID_MS = 10_000;
const PROBE_ROUND_TRIP_MS = 200;
/** Timers and threads of both sides come late by this much. */
const SLACK_MS = 4;
const JITTER_MS_MAX = 50;
const PACKET_BYTES = 1_228;
export const WINDOW_BYTES_MIN = 16 * PACKET_BYTES;
const INITIAL_RATE_BYTES_PER_MS = (32 * PACKET_BYTES) / 100;
/** Loss that comes without a queue is made up for, so that it does not eat the rate away. */
const LOSS_MADE_UP_MAX = 0.5;
const QUEUE_RATIO = 1.25;

/** The largest of the last rounds. */
class MaxFilter {
  #best = new Array<number>(RATE_ROUNDS).fill(0);
  #round = -1;

  add(round: number, value: number): void {
    if (round !== this.#round) {
      const passed = Math.min(RATE_ROUNDS, this.#round < 0 ? RATE_ROUNDS : round - this.#round);
      for (let at = 1; at <= passed; at += 1) this.#best[(this.#round + at) % RATE_ROUNDS] = 0;
      this.#round = round;
    }
    const at = round % RATE_ROUNDS;
    this.#best[at] = Math.max(this.#best[at] ?? 0, value);
  }

  get max(): number {
    return Math.max(...this.#best);
  }
}

export type RateSample = {
  readonly nowMs: number;
  /** Of the newest packet of this acknowledgement. */
  readonly roundTripMs: number;
  readonly rateBytesPerMs: number;
  /** Less was sent than could have been. */
  readonly isLimited: boolean;
  readonly isNewRound: boolean;
  readonly inFlightBytes: number;
};

export class RateControl {
  mode: 'startup' | 'drain' | 'steady' | 'probe-round-trip' = 'startup';
  readonly #rates = new MaxFilter();
  #round = 0;
  #smallestMs = Number.POSITIVE_INFINITY;
  #smallestAtMs = 0;
  #smoothedMs = 0;
  #variationMs = 0;
  #fullRate = 0;
  #flatRounds = 0;
  #phase = 2;
  #phaseAtMs = 0;
  #probeUntilMs = 0;
  /** Smoothed shares of packets lost, per round. */
  #lossShare = 0;
  #roundLost = 0;
  #roundDelivered = 0;

  get smallestRoundTripMs(): number {
    return Number.isFinite(this.#smallestMs) ? this.#smallestMs : 0;
  }

  get roundTripMs(): number {
    return this.#smoothedMs;
  }

  get variationMs(): number {
    return this.#variationMs;
  }

  get rateBytesPerMs(): number {
    return this.#rates.max || INITIAL_RATE_BYTES_PER_MS;
  }

  get lossShare(): number {
    return this.#lossShare;
  }

  get pacingBytesPerMs(): number {
    const gain =
      this.mode === 'startup'
        ? STARTUP_GAIN
        : this.mode === 'drain'
          ? DRAIN_GAIN
          : this.mode === 'steady'
            ? PHASE_GAINS[this.#phase]!
            : 1;
    const lost = this.#hasQueue ? 0 : Math.min(this.#lossShare, LOSS_MADE_UP_MAX);
    const floor = WINDOW_BYTES_MIN / Math.max(1, this.smallestRoundTripMs);
    return Math.max(floor, (gain * this.rateBytesPerMs) / (1 - lost));
  }

  get #hasQueue(): boolean {
    return this.#smoothedMs > QUEUE_RATIO * this.#smallestMs + SLACK_MS;
  }

  get windowBytes(): number {
    const delayMs = this.smallestRoundTripMs + SLACK_MS;
    const gain = this.mode === 'startup' ? STARTUP_GAIN : WINDOW_GAIN;
    const share = this.mode === 'probe-round-trip' ? 0.5 : gain;
    // Round trips that differ from each other come from busy processors more than from queues.
    const jitterMs = Math.min(JITTER_MS_MAX, 2 * this.#variationMs);
    return Math.max(WINDOW_BYTES_MIN, this.rateBytesPerMs * (share * delayMs + jitterMs));
  }

  onLost(packets: number): void {
    this.#roundLost += packets;
  }

  onDelivered(packets: number): void {
    this.#roundDelivered += packets;
  }

  onSample(sample: RateSample): void {
    const { nowMs, roundTripMs, isNewRound } = sample;
    this.#takeRoundTrip(roundTripMs, nowMs);
    if (isNewRound) this.#endRound();
    // Whatever kept it from sending more, where so much is lost the path does not take more.
    const isLimited = sample.isLimited && this.#lossShare <= LOSS_OF_FULL_PATH;
    if (!isLimited || sample.rateBytesPerMs > this.#rates.max) {
      this.#rates.add(this.#round, sample.rateBytesPerMs);
    }
    if (this.mode === 'startup' && isNewRound && !isLimited) this.#lookForFull();
    const delayBytes = this.rateBytesPerMs * (this.smallestRoundTripMs + SLACK_MS);
    if (this.mode === 'drain' && sample.inFlightBytes <= delayBytes) this.#settle(nowMs);
    if (this.mode === 'steady') this.#turnPhase(nowMs, sample.inFlightBytes <= delayBytes);
    this.#probeRoundTrip(nowMs);
  }

  #takeRoundTrip(sampleMs: number, nowMs: number): void {
    if (sampleMs <= this.#smallestMs) {
      this.#smallestMs = sampleMs;
      this.#smallestAtMs = nowMs;
    }
    // RFC 6298, section 2.
    if (this.#smoothedMs === 0) {
      this.#smoothedMs = sampleMs;
      this.#variationMs = sampleMs / 2;
    } else {
      this.#variationMs += (Math.abs(this.#smoothedMs - sampleMs) - this.#variationMs) / 4;
      this.#smoothedMs += (sampleMs - this.#smoothedMs) / 8;
    }
  }

  #endRound(): void {
    this.#round += 1;
    const packets = this.#roundLost + this.#roundDelivered;
    if (packets < 8) return;
    this.#lossShare += (this.#roundLost / packets - this.#lossShare) / 4;
    this.#roundLost = 0;
    this.#roundDelivered = 0;
  }

  #lookForFull(): void {
    const rate = this.#rates.max;
    if (rate >= this.#fullRate * GROWTH_MIN) {
      this.#fullRate = rate;
      this.#flatRounds = 0;
      return;
    }
    this.#flatRounds += 1;
    const isFull = this.#hasQueue || this.#lossShare > LOSS_OF_FULL_PATH;
    const flatMax = isFull ? FLAT_ROUNDS_MAX : FLAT_ROUNDS_WITHOUT_QUEUE_MAX;
    if (this.#flatRounds >= flatMax) this.mode = 'drain';
  }

  #settle(nowMs: number): void {
    this.mode = 'steady';
    this.#phase = 2;
    this.#phaseAtMs = nowMs;
  }

  #turnPhase(nowMs: number, isDrained: boolean): void {
    const isOver = nowMs - this.#phaseAtMs > Math.max(this.smallestRoundTripMs, SLACK_MS);
    if (!isOver && !(PHASE_GAINS[this.#phase]! < 1 && isDrained)) return;
    this.#phase = (this.#phase + 1) % PHASE_GAINS.length;
    this.#phaseAtMs = nowMs;
  }

  #probeRoundTrip(nowMs: number): void {
    if (this.mode === 'probe-round-trip') {
      if (nowMs < this.#probeUntilMs) return;
      this.#settle(nowMs);
      return;
    }
    if (this.mode !== 'steady' || nowMs - this.#smallestAtMs < ROUND_TRIP_VALID_MS) return;
    this.mode = 'probe-round-trip';
    this.#probeUntilMs = nowMs + PROBE_ROUND_TRIP_MS + this.#smoothedMs;
    this.#smallestMs = this.#smoothedMs;
    this.#smallestAtMs = nowMs;
  }
}
