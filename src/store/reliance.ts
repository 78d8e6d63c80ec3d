/**
 * Makes a snapshot that is being made, or about to be committed, independent of what garbage
 * collection condemned meanwhile: what it needs of that is stored again. docs/internals/
 * garbage-collection.md says why this is enough.
 */
import { hasCode, toHex } from '../core/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import { StoreError } from './errors.ts';
import type { FrameBuilder } from './frame-builder.ts';
import { PatchParents } from './gc-parents.ts';
import { Reach } from './gc-reach.ts';
import { GENERATIONS_BEHIND_MAX } from './limits.ts';
import type { LogState } from './log-state.ts';
import { RECORD_CHUNK } from './pack-table.ts';
import type { SealedObjects } from './sealer.ts';
import type { Session } from './session.ts';
import { fetchTree } from './tree-loader.ts';
import type { Tree, TreeReader } from './tree-reader.ts';

/** STORE_FENCED if nothing of the session may be committed to the log in this state. */
export function checkSession(
  state: LogState,
  { writer, generation }: Pick<Session, 'writer' | 'generation'>,
  packs: readonly string[],
): void {
  const fenced = state.fencedSessions.has(writer);
  if (fenced || packs.some((pack) => state.fencedObjects.has(pack))) {
    throw overtaken('garbage collection took this run for dead, as it did not show that it lived');
  }
  if (state.generation - generation > GENERATIONS_BEHIND_MAX) {
    throw overtaken(`garbage collection ran ${state.generation - generation} steps meanwhile`);
  }
}

function overtaken(why: string, cause?: unknown): StoreError {
  return new StoreError('STORE_FENCED', `nothing was committed: ${why}`, {
    hint: 'Run the command again.',
    cause,
  });
}

export type Relying = {
  readonly objects: SealedObjects;
  readonly index: ChunkIndex;
  readonly reader: TreeReader;
  readonly builder: FrameBuilder;
  /** Its manifest, or of one that is not closed yet, chunks that it may name. */
  readonly needed: Tree | readonly Uint8Array[];
  /** Not committed yet: their patches may stand on anything. */
  readonly packs: readonly string[];
};

/**
 * The index must be at the state of the log for which this is asked. What is stored again comes
 * into a new pack of the builder. STORE_FENCED if something is gone already.
 */
export async function storeCondemnedAgain(relying: Relying): Promise<void> {
  const { objects, index, reader, builder, needed, packs } = relying;
  const condemned: Location[] = [];
  const reach = new Reach({
    index,
    reader,
    parents: new PatchParents(objects),
    onCondemned: (found) => condemned.push(found),
  });
  try {
    if ('geometry' in needed) await reach.tree(needed);
    else for (const id of needed) await reach.chunk(id);
    for (const pack of packs) {
      const lacking = await reach.pack(pack);
      if (lacking !== undefined) throw lacking;
    }
    const chunks = new ChunkReader(objects, index);
    for (const found of condemned) await storeAgain(objects, chunks, builder, found);
  } catch (error) {
    if (!hasCode(error, 'STORE_MISSING') && !hasCode(error, 'STORE_DAMAGED')) throw error;
    throw overtaken('garbage collection removed something that it relied on', error);
  }
  if (condemned.length > 0) await builder.finish();
}

async function storeAgain(
  objects: SealedObjects,
  chunks: ChunkReader,
  builder: FrameBuilder,
  found: Location,
): Promise<void> {
  const { table, ordinal } = found;
  const id = table.id(ordinal);
  const checksum = table.checksums[ordinal]!;
  if (table.kinds[ordinal] === RECORD_CHUNK) {
    await builder.add({ bytes: await chunks.bytes(found), id, checksum }, []);
  } else await builder.addTree(await fetchTree(objects, found, toHex(id)), id, checksum);
}
