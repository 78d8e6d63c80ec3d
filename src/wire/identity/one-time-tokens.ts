/** Tokens that open a door once: for pairing two nodes, and for further lanes. */
import { type Clock, equalSecrets, type Random } from '../../core/index.ts';
import { WireError } from '../errors.ts';

export type OneTimeTokensOptions = {
  readonly clock: Clock;
  readonly random: Random;
  readonly tokenBytes: number;
  readonly countMax: number;
  readonly validMs: number;
};

type Issued<T> = { readonly token: Uint8Array; readonly value: T; readonly untilMs: number };

export class OneTimeTokens<T> {
  readonly #options: OneTimeTokensOptions;
  #issued: Issued<T>[] = [];

  constructor(options: OneTimeTokensOptions) {
    this.#options = options;
  }

  issue(value: T): Uint8Array {
    const { clock, random, tokenBytes, countMax, validMs } = this.#options;
    this.#forgetExpired();
    if (this.#issued.length >= countMax) {
      throw new WireError('WIRE_BUSY', `${countMax} tokens wait to be used`, {
        hint: 'Use one of them, or wait until they expire.',
      });
    }
    const token = new Uint8Array(tokenBytes);
    random.fill(token);
    this.#issued.push({ token, value, untilMs: clock.monotonicMs() + validMs });
    return token;
  }

  /** What the token was issued for, once; WIRE_TOKEN otherwise. All are compared, in equal time. */
  redeem(token: Uint8Array): T {
    this.#forgetExpired();
    let found: Issued<T> | undefined;
    for (const issued of this.#issued) if (equalSecrets(issued.token, token)) found = issued;
    if (found === undefined) {
      throw new WireError('WIRE_TOKEN', 'the token is unknown, was used, or has expired', {
        hint: 'Get a new one from the other side; each is good for one use.',
      });
    }
    this.#issued = this.#issued.filter((issued) => issued !== found);
    return found.value;
  }

  /** Takes back what was issued for values that `isGone`. */
  revoke(isGone: (value: T) => boolean): void {
    this.#issued = this.#issued.filter(({ value }) => !isGone(value));
  }

  #forgetExpired(): void {
    const nowMs = this.#options.clock.monotonicMs();
    this.#issued = this.#issued.filter(({ untilMs }) => untilMs > nowMs);
  }
}
