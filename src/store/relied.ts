/** Which stored chunks a writer takes for known, whatever comes of the snapshots that have them. */
import { Bitmap } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';

export class Relied {
  readonly #index: ChunkIndex;
  readonly #byPack = new Map<number, Bitmap>();

  constructor(index: ChunkIndex) {
    this.#index = index;
  }

  /** What is not committed yet is the writer's own, and goes with it. */
  add({ pack, packId, table, ordinal }: Location): void {
    let bits = this.#byPack.get(pack);
    if (bits === undefined) {
      if (this.#index.uncommitted.has(packId)) return;
      bits = new Bitmap(table.count);
      this.#byPack.set(pack, bits);
    }
    bits.set(ordinal);
  }

  /** Ids of those in packs that have been condemned since. */
  async condemned(): Promise<Uint8Array[]> {
    const ids: Uint8Array[] = [];
    for (const [pack, bits] of this.#byPack) {
      if (!this.#index.isCondemned(pack)) continue;
      const table = await this.#index.table(pack);
      for (let at = bits.nextSet(0); at < bits.size; at = bits.nextSet(at + 1)) {
        ids.push(table.id(at));
      }
    }
    return ids;
  }
}
