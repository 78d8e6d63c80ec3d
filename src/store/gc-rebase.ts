/**
 * Finds patches that are all that is left of their chains: stored whole, they take no more room
 * than what they stand on, which can go then, and are read at once.
 */
import type { Bitmap } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import type { Reach } from './gc-reach.ts';
import { type Standing, setBit } from './gc-standing.ts';

export type Rebasing = {
  readonly index: ChunkIndex;
  readonly reach: Reach;
  readonly standing: Standing;
  /** Packs that are rewritten or dropped, by their numbers. */
  readonly going: ReadonlySet<number>;
};

/** By pack number: records to be stored whole, and records that are needed no more then. */
export type Rebased = { readonly whole: Map<number, Bitmap>; readonly freed: Map<number, Bitmap> };

export const NOTHING_REBASED: Rebased = { whole: new Map(), freed: new Map() };

export async function rebase({ index, reach, standing, going }: Rebasing): Promise<Rebased> {
  const rebased: Rebased = { whole: new Map(), freed: new Map() };
  for (const pack of going) {
    const live = reach.live.get(pack);
    if (live === undefined) continue;
    const table = await index.table(pack);
    const packId = index.packId(pack);
    for (let at = live.nextSet(0); at < live.size; at = live.nextSet(at + 1)) {
      const record: Location = { pack, packId, ordinal: at, table };
      if (table.depths[at] === 0 || !standing.isWanted(record)) continue;
      const below: Location[] = [];
      if (!(await servesOnlyThis(record, below))) continue;
      setBit(rebased.whole, record);
      for (const freed of below) setBit(rebased.freed, freed);
    }
  }
  return rebased;

  /** Whether all that the record stands on would go with it; that is put into `below`. */
  async function servesOnlyThis(record: Location, below: Location[]): Promise<boolean> {
    for (const parent of await reach.parentsOf(record)) {
      if (!going.has(parent.pack) || !standing.servesOne(parent)) return false;
      below.push(parent);
      if (parent.table.depths[parent.ordinal] === 0) continue;
      if (!(await servesOnlyThis(parent, below))) return false;
    }
    return true;
  }
}
