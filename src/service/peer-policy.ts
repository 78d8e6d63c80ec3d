/** The policy of a provider: the peer book's grants over the defaults of `ferry serve`. */
import { type Env, pause } from '../core/index.ts';
import type { Policy, Quota, Right } from '../transfer/replicate/index.ts';
import { type Grant, isWithin, names, parseWindow } from './grant.ts';
import { Pace } from './pace.ts';

/** What holds for all whose grant says nothing else. */
export type Defaults = Pick<
  Grant,
  'volumesMax' | 'logicalBytesMax' | 'storedBytesMax' | 'bytesPerS' | 'window'
>;

/** Who waits looks again so often: grants, clocks and windows change. */
const LOOK_MS = 1_000;

export class PeerPolicy implements Policy {
  readonly #env: Pick<Env, 'clock'>;
  readonly #defaults: Defaults;
  readonly #paces = new Map<string, Pace>();
  /** By fingerprint. */
  #grants: ReadonlyMap<string, Grant> = new Map();

  constructor(env: Pick<Env, 'clock'>, defaults: Defaults) {
    this.#env = env;
    this.#defaults = defaults;
  }

  /** From now on; who is not in it may do nothing. */
  set grants(grants: ReadonlyMap<string, Grant>) {
    this.#grants = grants;
    for (const agent of this.#paces.keys()) if (!grants.has(agent)) this.#paces.delete(agent);
  }

  may(agent: string, right: Right, volume: string): boolean {
    const grant = this.#grants.get(agent);
    if (grant === undefined) return false;
    const { rights = ['read', 'write'], volumes = ['*'] } = grant;
    return rights.includes(right) && names(volumes, volume);
  }

  quotaOf(agent: string): Quota {
    const { volumesMax, logicalBytesMax, storedBytesMax } = this.#of(agent);
    return {
      volumesMax: volumesMax ?? Infinity,
      logicalBytesMax: logicalBytesMax ?? Infinity,
      storedBytesMax: storedBytesMax ?? Infinity,
    };
  }

  async admit(agent: string, bytes: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const delayMs = this.#delayMs(agent, bytes);
      if (delayMs === 0) return;
      await pause(this.#env, Math.min(delayMs, LOOK_MS), signal);
    }
  }

  #delayMs(agent: string, bytes: number): number {
    const { clock } = this.#env;
    const { bytesPerS, window } = this.#of(agent);
    const hours = window === undefined ? undefined : parseWindow(window);
    if (hours !== undefined && !isWithin(hours, clock.wallMs())) return LOOK_MS;
    if (bytesPerS === undefined) return 0;
    const pace = this.#paces.get(agent) ?? new Pace();
    this.#paces.set(agent, pace);
    return pace.take(bytes, bytesPerS, clock.monotonicMs());
  }

  #of(agent: string): Defaults {
    return { ...this.#defaults, ...this.#grants.get(agent) };
  }
}
