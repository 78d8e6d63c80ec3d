/** In turn: what changes a thing runs one after the other; several things in one order. */

export interface Taker {
  readonly volume: string;
  inTurn<T>(work: () => Promise<T>): Promise<T>;
}

/** While nothing else changes any of them. Two such calls never wait for each other. */
export function inTurnOfAll<T>(all: readonly Taker[], work: () => Promise<T>): Promise<T> {
  const sorted = [...all].sort((a, b) => (a.volume < b.volume ? -1 : 1));
  const enter = ([first, ...rest]: readonly Taker[]): Promise<T> =>
    first === undefined ? work() : first.inTurn(() => enter(rest));
  return enter(sorted);
}
