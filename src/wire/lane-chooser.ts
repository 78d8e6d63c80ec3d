/** Chooses the lanes that carry data: tries them with real data, and again on another link. */
import type { Clock, Timer } from '../core/index.ts';
import type { Lane, LaneKind } from './lane.ts';
import type { Session } from './session.ts';

/** All lanes of one kind. */
export type LaneSet = LaneKind;
export type LaneMode = 'auto' | LaneSet;

export type LaneChoice = {
  readonly lanes: LaneSet;
  /** For people: why these. */
  readonly reason: string;
  readonly sinceMs: number;
  /** What each set carried when it was tried last, in bytes per second. */
  readonly measured: ReadonlyMap<LaneSet, number>;
};

const TICK_MS = 100;
/**
 * A trial goes on until two parts in a row have not carried so much more than the best before:
 * lanes begin slowly, and so does the credit of who receives. A part takes this long, or so many
 * round trips.
 */
const PART_MS = 750;
const PART_ROUND_TRIPS = 8;
const PART_MS_MAX = 2_000;
const GROWTH_MIN = 1.2;
const FLAT_PARTS = 2;
const TRIAL_MS_MAX = 6_000;
/** Looks at which everything was acknowledged already. */
const IDLE_TICKS_MAX = 4;
/** Another set must be so much better, as measurements differ from one to the next. */
const BETTER_MIN = 1.1;
/**
 * Over so short a way TCP makes good in no time what it loses: four of it carry more than one
 * thread can seal into datagrams, and a trial would cost ten times the processor.
 */
const NEAR_MS = 2;
/** While the choice stays the same, it is doubted ever more rarely. */
const DOUBT_FIRST_MS = 30_000;
const DOUBT_MAX_MS = 600_000;
/** The rate has fallen to less than this for so long: the link is another one. */
const FALLEN_SHARE = 0.6;
const FALLEN_MS = 3_000;

/** What of a session it looks at, and tells which lanes to use. */
export type ChosenFor = Pick<
  Session,
  | ('state' | 'roundTrip' | 'lanes' | 'backlogBytes' | 'waitingBytes' | 'acknowledgedBytesOf')
  | ('useLanes' | 'onLanesChanged')
>;

type Trial = {
  readonly set: LaneSet;
  readonly startMs: number;
  /** Of the best part and of the one before, in bytes per second. */
  bestRate: number;
  lastRate: number;
  flatParts: number;
  /** Where the present part began. */
  partMs: number;
  partBytes: number;
  idleTicks: number;
};

export class LaneChooser {
  readonly #clock: Clock;
  readonly #session: ChosenFor;
  readonly #mode: LaneMode;
  readonly #measured = new Map<LaneSet, number>();
  #set: LaneSet = 'control';
  #reason = 'no other lane is open yet';
  #sinceMs: number;
  #untried: LaneSet[] = [];
  #trial: Trial | undefined;
  #timer: Timer | undefined;
  #known = '';
  /** What is tried first meets programs and windows that are not warm: it is tried again once. */
  #isCold = true;
  #doubtAtMs = 0;
  #doubtMs = DOUBT_FIRST_MS;
  #fallenSinceMs = 0;
  #lastBytes = 0;
  #recentRate = 0;

  constructor(clock: Clock, session: ChosenFor, mode: LaneMode) {
    this.#clock = clock;
    this.#session = session;
    this.#mode = mode;
    this.#sinceMs = clock.monotonicMs();
    session.onLanesChanged = () => this.#lanesChanged();
  }

  get choice(): LaneChoice {
    return {
      lanes: this.#set,
      reason: this.#reason,
      sinceMs: this.#sinceMs,
      measured: this.#measured,
    };
  }

  /** Ends its timer; the choice stays. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#session.onLanesChanged = undefined;
  }

  #available(): LaneSet[] {
    const ready = this.#session.lanes.filter((lane) => lane.isReady);
    const has = (kind: string) => ready.some((lane) => lane.kind === kind);
    // Of two that carry as much the first is taken: TLS costs less for each byte.
    const sets = (['tls', 'udp'] as const).filter((set) => has(set));
    if (this.#mode === 'auto') return sets.length > 0 ? sets : ['control'];
    return sets.filter((set) => set === this.#mode);
  }

  #lanesChanged(): void {
    const available = this.#available();
    const known = available.join();
    if (known === this.#known) {
      // One lane more, or one fewer, of the set in use.
      this.#session.useLanes(this.#lanesOf(this.#set));
      return;
    }
    this.#known = known;
    this.#trial = undefined;
    this.#doubtMs = DOUBT_FIRST_MS;
    if (available.length <= 1) {
      this.#untried = [];
      this.#use(available[0] ?? 'control', this.#onlyReason(available[0]));
      return;
    }
    if (!available.includes(this.#set)) this.#use(available[0]!, 'the first one that is open');
    this.#untried = available;
    this.#tick();
  }

  #onlyReason(set: LaneSet | undefined): string {
    if (this.#mode !== 'auto') return set === undefined ? `${this.#mode} is not open` : 'as wished';
    return set === 'control' ? 'no other lane is open' : 'the only one that is open';
  }

  #lanesOf(set: LaneSet): readonly Lane[] {
    return this.#session.lanes.filter((lane) => lane.kind === set && lane.isReady);
  }

  #use(set: LaneSet, reason: string): void {
    if (set !== this.#set) this.#sinceMs = this.#clock.monotonicMs();
    this.#set = set;
    this.#reason = reason;
    const lanes = set === 'control' ? [] : this.#lanesOf(set);
    this.#session.useLanes(lanes, `${set}: ${reason}`);
  }

  #tick(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#session.state === 'closed') return;
    if (this.#session.state === 'open') this.#look(this.#clock.monotonicMs());
    this.#timer = this.#clock.after(TICK_MS, () => this.#tick());
  }

  #bytesOf(set: LaneSet): number {
    let bytes = 0;
    for (const lane of this.#lanesOf(set)) bytes += this.#session.acknowledgedBytesOf(lane);
    return bytes;
  }

  #look(nowMs: number): void {
    if (this.#isNear()) {
      if (this.#untried.length === 0 && this.#trial === undefined && this.#set === 'tls') return;
      this.#untried = [];
      this.#trial = undefined;
      const leastMs = this.#session.roundTrip.leastMs;
      this.#use('tls', `the round trip takes ${leastMs.toFixed(2)} ms`);
      return;
    }
    const hasWork = this.#session.backlogBytes > 0;
    if (this.#trial !== undefined) this.#goOn(this.#trial, nowMs, hasWork);
    else if (this.#untried.length > 0) {
      if (hasWork) this.#begin(this.#untried.shift()!, nowMs);
    } else this.#doubt(nowMs, this.#session.waitingBytes > 0);
  }

  #isNear(): boolean {
    return this.#session.roundTrip.leastMs < NEAR_MS && this.#available().includes('tls');
  }

  #begin(set: LaneSet, nowMs: number): void {
    const partBytes = this.#bytesOf(set);
    this.#trial = {
      ...{ set, startMs: nowMs, partMs: nowMs, partBytes, idleTicks: 0 },
      ...{ bestRate: 0, lastRate: 0, flatParts: 0 },
    };
    this.#use(set, 'being tried');
  }

  #goOn(trial: Trial, nowMs: number, hasWork: boolean): void {
    if (!hasWork) trial.idleTicks += 1;
    if (trial.idleTicks > IDLE_TICKS_MAX) {
      // What is not asked for cannot be measured: tried again with the next work.
      this.#untried.unshift(trial.set);
      this.#trial = undefined;
      return;
    }
    const { milliseconds } = this.#session.roundTrip;
    const wantedMs = Math.min(PART_MS_MAX, Math.max(PART_MS, PART_ROUND_TRIPS * milliseconds));
    const passedMs = nowMs - trial.partMs;
    if (passedMs < wantedMs) return;
    const bytes = this.#bytesOf(trial.set) - trial.partBytes;
    const isOver = nowMs - trial.startMs >= TRIAL_MS_MAX;
    // A receiver that acknowledges in lumps, or a lane that is still full of earlier data.
    if (bytes <= 0 && !isOver) return;
    const rate = (1000 * bytes) / passedMs;
    const { lastRate } = trial;
    const isGrowing = rate > GROWTH_MIN * trial.bestRate;
    trial.flatParts = isGrowing ? 0 : trial.flatParts + 1;
    trial.bestRate = Math.max(rate, trial.bestRate);
    Object.assign(trial, { lastRate: rate, partMs: nowMs, partBytes: trial.partBytes + bytes });
    if (trial.flatParts < FLAT_PARTS && !isOver) return;
    this.#measured.set(trial.set, isGrowing ? rate : (rate + lastRate) / 2);
    this.#trial = undefined;
    if (this.#untried.length === 0) this.#decide(nowMs);
    else this.#begin(this.#untried.shift()!, nowMs);
  }

  #decide(nowMs: number): void {
    const available = this.#available();
    const rateOf = (set: LaneSet) => this.#measured.get(set) ?? 0;
    const best = available.reduce((a, b) => (rateOf(b) > rateOf(a) * BETTER_MIN ? b : a));
    const [first] = available;
    const wasCold = this.#isCold;
    this.#isCold = false;
    if (wasCold && first !== undefined && best !== first) {
      this.#begin(first, nowMs);
      return;
    }
    const told = available.map((set) => `${set} ${megabits(rateOf(set))}`).join(', ');
    this.#doubtMs = best === this.#set ? Math.min(2 * this.#doubtMs, DOUBT_MAX_MS) : DOUBT_FIRST_MS;
    this.#doubtAtMs = nowMs + this.#doubtMs;
    this.#lastBytes = this.#bytesOf(best);
    this.#recentRate = rateOf(best);
    this.#use(best, told);
  }

  /** Tries again after a while, or as soon as the lane in use carries much less than it did. */
  #doubt(nowMs: number, isBusy: boolean): void {
    if (this.#available().length < 2) return;
    const bytes = this.#bytesOf(this.#set);
    const rate = (1000 * Math.max(0, bytes - this.#lastBytes)) / TICK_MS;
    this.#lastBytes = bytes;
    if (!isBusy) {
      this.#fallenSinceMs = 0;
      return;
    }
    this.#recentRate += (rate - this.#recentRate) / 8;
    const isFallen = this.#recentRate < FALLEN_SHARE * (this.#measured.get(this.#set) ?? 0);
    if (!isFallen) this.#fallenSinceMs = 0;
    else if (this.#fallenSinceMs === 0) this.#fallenSinceMs = nowMs;
    const hasFallen = isFallen && nowMs - this.#fallenSinceMs >= FALLEN_MS;
    if (!hasFallen && nowMs < this.#doubtAtMs) return;
    if (hasFallen) this.#doubtMs = DOUBT_FIRST_MS;
    this.#fallenSinceMs = 0;
    this.#untried = this.#available();
  }
}

function megabits(bytesPerS: number): string {
  return `${((8 * bytesPerS) / 1e6).toFixed(1)} Mbit/s`;
}
