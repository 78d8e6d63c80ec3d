/**
 * Checks a repository: structure always, every stored byte on demand. Reports, never repairs: open
 * it with `heals: false` to see what parity would undo.
 */
import type { CodecPool } from '../codec/index.ts';
import { FerryError } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';
import { checkLog } from './check-log.ts';
import { checkPacks } from './check-packs.ts';
import { checkParities } from './check-parity.ts';
import { checkTrees } from './check-trees.ts';
import type { Location } from './chunk-index.ts';
import { checkKeys } from './encryption.ts';
import type { Repository } from './repository.ts';
import { checkSuperblocks, superblockKeys } from './superblock.ts';

export type CheckOptions = {
  readonly readData: boolean;
  /** Of the packs that the log names, those whose data is read; all of them without this. */
  readonly choose?: (packIds: readonly string[]) => ReadonlySet<string>;
  readonly pool: CodecPool;
  /** What was wrong before the check began. */
  readonly found?: readonly { readonly object: string; readonly error: FerryError }[];
  readonly onProgress?: (done: { readonly objects: number; readonly bytes: number }) => void;
  readonly signal?: AbortSignal;
};

/** Something that the log names and that is not as it was written. */
export type Problem = { readonly object: string; readonly code: string; readonly message: string };

export type CheckReport = {
  readonly problems: readonly Problem[];
  readonly snapshots: number;
  readonly packs: number;
  readonly chunks: number;
  /** Stored bytes that were read and verified. */
  readonly readBytes: number;
  /** Packs whose every byte was read and is as it was written. */
  readonly readPacks: readonly string[];
  /** Packs that are not as they were written, or could not be read. */
  readonly damagedPacks: readonly string[];
  /** All that the log names. */
  readonly packIds: ReadonlySet<string>;
  /** Packs without the parity that the repository is to have. */
  readonly unprotectedPacks: number;
  /** Packs that no log entry names: what a run that was cut left, or is just being written. */
  readonly orphanPacks: number;
};

export class CheckRun {
  readonly repository: Repository;
  readonly options: CheckOptions;
  readonly problems: Problem[] = [];
  /** Also what repeats another problem's words. */
  noted = 0;
  /** Packs of which no frame can be found, and frames that do not decode. */
  readonly damaged = new Map<string, Set<number> | 'whole'>();
  /** Packs whose parity is not as it was written. */
  readonly damagedParity = new Set<string>();
  /** Segments that are damaged, missing, or not what the packs say. */
  readonly badSegments = new Set<string>();
  objects = 0;
  readBytes = 0;

  constructor(repository: Repository, options: CheckOptions) {
    this.repository = repository;
    this.options = options;
  }

  note(object: string, error: unknown): void {
    if (!(error instanceof FerryError)) throw error;
    this.noted++;
    if (this.problems.some((problem) => problem.message === error.message)) return;
    const code = error instanceof ObjectError ? `STORE_${error.code.slice(7)}` : error.code;
    this.problems.push({ object, code, message: error.message });
  }

  damagedPack(packId: string): void {
    this.damaged.set(packId, 'whole');
  }

  /** The frames are whole, what is around them is not. */
  damagedHull(packId: string): void {
    if (!this.damaged.has(packId)) this.damaged.set(packId, new Set());
  }

  damagedFrame(packId: string, frame: number): void {
    const known = this.damaged.get(packId) ?? new Set<number>();
    this.damaged.set(packId, known);
    if (known !== 'whole') known.add(frame);
  }

  /** Whether the copy lies in something that was found to be damaged. */
  isDamaged({ packId, table, ordinal }: Location): boolean {
    const damage = this.damaged.get(packId);
    return damage === 'whole' || (damage?.has(table.frameOf(ordinal)) ?? false);
  }

  /** Runs one part; what goes wrong in it is noted, and the check goes on. */
  async part(object: string, work: () => Promise<void>): Promise<void> {
    this.options.signal?.throwIfAborted();
    try {
      await work();
    } catch (error) {
      this.note(object, error);
    }
  }

  progress(bytes: number): void {
    this.objects++;
    this.readBytes += bytes;
    this.options.onProgress?.({ objects: this.objects, bytes: this.readBytes });
  }
}

export async function check(repository: Repository, options: CheckOptions): Promise<CheckReport> {
  const run = new CheckRun(repository, options);
  for (const { object, error } of options.found ?? []) run.note(object, error);
  for (const [at, problem] of (await checkSuperblocks(repository.objects)).entries()) {
    if (problem !== undefined) run.note(superblockKeys[at]!, problem);
  }
  await using _pin = await repository.pin([]);
  await checkLog(run);
  for (const [key, problem] of await checkKeys(repository.objects)) run.note(key, problem);
  const packs = await checkPacks(run);
  const unprotectedPacks = await checkParities(run, packs);
  const chunks = await checkTrees(run);
  return {
    problems: run.problems,
    snapshots: repository.snapshots().length,
    packs: packs.named.size,
    chunks,
    readBytes: run.readBytes,
    readPacks: packs.read,
    damagedPacks: packs.damaged,
    packIds: packs.named,
    unprotectedPacks,
    orphanPacks: packs.orphans,
  };
}
