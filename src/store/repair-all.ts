/** The whole repair: what opening needs first, then all else, in as many turns as it takes. */
import type { CodecPool } from '../codec/index.ts';
import { type Env, FerryError } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { type CheckReport, check } from './check.ts';
import { unlockRepository } from './encryption.ts';
import type { StoreError } from './errors.ts';
import { NO_INDEX_CHANGE } from './log-entry.ts';
import { protectRepository } from './parity.ts';
import { repair } from './repair.ts';
import { type RepairNote, repairKeys, repairLog, repairSuperblock } from './repair-base.ts';
import { Repository } from './repository.ts';
import type { OpenOptions } from './repository-options.ts';
import { sealedObjects } from './sealer.ts';
import { readSuperblock } from './superblock.ts';

export type RepairAllOptions = {
  readonly pool: CodecPool;
  /** A mirror of the repository, or any other one that holds the same chunks. */
  readonly from?: Repository;
  readonly dryRun: boolean;
  /** How the repository is opened: what was seen of it, its password. */
  readonly open?: OpenOptions;
  /** A person takes a log that went back as it is. */
  readonly acceptsRollback?: boolean;
  readonly onProgress?: (done: { readonly bytes: number }) => void;
  readonly signal?: AbortSignal;
};

export type RepairReport = {
  readonly notes: readonly RepairNote[];
  /** Of the repository as it is afterwards; undefined after a dry run. */
  readonly check: CheckReport | undefined;
};

/**
 * The first turn makes an index, which may show more packs; the second drops what did not come
 * back; each is followed by a look whether anything is left to do.
 */
const TURNS_MAX = 4;

/**
 * `objects` stays the caller's. STORE_ROLLED_BACK before anything is written, unless accepted. Cut
 * off at any point, it is run again.
 */
export async function repairAll(
  env: Env,
  objects: ObjectStore,
  options: RepairAllOptions,
): Promise<RepairReport> {
  const { from, dryRun, pool, signal, onProgress } = options;
  const notes: RepairNote[] = [];
  const base = { from: from?.objects, dryRun, notes };
  await repairSuperblock({ ...base, objects });
  await repairKeys({ ...base, objects });
  const { sealer } = await unlockRepository(
    objects,
    env.random,
    await readSuperblock(objects),
    options.open ?? {},
  );
  await repairLog({ ...base, objects: sealedObjects(objects, sealer) });
  const lostEntry = notes.some(({ object }) => object.startsWith('log/'));
  for (let turn = 0; turn < TURNS_MAX; turn++) {
    const repository = await opened(env, objects, options, notes);
    if (repository === undefined) break;
    const acted = await repair(env, repository, {
      pool,
      from,
      dryRun,
      dropsPatches: turn > 0,
      adoptsListed: lostEntry && turn === 0,
      notes,
      ...(onProgress && { onProgress }),
      ...(signal && { signal }),
    });
    if (dryRun || (!acted && turn > 0)) break;
  }
  if (dryRun) return { notes, check: undefined };
  const repository = await Repository.open(env, objects, { ...options.open, heals: false });
  const { made } = await protectRepository(repository, { pool, signal });
  const message = `parity: made for ${made} packs that lacked it`;
  if (made > 0) notes.push({ action: 'rebuilt', object: 'parity', message });
  const report = await check(repository, { readData: true, pool, ...(signal && { signal }) });
  if (report.problems.length === 0 && repository.log.state.lossy) {
    await repository.commitIndex(() => NO_INDEX_CHANGE, { lossy: false });
  }
  return { notes, check: report };
}

/** A dry run changes nothing, so what cannot be opened before the repair stays so. */
async function opened(
  env: Env,
  objects: ObjectStore,
  { open = {}, dryRun, acceptsRollback = false }: RepairAllOptions,
  notes: RepairNote[],
): Promise<Repository | undefined> {
  let rollback: StoreError | undefined;
  const onRolledBack = (error: StoreError) => {
    rollback = error;
  };
  try {
    const repository = await Repository.open(env, objects, {
      ...open,
      heals: false,
      heads: { ...open.heads, onRolledBack },
    });
    if (rollback === undefined) return repository;
    if (!acceptsRollback) throw rollback;
    if (!dryRun) await repository.acceptHead();
    return repository;
  } catch (error) {
    if (!dryRun || !(error instanceof FerryError) || notes.length === 0) throw error;
    const message = `${error.message}: what else is damaged shows once that is repaired`;
    notes.push({ action: 'lost', object: objects.name, message });
    return undefined;
  }
}
