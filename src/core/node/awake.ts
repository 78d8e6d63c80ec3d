/**
 * Keeps a thread awake for the next bytes of a peer with one request in flight: such a peer asks
 * again sooner than falling asleep and being woken takes. See docs/decisions/awake.md.
 */

/** A peer that takes longer is not waited for: about what waking two processors costs. */
export const WAIT_MAX_MS = 0.2;
/** A wait in vain takes away what so many answers in time have added. */
export const MISS_COST = 8;
export const CREDIT_MAX = 32;

/** Requests by which each of the two ways is judged, and for how many the verdict holds. */
export const TRIAL_REQUESTS = 64;
export const VERDICT_REQUESTS = 4096;
/** A longer pause of the peer says nothing about the ways. */
const COUNTED_MAX_MS = 1;

/** How soon one peer asks again, and whether that is worth staying awake for. */
export class Punctuality {
  #credit = 0;
  /** When the last answer had gone out; 0 while nothing is expected. */
  #answeredMs = 0;
  /**
   * Awake is not always sooner: where processors are scarce, a peer may do better on the one that
   * this thread leaves by falling asleep. So both are tried, and compared, again and again.
   */
  #isAwakeTurn = false;
  #isTrial = true;
  #requestsLeft = TRIAL_REQUESTS;
  #asleepMs = 0;
  #awakeMs = 0;

  /** All that came is answered. True: stay awake for the next request. */
  answered(nowMs: number): boolean {
    this.#answeredMs = nowMs;
    return this.#isAwakeTurn && this.#credit >= MISS_COST;
  }

  get isExpecting(): boolean {
    return this.#answeredMs > 0;
  }

  /** The peer's next bytes are there. */
  arrived(nowMs: number): void {
    const tookMs = nowMs - this.#answeredMs;
    this.#answeredMs = 0;
    if (tookMs > WAIT_MAX_MS) this.#credit = Math.max(0, this.#credit - MISS_COST);
    else if (this.#credit < CREDIT_MAX) this.#credit += 1;
    const countedMs = Math.min(tookMs, COUNTED_MAX_MS);
    if (this.#isAwakeTurn) this.#awakeMs += countedMs;
    else this.#asleepMs += countedMs;
    this.#requestsLeft -= 1;
    if (this.#requestsLeft === 0) this.#nextTurn();
  }

  /** Trial asleep, trial awake, verdict; and again. */
  #nextTurn(): void {
    const wasTrialAwake = this.#isTrial && this.#isAwakeTurn;
    if (wasTrialAwake) this.#isAwakeTurn = this.#awakeMs < this.#asleepMs;
    else this.#isAwakeTurn = this.#isTrial;
    this.#isTrial = !wasTrialAwake;
    this.#requestsLeft = wasTrialAwake ? VERDICT_REQUESTS : TRIAL_REQUESTS;
    if (this.#isTrial && !this.#isAwakeTurn) this.#asleepMs = 0;
    if (this.#isTrial && this.#isAwakeTurn) this.#awakeMs = 0;
  }
}

/**
 * While it is kept up, the event loop asks the kernel for what is new without ever waiting for it.
 * All sockets, timers and other events of the thread have their turns as usual.
 */
export class Wakefulness {
  readonly #nowMs: () => number;
  readonly #nextTurn: (act: () => void) => void;
  #untilMs = 0;
  isAwake = false;

  constructor(nowMs: () => number, nextTurn: (act: () => void) => void) {
    this.#nowMs = nowMs;
    this.#nextTurn = nextTurn;
  }

  /** However many ask for it, one turn of the loop is scheduled at a time. */
  keepUp(untilMs: number): void {
    this.#untilMs = untilMs;
    if (this.isAwake) return;
    this.isAwake = true;
    this.#nextTurn(this.#goOn);
  }

  readonly #goOn = (): void => {
    this.isAwake = this.#nowMs() < this.#untilMs;
    if (this.isAwake) this.#nextTurn(this.#goOn);
  };
}

/** That of the calling thread. */
export const wakefulness = new Wakefulness(() => performance.now(), setImmediate);
