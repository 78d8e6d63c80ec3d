/** What records are there for: for snapshots, or only for the patches that stand on them. */
import { Bitmap } from '../core/index.ts';
import type { Location } from './chunk-index.ts';

type Bits = Map<number, Bitmap>;

export class Standing {
  readonly #wanted: Bits = new Map();
  readonly #stoodOn: Bits = new Map();
  readonly #stoodOnTwice: Bits = new Map();

  /** A snapshot names it. */
  want(location: Location): void {
    setBit(this.#wanted, location);
  }

  /** One more patch stands on it; each is told once. */
  standOn(parent: Location): void {
    setBit(isSet(this.#stoodOn, parent) ? this.#stoodOnTwice : this.#stoodOn, parent);
  }

  isWanted(location: Location): boolean {
    return isSet(this.#wanted, location);
  }

  /** A patch needs it as deep as it is. */
  isStoodOn(location: Location): boolean {
    return isSet(this.#stoodOn, location);
  }

  /** No snapshot names it, and one patch alone stands on it. */
  servesOne(location: Location): boolean {
    return !this.isWanted(location) && !isSet(this.#stoodOnTwice, location);
  }
}

export function setBit(bits: Bits, { pack, table, ordinal }: Location): void {
  let known = bits.get(pack);
  if (known === undefined) {
    known = new Bitmap(table.count);
    bits.set(pack, known);
  }
  known.set(ordinal);
}

function isSet(bits: Bits, { pack, ordinal }: Location): boolean {
  return bits.get(pack)?.test(ordinal) === true;
}
