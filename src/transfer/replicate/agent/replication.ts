/** Replication: a volume kept present at one provider in the background, for as long as it runs. */
import { type Clock, type Env, EnvError, FerryError, hasCode } from '../../../core/index.ts';
import { ReplicateError } from '../errors.ts';
import { START_WAIT_MS } from '../limits.ts';
import { type Agent, isPassing } from './agent.ts';
import { type EpochSource, type KeepOptions, keepReplica } from './keep.ts';
import type { Mandate } from './mandate.ts';
import type { Kept } from './members.ts';
import { Pace } from './pace.ts';

export type ReplicationOptions = Pick<
  KeepOptions,
  'name' | 'connect' | 'onEpoch' | 'onTrouble' | 'mandate' | 'pool'
> & {
  readonly source: MeasuredSource;
  readonly group?: {
    readonly name: string;
    readonly others: readonly (Kept & { readonly source: MeasuredSource })[];
  };
  readonly intervalMs: number;
  /** How long an answer is waited for before the volume is served without one. */
  readonly startWaitMs?: number;
  /** The connection is there, or not any more; `state` says why. */
  readonly onLink?: (isConnected: boolean) => void;
};

/** One that knows more of what it is kept for. */
export type MeasuredSource = EpochSource & {
  /** Changed since its last cut. */
  readonly pendingBytes: number;
  /** Some provider has had an epoch of it, as far as is known here. */
  readonly wasReplicated: boolean;
};

export type ReplicationState = {
  /** No connection with the provider: it is looked for. */
  readonly isConnected: boolean;
  /** Since when that is so, for people. */
  readonly sinceWallMs: number;
  /**
   * The provider has the volume as it was so long ago; 0 if it has all there is, undefined as long
   * as it has not been heard.
   */
  readonly lagMs: number | undefined;
  /** Changed and not there yet, as far as it is known without looking for it. */
  readonly backlogBytes: number;
  /** Of the provider's newest whole state. */
  readonly epoch: number | undefined;
  /** What stands in the way since the last epoch. */
  readonly trouble: unknown;
};

export class Replication {
  readonly pace: Pace;
  readonly #clock: Clock;
  readonly #options: ReplicationOptions;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;
  readonly #begun = Promise.withResolvers<void>();
  #isBegun = false;
  /** An answer was waited for long enough. */
  #isLate = false;
  #agent: Agent | undefined;
  #isLinked = false;
  #sinceWallMs: number;
  #cutMs: number;
  #reachedMs: number | undefined;
  #epoch: number | undefined;
  #trouble: unknown;
  #isComplete = false;

  constructor({ clock }: Pick<Env, 'clock'>, options: ReplicationOptions) {
    this.#clock = clock;
    this.#options = options;
    this.pace = new Pace(clock);
    this.#cutMs = clock.monotonicMs();
    this.#sinceWallMs = clock.wallMs();
    this.#begun.promise.catch(() => undefined); // Told to whoever waits for it.
    const { startWaitMs = START_WAIT_MS } = options;
    const late = () => {
      this.#isLate = true;
      this.#beginAlone();
    };
    const timer = clock.after(startWaitMs, late, { keepsProcess: true });
    this.#begun.promise.finally(() => timer.cancel()).catch(() => undefined);
    this.#running = this.#run().catch((error: unknown) => this.#failed(error));
  }

  /**
   * Settles when there is nothing more to wait for: its provider has answered, or cannot be asked
   * now, while what is known here is enough. Rejects where it is not, where another side writes,
   * and where a provider refuses that never had the volume. One that was offered to somebody else
   * is still `stopped` then.
   */
  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  /** Settles when nothing is sent any more: after `finish`, or REPLICATE_FENCED. */
  get ended(): Promise<void> {
    return this.#running.then(() => {
      if (!this.#isComplete && !this.#stop.signal.aborted) throw this.#trouble;
    });
  }

  get state(): ReplicationState {
    const { source, group } = this.#options;
    const others = group?.others.map((one) => one.source.pendingBytes) ?? [];
    const pendingBytes = others.reduce((sum, bytes) => sum + bytes, source.pendingBytes);
    const backlogBytes = pendingBytes + (this.#agent?.session.backlogBytes ?? 0);
    const behindMs = this.#clock.monotonicMs() - (this.#reachedMs ?? 0);
    return {
      isConnected: this.#isLinked,
      sinceWallMs: this.#sinceWallMs,
      lagMs: this.#reachedMs === undefined ? undefined : backlogBytes === 0 ? 0 : behindMs,
      backlogBytes,
      epoch: this.#epoch,
      trouble: this.#trouble,
    };
  }

  /**
   * Sends what is left, once nothing writes any more; false if that took longer than `sendMs`, or
   * if a provider that is not connected did not come back within `lookMs`.
   */
  async finish(sendMs: number, lookMs = sendMs): Promise<boolean> {
    const after = (delayMs: number, then: () => void) =>
      this.#clock.after(delayMs, then, { keepsProcess: true });
    const stop = () => this.#stop.abort();
    const timers = [after(sendMs, stop)];
    if (!this.#isLinked) timers.push(after(lookMs, () => this.#isLinked || stop()));
    this.pace.end();
    await this.#running;
    for (const timer of timers) timer.cancel();
    return this.#isComplete;
  }

  async #run(): Promise<void> {
    const { onEpoch, onTrouble, ...options } = this.#options;
    await keepReplica(
      { clock: this.#clock },
      {
        ...options,
        pace: this.pace,
        signal: this.#stop.signal,
        mayPass: (error) => this.#mayPass(error),
        onConnected: (agent) => {
          this.#agent = agent;
          agent.onLink = (why) => this.#linked(agent, why);
          this.#linked(agent);
          this.#begin();
        },
        onCut: (nowMs) => {
          this.#cutMs = nowMs;
        },
        onReached: () => {
          this.#reachedMs = this.#cutMs;
          this.#trouble = undefined;
        },
        onEpoch: (report, held, name) => {
          this.#epoch = held.epoch;
          onEpoch?.(report, held, name);
        },
        onTrouble: (error, againMs) => {
          this.#trouble = error;
          if (againMs > 0) this.#linked(this.#agent, error);
          onTrouble?.(error, againMs);
          this.#beginAlone();
        },
      },
    );
    this.#isComplete = true;
  }

  /** What stands in the way of writing, as far as this node has made it durable. */
  get #held(): Mandate | undefined {
    const { mandate, group } = this.#options;
    const all = [mandate, ...(group?.others.map((one) => one.mandate) ?? [])];
    return all.find((one) => one !== undefined && one.role !== 'writes');
  }

  #begin(): void {
    this.#isBegun = true;
    this.#begun.resolve();
  }

  /** Unless only the provider can say who writes, or this node is being fenced just now. */
  #beginAlone(): void {
    if (this.#held === undefined) this.#begin();
  }

  /** It has ended, which is no news where somebody has asked for that. */
  #failed(error: unknown): void {
    if (!this.#stop.signal.aborted) {
      this.#trouble = error;
      // Its mandate has told that it is fenced.
      if (isFenced(error)) this.#isLinked = false;
      else this.#linked(this.#agent, error);
    }
    const held = this.#held;
    // Where only the provider knows who writes, that is what is wrong.
    this.#begun.reject(held === undefined || isFenced(error) ? error : held.unheard(error));
  }

  #linked(agent: Agent | undefined, why?: unknown): void {
    if (agent !== this.#agent) return;
    if (why !== undefined) this.#trouble = why;
    const isLinked = why === undefined;
    if (isLinked === this.#isLinked) return;
    this.#isLinked = isLinked;
    this.#sinceWallMs = this.#clock.wallMs();
    this.#options.onLink?.(isLinked);
  }

  /**
   * A volume that is served stays served. Before, a provider that is not there is no reason against
   * it, nor is one that refuses what it had taken before; a refusal at the very first time is a
   * mistake in the command.
   */
  #mayPass(error: unknown): boolean {
    if (!(error instanceof FerryError) || isFenced(error)) return false;
    if (this.#isBegun) return true;
    if (hasRemoteCode(error, 'REPLICATE_FENCED')) return false;
    const isUnanswered = error instanceof EnvError || isPassing(error);
    const role = this.#held?.role;
    // Whom it was offered to may be another provider of the volume, or come up just now.
    if (role !== undefined) return role === 'stopped' && isUnanswered && !this.#isLate;
    const { source, group } = this.#options;
    const sources = [source, ...(group?.others.map((one) => one.source) ?? [])];
    return isUnanswered || sources.some(({ wasReplicated }) => wasReplicated);
  }
}

function hasRemoteCode(error: unknown, code: string): boolean {
  return error instanceof ReplicateError && error.remoteCode === code;
}

/** Known here, and not only told by the other side, which is asked once more. */
function isFenced(error: unknown): boolean {
  return hasCode(error, 'REPLICATE_FENCED') && !hasRemoteCode(error, 'REPLICATE_FENCED');
}
