/** Finds out which packs are needed no more, and which so little that they are rewritten. */
import type { ChunkIndex } from './chunk-index.ts';
import { StoreError } from './errors.ts';
import type { Collection } from './gc.ts';
import { Reach, usedBytes } from './gc-reach.ts';
import type { SparsePack } from './gc-repack.ts';
import { CONDEMNED_MAX, PACK_USED_MIN } from './limits.ts';
import type { LogState } from './log-state.ts';
import type { PackTable } from './pack-table.ts';

export type Garbage = {
  readonly dead: string[];
  readonly sparse: SparsePack[];
  /** Stored bytes of all these, less what is needed of them. */
  readonly freeBytes: number;
};

/**
 * The index is at `state`, in which nothing is condemned. STORE_MISSING or STORE_DAMAGED if
 * something that is needed cannot be found: in a damaged repository nothing is collected.
 */
export async function planGarbage(run: Collection, state: LogState): Promise<Garbage> {
  const { index, parents } = run;
  const { reader, sync } = run.parts;
  const { signal } = run.options;
  const reach = new Reach({
    index,
    reader,
    parents,
    onCondemned: () => undefined,
    onProgress: (nodes) => run.progress('marking', nodes),
    signal,
  });
  for (const snapshot of await run.roots(state)) await reach.snapshot(snapshot);
  const named = sync.named(state);
  const kept = new Set<string>();
  for (const packId of named) {
    signal?.throwIfAborted();
    const pack = index.packNumber(packId);
    const bits = pack === undefined ? undefined : reach.live.get(pack);
    if (pack === undefined || bits === undefined) continue;
    const { stored, used } = usedBytes(await index.table(pack), bits);
    if (run.canRewrite && used < stored * PACK_USED_MIN) continue;
    // Whoever finds a record in a pack that stays may rely on it, so all of them must be sound.
    if ((await reach.pack(packId)) === undefined) kept.add(packId);
  }
  return collect(run, reach, named, kept);
}

/** The kept packs' own patches may have needed more, so what is dead is known only now. */
async function collect(
  { index, canRewrite }: Collection,
  { live }: Reach,
  named: ReadonlySet<string>,
  kept: ReadonlySet<string>,
): Promise<Garbage> {
  const dead: string[] = [];
  const sparse: SparsePack[] = [];
  let freeBytes = 0;
  for (const packId of named) {
    if (kept.has(packId)) continue;
    if (dead.length + sparse.length >= CONDEMNED_MAX) break;
    const number = index.packNumber(packId);
    const bits = number === undefined ? undefined : live.get(number);
    const table = number === undefined ? undefined : await tableUnlessLost(index, number);
    if (table !== undefined && (canRewrite || bits === undefined)) {
      const { stored, used } = usedBytes(table, bits);
      freeBytes += Math.round(stored - used);
    }
    if (number === undefined || table === undefined || bits === undefined) dead.push(packId);
    else if (canRewrite) sparse.push({ number, packId, table, live: bits });
  }
  return { dead, sparse, freeBytes };
}

/** A pack that is lost, and of which nothing is needed, is garbage like any other. */
async function tableUnlessLost(index: ChunkIndex, pack: number): Promise<PackTable | undefined> {
  try {
    return await index.table(pack);
  } catch (error) {
    if (error instanceof StoreError) return undefined;
    throw error;
  }
}
