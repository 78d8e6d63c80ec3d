/** Who may write a replica, and under which authority: durable, and asked before every epoch. */
import { type Env, Gate, readStateFile, replaceStateFile } from '../../../core/index.ts';
import { ReplicateError } from '../errors.ts';

/** What a promotion left: the provider writes from here on. */
export type Promotion = {
  /** The last epoch that both sides have. */
  readonly epoch: number;
  /** Of that epoch; null until it is made. What is written afterwards lies over it. */
  readonly snapshot: string | null;
  readonly isForced: boolean;
  /** When, for people. */
  readonly wallMs: number;
};

/** What the agent was offered, and goes on from if it takes it. */
export type Offer = {
  readonly snapshot: string;
  /** Its number as an epoch of the agent. */
  readonly epoch: number;
};

export type AuthorityState = {
  /** Under which whoever writes does so. */
  readonly authority: number;
  /** The highest one that was ever used or offered here: a new one is higher. */
  readonly highest: number;
  /** Absent while the agent writes. */
  readonly promotion?: Promotion | undefined;
  /** The provider has stopped, and offered `highest` to the agent: nobody writes until then. */
  readonly offer?: Offer | undefined;
  /** Promised to the agent: no promotion while it may count on having been heard so lately. */
  readonly leaseMs?: number | undefined;
};

const NAME = 'authority.json';
const BYTES_MAX = 16 * 1024;
/** Before anybody else ever wrote. */
const FIRST_AUTHORITY = 1;

export class ReplicaAuthority {
  readonly #env: Env;
  readonly #directory: string;
  readonly #volume: string;
  #state: AuthorityState;
  readonly #turn = new Gate({ limit: 1 });

  static async open(env: Env, directory: string, volume: string): Promise<ReplicaAuthority> {
    const state = await readAuthority(env, directory);
    const opened = new ReplicaAuthority(env, { directory, volume }, state);
    // Once more: what an earlier life could not make durable can be read, and lost later.
    if (state.highest > FIRST_AUTHORITY) await opened.#save(state);
    return opened;
  }

  private constructor(
    env: Env,
    { directory, volume }: { directory: string; volume: string },
    state: AuthorityState,
  ) {
    this.#env = env;
    this.#directory = directory;
    this.#volume = volume;
    this.#state = state;
  }

  get state(): AuthorityState {
    return this.#state;
  }

  /** Nobody ever wrote under it, or was offered it. */
  get unused(): number {
    return this.#state.highest + 1;
  }

  /** REPLICATE_FENCED unless an agent that writes under `authority` may do so here. */
  admit(authority: number): Promise<void> {
    return this.#change(({ promotion, authority: own }) => {
      if (promotion !== undefined || authority < own) throw this.fenced(authority);
      // It took the volume back from another provider meanwhile.
      return authority > own ? { authority, highest: authority } : undefined;
    });
  }

  /** From here on no agent writes. The same once more changes nothing, unless it was offered. */
  promote(how: Omit<Promotion, 'snapshot'>): Promise<void> {
    return this.#change(({ promotion: before, offer }) => {
      if (before !== undefined && offer === undefined) return undefined;
      const promotion = before ?? { ...how, snapshot: null };
      const authority = this.unused;
      return { authority, highest: authority, promotion, offer: undefined };
    });
  }

  /** What is written lies over this snapshot. */
  standOn(snapshot: string): Promise<void> {
    return this.#change(({ promotion }) => {
      if (promotion?.snapshot !== null) return undefined;
      return { promotion: { ...promotion, snapshot } };
    });
  }

  /** The provider writes no more until the agent has taken it, or refused. */
  offer(wanted: Offer): Promise<void> {
    return this.#change(({ authority, offer }) => {
      if (offer !== undefined) return undefined; // It is still the same.
      return { highest: authority + 1, offer: wanted };
    });
  }

  /** The agent has not taken it, and will not. */
  withdraw(): Promise<void> {
    return this.#change(({ offer, authority }) =>
      offer === undefined ? undefined : { highest: authority, offer: undefined },
    );
  }

  /** The agent writes under what it was offered. */
  giveBack(): Promise<void> {
    return this.#change(({ highest: authority, offer }) =>
      offer === undefined ? undefined : { authority, promotion: undefined, offer: undefined },
    );
  }

  promiseLease(leaseMs: number): Promise<void> {
    return this.#change(({ leaseMs: known = 0 }) => (known === leaseMs ? undefined : { leaseMs }));
  }

  /** For an agent that comes with an authority that does not count any more. */
  fenced(authority: number): ReplicateError {
    const { authority: own, promotion } = this.#state;
    const why = promotion === undefined ? `authority ${own} is in force` : `it was promoted here`;
    const message = `${this.#volume} is not written under authority ${authority}: ${why}`;
    return new ReplicateError('REPLICATE_FENCED', message, {
      hint: 'Bring it back to the agent with `ferry replicate --reverse`.',
    });
  }

  /** One after the other: what one decides stands on what the one before has made durable. */
  #change(decide: (state: AuthorityState) => Partial<AuthorityState> | undefined): Promise<void> {
    return this.#turn.run(async () => {
      const change = decide(this.#state);
      if (change !== undefined) await this.#save({ ...this.#state, ...change });
    });
  }

  async #save(state: AuthorityState): Promise<void> {
    const text = `${JSON.stringify({ version: 1, ...state })}\n`;
    await replaceStateFile(this.#env, `${this.#directory}/${NAME}`, new TextEncoder().encode(text));
    this.#state = state;
  }
}

/** As it is now: another process may have changed it. REPLICATE_STATE. */
export async function readAuthority(env: Env, directory: string): Promise<AuthorityState> {
  const path = `${directory}/${NAME}`;
  const bytes = await readStateFile(env, path, BYTES_MAX);
  if (bytes === undefined) return { authority: FIRST_AUTHORITY, highest: FIRST_AUTHORITY };
  try {
    const { version, ...state } = JSON.parse(new TextDecoder().decode(bytes));
    if (version !== 1 || !isState(state)) throw new TypeError('fields are missing');
    return state;
  } catch (cause) {
    throw new ReplicateError('REPLICATE_STATE', `${path} cannot be read`, {
      hint: 'Put it back; without it nobody knows who may write the volume.',
      cause,
    });
  }
}

function isState(value: Record<string, unknown>): value is AuthorityState {
  const { authority, highest, promotion } = value;
  if (![authority, highest].every((number) => Number.isSafeInteger(number))) return false;
  if (promotion === undefined) return true;
  const { epoch, snapshot } = (promotion ?? {}) as Record<string, unknown>;
  return Number.isSafeInteger(epoch) && (snapshot === null || typeof snapshot === 'string');
}
