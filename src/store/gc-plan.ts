/** Finds out which packs are needed no more, and which so little that they are rewritten. */
import type { Bitmap } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { StoreError } from './errors.ts';
import type { Collection } from './gc.ts';
import { Reach, usedBytes } from './gc-reach.ts';
import { NOTHING_REBASED, rebase } from './gc-rebase.ts';
import type { SparsePack } from './gc-repack.ts';
import { Standing } from './gc-standing.ts';
import { CONDEMNED_MAX, PACK_USED_MIN } from './limits.ts';
import type { LogState } from './log-state.ts';
import type { PackTable } from './pack-table.ts';

export type Garbage = {
  readonly dead: string[];
  readonly sparse: SparsePack[];
  /** Stored bytes of all these, less what is needed of them. */
  readonly freeBytes: number;
  /** Packs that stay as they are. */
  readonly kept: ReadonlySet<string>;
  /** By pack number: what is needed; and what for. */
  readonly live: ReadonlyMap<number, Bitmap>;
  readonly standing: Standing;
};

/**
 * The index is at `state`, in which nothing is condemned. STORE_MISSING or STORE_DAMAGED if
 * something that is needed cannot be found: in a damaged repository nothing is collected.
 */
export async function planGarbage(run: Collection, state: LogState): Promise<Garbage> {
  const { index, parents } = run;
  const { reader, sync } = run.parts;
  const { signal } = run.options;
  const standing = new Standing();
  const reach = new Reach({
    index,
    reader,
    parents,
    standing,
    onCondemned: () => undefined,
    onProgress: (nodes) => run.progress('marking', nodes),
    signal,
  });
  for (const snapshot of await run.roots(state)) await reach.snapshot(snapshot);
  const named = sync.named(state);
  const going = new Set<number>();
  for (const packId of named) {
    const pack = index.packNumber(packId);
    if (pack !== undefined && reach.live.has(pack)) going.add(pack);
  }
  const { kept, rebased } = await sortPacks(run, reach, standing, going);
  for (const [pack, freed] of rebased.freed) clearAll(reach.live.get(pack)!, freed);
  const found = await collect(run, reach, { named, kept, whole: rebased.whole });
  return { ...found, kept, live: reach.live, standing };
}

/**
 * Keeps the packs that are neither sparse nor have patches to be stored whole. What their own
 * patches stand on is needed then, so what the others are is looked at anew: `going` shrinks.
 */
async function sortPacks(run: Collection, reach: Reach, standing: Standing, going: Set<number>) {
  const { index, canRewrite } = run;
  const kept = new Set<string>();
  /** Not to be kept, however much of them is needed. */
  const unsound = new Set<number>();
  for (let round = 0; ; round++) {
    const isTried = canRewrite && round < REBASE_ROUNDS_MAX;
    const rebased = isTried ? await rebase({ index, reach, standing, going }) : NOTHING_REBASED;
    let settled = true;
    for (const pack of [...going]) {
      run.options.signal?.throwIfAborted();
      if (unsound.has(pack)) continue;
      const bits = reach.live.get(pack)!;
      const { stored, used } = usedBytes(await index.table(pack), bits, rebased.freed.get(pack));
      const isSparse = used < stored * PACK_USED_MIN || rebased.whole.has(pack);
      if (canRewrite && isSparse) continue;
      settled = false;
      // Whoever finds a record in a pack that stays may rely on it, so all of them must be sound.
      if ((await reach.pack(index.packId(pack))) !== undefined) unsound.add(pack);
      else {
        going.delete(pack);
        kept.add(index.packId(pack));
      }
    }
    if (settled) return { kept, rebased };
  }
}

/** Then packs are sorted by what is needed of them alone. */
const REBASE_ROUNDS_MAX = 6;

function clearAll(bits: Bitmap, cleared: Bitmap): void {
  for (let at = cleared.nextSet(0); at < cleared.size; at = cleared.nextSet(at + 1)) bits.clear(at);
}

type Found = {
  readonly named: ReadonlySet<string>;
  readonly kept: ReadonlySet<string>;
  readonly whole: ReadonlyMap<number, Bitmap>;
};

async function collect(
  { index, canRewrite }: Collection,
  { live }: Reach,
  { named, kept, whole }: Found,
): Promise<Pick<Garbage, 'dead' | 'sparse' | 'freeBytes'>> {
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
    if (number === undefined || table === undefined || !bits?.count()) dead.push(packId);
    else if (canRewrite)
      sparse.push({ number, packId, table, live: bits, whole: whole.get(number) });
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
