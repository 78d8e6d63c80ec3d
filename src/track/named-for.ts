/** Changes whose maker names the snapshot they count from: the name ends in its id. */
import type { Snapshot } from '../store/index.ts';
import type { Forgotten } from './source-memory.ts';

/** Digits of a snapshot's id that the name must end in, at least. */
const ID_DIGITS_MIN = 8;

/** `digits` are those that the name of `what` ends in; undefined if they are the snapshot's. */
export function nameDoubt(what: string, digits: string, since: Snapshot): Forgotten | undefined {
  if (digits.length >= ID_DIGITS_MIN && since.id.startsWith(digits)) return undefined;
  const name = `${since.volume}@${since.id.slice(0, ID_DIGITS_MIN)}`;
  return { reason: 'stale', why: `${what} is not named for the newest snapshot, ${name}` };
}
