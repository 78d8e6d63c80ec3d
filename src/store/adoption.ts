/** Takes up the packs that cut-off writers of a volume have left. */
import { ObjectError } from '../objects/index.ts';
import type { StoreParts } from './backup-session.ts';
import { StoreError } from './errors.ts';
import { PatchParents } from './gc-parents.ts';
import { Reach } from './gc-reach.ts';
import { packKey, readPackTable } from './pack-file.ts';
import type { SealedObjects } from './sealer.ts';
import { type FoundSession, findSessions, holdsLock, type SessionState } from './session.ts';

export type Adopted = {
  /** Packs that are there and not in the log; the index knows them. */
  readonly packs: readonly string[];
  /** Of dead writers, whole: they have served once the packs are committed. */
  readonly keys: readonly string[];
};

/** `writer` is the one that asks. */
export async function adoptPacks(
  parts: StoreParts,
  volume: string,
  writer: string,
): Promise<Adopted> {
  const packs: string[] = [];
  const keys: string[] = [];
  for (const found of await findSessions(parts.objects)) {
    const { state } = found;
    if (state.volume !== volume || state.writer === writer) continue;
    if (parts.log.state.fencedSessions.has(state.writer)) continue;
    const adopted = await adoptSession(parts, found);
    packs.push(...adopted);
    const whole = state.packs.length > 0 && state.packs.every((pack) => parts.index.hasPack(pack));
    if (whole && !(await holdsLock(parts.objects, state))) keys.push(...found.keys);
  }
  return { packs, keys };
}

/** Up to the first that is missing: a later pack may stand on it. */
async function adoptSession(parts: StoreParts, { state }: FoundSession): Promise<string[]> {
  const { objects, index, log } = parts;
  const adopted: string[] = [];
  for (const pack of state.packs) {
    // What the index knew before is in the log already, or another session's that was adopted.
    if (index.hasPack(pack)) continue;
    if (log.state.fencedObjects.has(pack)) break;
    try {
      const table = await readPackTable(objects, pack);
      if (pack === state.packs.at(-1) && !(await settled(objects, state, pack))) break;
      index.addTable(pack, table);
      index.uncommitted.add(pack);
      adopted.push(pack);
    } catch (error) {
      if (!(error instanceof StoreError || error instanceof ObjectError)) throw error;
      break;
    }
  }
  if (state.generation === log.state.generation || (await standsFirm(parts, adopted))) {
    return adopted;
  }
  for (const pack of adopted) index.dropPack(pack);
  return [];
}

/**
 * A writer names a pack once the one before it is durable. The last one can be read, and would go
 * with a power cut if the writer died before it was forced. While the writer lives that may fail,
 * and then it takes the pack away.
 */
async function settled(
  objects: SealedObjects,
  state: SessionState,
  pack: string,
): Promise<boolean> {
  if (objects.settle === undefined) return true;
  if (!state.locked || (await holdsLock(objects, state))) return false;
  await objects.settle(packKey(pack));
  return true;
}

/** Whether nothing that the packs stand on has been condemned or dropped since. */
async function standsFirm(
  { objects, index, reader }: StoreParts,
  packs: readonly string[],
): Promise<boolean> {
  let firm = true;
  const parents = new PatchParents(objects);
  const onCondemned = () => {
    firm = false;
  };
  const reach = new Reach({ index, reader, parents, onCondemned });
  for (const pack of packs) if ((await reach.pack(pack)) !== undefined) firm = false;
  return firm;
}
