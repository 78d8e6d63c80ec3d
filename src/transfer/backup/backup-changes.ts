/** Finds out what changed, backs that up, and tells the sources of changes how it ended. */
import assert from 'node:assert/strict';
import type { Env } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import type { Repository, Snapshot } from '../../store/index.ts';
import {
  type CannotSay,
  type ChangeChoice,
  type ChangeSource,
  type Found,
  findChanges,
  type LadderOptions,
} from '../../track/index.ts';
import { type BackupRequest, type BackupResult, backup, isDamage } from './backup.ts';

export type ChangesRequest = Omit<BackupRequest, 'since' | 'changeSource' | 'compare'> & {
  readonly sources: readonly ChangeSource[];
  readonly choice: ChangeChoice;
  readonly distrust?: LadderOptions['distrust'];
  /** Told before anything is read. */
  readonly onFound?: (found: Found) => void;
};

export type ChangesResult = BackupResult & {
  /** How the changes were found, in words. */
  readonly reason: string;
  readonly passed: readonly CannotSay[];
  /** The set was larger than what was written, as far as the source can tell. */
  readonly isSuperset: boolean;
  /** What was read was one moment of the volume, whatever was written meanwhile. */
  readonly isOneMoment: boolean;
  /** The snapshot is there, but a source could not take note of it. */
  readonly finishFailure: unknown;
};

/** As `backup`, with what the sources say; TRACK_CANNOT_SAY if a chosen one cannot say. */
export async function backupChanges(
  env: Env,
  repository: Repository,
  device: Device,
  request: ChangesRequest,
): Promise<ChangesResult> {
  const { volume, signal, sources, choice, distrust, onFound, ...rest } = request;
  const since = repository.latest(volume);
  const question = { volume, device, since, signal };
  const found = await findChanges(sources, question, { choice, ...(distrust && { distrust }) });
  let result: BackupResult;
  try {
    onFound?.(found);
    const plain = { ...rest, volume, ...(signal && { signal }) };
    result = await backupFound(env, repository, found.view ?? device, plain, since, found);
  } catch (error) {
    await found.finish({ kind: 'failed' }).catch(() => undefined); // The first error counts.
    throw error;
  }
  const outcome = { kind: 'committed', snapshot: result.snapshot } as const;
  const finishFailure = await found.finish(outcome).then(
    () => undefined,
    (error: unknown) => error,
  );
  const { answer, passed } = found;
  return {
    ...result,
    reason: answer.reason,
    passed,
    isSuperset: answer.kind === 'changes' && answer.precision === 'superset',
    isOneMoment: found.view !== undefined,
    finishFailure,
  };
}

type Plain = Omit<BackupRequest, 'since' | 'changeSource' | 'compare'>;

async function backupFound(
  env: Env,
  repository: Repository,
  device: Device,
  request: Plain,
  parent: Snapshot | undefined,
  { answer }: Found,
): Promise<BackupResult> {
  const named = { ...request, changeSource: answer.source };
  if (answer.kind === 'everything') {
    return backup(env, repository, device, { ...named, compare: answer.compare });
  }
  if (parent === undefined) assert.fail('a change set since nothing');
  try {
    const since = { parent, changed: answer.changed };
    return await backup(env, repository, device, { ...named, since });
  } catch (error) {
    if (!isDamage(error)) throw error;
    // What would be kept of the parent cannot be read: the whole volume is taken instead.
    const all = { ...named, changeSource: 'full', compare: false };
    const result = await backup(env, repository, device, all);
    return { ...result, damagedParent: parent };
  }
}
