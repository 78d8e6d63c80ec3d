/** Replication: a volume kept present at one provider in the background, for as long as it runs. */
import { type Clock, type Env, FerryError, hasCode } from '../../../core/index.ts';
import type { ReplicateError } from '../errors.ts';
import type { Agent } from './agent.ts';
import { type EpochSource, type KeepOptions, keepReplica } from './keep.ts';
import type { Kept } from './members.ts';
import { Pace } from './pace.ts';

export type ReplicationOptions = Pick<
  KeepOptions,
  'name' | 'connect' | 'onEpoch' | 'onTrouble' | 'mayPass' | 'mandate' | 'pool'
> & {
  readonly source: MeasuredSource;
  readonly group?: {
    readonly name: string;
    readonly others: readonly (Kept & { readonly source: MeasuredSource })[];
  };
  readonly intervalMs: number;
};

/** One that knows how much has changed since its last cut. */
export type MeasuredSource = EpochSource & { readonly pendingBytes: number };

export type ReplicationState = {
  /** No connection with the provider: it is looked for. */
  readonly isConnected: boolean;
  /** The provider has the volume as it was so long ago; 0 if it has all there is. */
  readonly lagMs: number;
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
  #agent: Agent | undefined;
  #cutMs: number;
  #reachedMs: number;
  #epoch: number | undefined;
  #trouble: unknown;
  #isComplete = false;

  constructor({ clock }: Pick<Env, 'clock'>, options: ReplicationOptions) {
    this.#clock = clock;
    this.#options = options;
    this.pace = new Pace(clock);
    this.#cutMs = clock.monotonicMs();
    this.#reachedMs = this.#cutMs;
    this.#begun.promise.catch(() => undefined); // Told to whoever waits for it.
    this.#running = this.#run().catch((error: unknown) => {
      this.#trouble = error;
      this.#begun.reject(error);
    });
  }

  /** Settles at the first connection or the first failure that may pass; rejects at another one. */
  get begun(): Promise<void> {
    return this.#begun.promise;
  }

  get state(): ReplicationState {
    const { source, group } = this.#options;
    const others = group?.others.map((one) => one.source.pendingBytes) ?? [];
    const pendingBytes = others.reduce((sum, bytes) => sum + bytes, source.pendingBytes);
    const session = this.#agent?.session;
    const backlogBytes = pendingBytes + (session?.backlogBytes ?? 0);
    return {
      isConnected: session?.state === 'open',
      lagMs: backlogBytes === 0 ? 0 : this.#clock.monotonicMs() - this.#reachedMs,
      backlogBytes,
      epoch: this.#epoch,
      trouble: this.#trouble,
    };
  }

  /** Sends what is left, once nothing writes any more; false if that took longer than the bound. */
  async finish(timeoutMs: number): Promise<boolean> {
    this.pace.end();
    const timer = this.#clock.after(timeoutMs, () => this.#stop.abort(), { keepsProcess: true });
    await this.#running;
    timer.cancel();
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
          this.#begun.resolve();
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
          this.#begun.resolve();
          onTrouble?.(error, againMs);
        },
      },
    );
    this.#isComplete = true;
  }

  /**
   * A provider that says no at once is a mistake in the command; one that has said yes, and says no
   * later, may be mended while the volume goes on being written.
   */
  #mayPass(error: unknown): boolean {
    if (isFenced(error)) return false;
    if (this.#options.mayPass?.(error) === true) return true;
    return this.#agent !== undefined && error instanceof FerryError;
  }
}

/** Known here, and not only told by the other side, which is asked once more. */
function isFenced(error: unknown): boolean {
  return hasCode(error, 'REPLICATE_FENCED') && (error as ReplicateError).remoteCode === undefined;
}
