/** Finds out what changed, backs that up, doubts it, and tells the sources how it ended. */
import assert from 'node:assert/strict';
import { type Env, FerryError } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import { diffTrees, type Repository, type Snapshot, treeOf } from '../../store/index.ts';
import {
  AUDIT_BYTES,
  AUDIT_SHARE,
  type AuditReport,
  audit,
  type CannotSay,
  type ChangeChoice,
  type ChangeSet,
  type ChangeSource,
  type ChangeSourceName,
  type Found,
  findChanges,
  ToldUnits,
  type Trust,
} from '../../track/index.ts';
import { type BackupRequest, type BackupResult, backup, isDamage } from './backup.ts';

type Plain = Omit<BackupRequest, 'since' | 'changeSource' | 'compare' | 'beforeCommit'>;

export type ChangesRequest = Plain & {
  readonly sources: readonly ChangeSource[];
  readonly choice: ChangeChoice;
  /** Whom an audit found to have lied; without it everybody is believed. */
  readonly trust?: Pick<Trust, 'doubt' | 'distrust' | 'restore'> | undefined;
  /** How much of what is called clean is read again: 0 nothing; by default a little. */
  readonly auditShare?: number | undefined;
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
  /** What the audit saw; none if everything was compared anyway. */
  readonly audit: AuditReport | undefined;
  /** The source in whose claims the audit found changes untold: all was compared then. */
  readonly untoldBy: ChangeSourceName | undefined;
  /** Sources that were not believed, and are again: a comparison found nothing untold. */
  readonly believedAgain: readonly ChangeSourceName[];
  /** The snapshot is there, but a source could not take note of it. */
  readonly finishFailure: unknown;
};

/**
 * As `backup`, with what the sources say; TRACK_CANNOT_SAY if a chosen one cannot say. If the audit
 * finds a change that was not told, nothing of that is committed: the source is noted as not to be
 * believed, the whole volume is compared at another moment, and that is committed.
 */
export async function backupChanges(
  env: Env,
  repository: Repository,
  device: Device,
  request: ChangesRequest,
): Promise<ChangesResult> {
  try {
    return await attempt(env, repository, device, request);
  } catch (error) {
    if (error instanceof Untold) return heal(env, repository, device, request, error);
    const parent = repository.latest(request.volume);
    if (!isDamage(error) || parent === undefined || request.choice === 'full') throw error;
    // What would be kept of the parent cannot be read: another moment is taken, as a whole.
    const result = await attempt(env, repository, device, { ...request, choice: 'full' });
    return { ...result, damagedParent: parent };
  }
}

/** An audit found what a source had not told. */
export class Untold extends FerryError<'TRANSFER_UNTOLD'> {
  override readonly name = 'Untold';
  readonly source: ChangeSourceName;
  readonly report: AuditReport;

  constructor(source: ChangeSourceName, report: AuditReport) {
    const place = report.untold[0]?.offsetBytes;
    const message = `${source} had not told of a change at byte ${place}`;
    super('TRANSFER_UNTOLD', message, { hint: 'The whole volume must be compared.' });
    this.source = source;
    this.report = report;
  }
}

export async function heal(
  env: Env,
  repository: Repository,
  device: Device,
  request: ChangesRequest,
  { source, report, message }: Untold,
): Promise<ChangesResult> {
  await request.trust?.distrust(source, `an audit found it out: ${message}`);
  const result = await attempt(env, repository, device, { ...request, choice: 'checksum' });
  return { ...result, audit: report, untoldBy: source };
}

async function attempt(
  env: Env,
  repository: Repository,
  device: Device,
  request: ChangesRequest,
): Promise<ChangesResult> {
  const { volume, signal, sources, choice, trust, auditShare, onFound, ...rest } = request;
  const since = repository.latest(volume);
  const distrust = trust && ((source: ChangeSourceName) => trust.doubt(source));
  const question = { volume, device, since, signal };
  const found = await findChanges(sources, question, { choice, ...(distrust && { distrust }) });
  const plain = { ...rest, volume, ...(signal && { signal }) };
  const run = new Run(env, repository, found.view ?? device, since, found);
  let result: BackupResult;
  let claims: readonly Claim[];
  try {
    onFound?.(found);
    claims = await run.claims();
    result = await run.backup(plain, auditShare);
  } catch (error) {
    await found.finish({ kind: 'failed' }).catch(() => undefined); // The first error counts.
    throw error;
  }
  const outcome = { kind: 'committed', snapshot: result.snapshot } as const;
  const finishFailure = await found.finish(outcome).then(
    () => undefined,
    (error: unknown) => error,
  );
  const believedAgain = await run.honest(claims, result);
  for (const source of believedAgain) await trust?.restore(source);
  return {
    ...result,
    reason: found.answer.reason,
    passed: found.passed,
    isSuperset: found.answer.kind === 'changes' && found.answer.precision === 'superset',
    isOneMoment: found.view !== undefined,
    audit: run.report,
    untoldBy: undefined,
    believedAgain,
    finishFailure,
  };
}

/** What a source that is not believed would have said. */
type Claim = { readonly source: ChangeSourceName; readonly told: ToldUnits };

class Run {
  readonly #env: Env;
  readonly #repository: Repository;
  readonly #device: Device;
  readonly #parent: Snapshot | undefined;
  readonly #found: Found;
  report: AuditReport | undefined;

  constructor(
    env: Env,
    repository: Repository,
    device: Device,
    parent: Snapshot | undefined,
    found: Found,
  ) {
    this.#env = env;
    this.#repository = repository;
    this.#device = device;
    this.#parent = parent;
    this.#found = found;
  }

  async backup(request: Plain, share: number | undefined): Promise<BackupResult> {
    const { answer } = this.#found;
    const named = { ...request, changeSource: answer.source };
    if (answer.kind === 'everything') {
      const compare = { ...named, compare: answer.compare };
      return backup(this.#env, this.#repository, this.#device, compare);
    }
    const parent = this.#parent;
    if (parent === undefined) assert.fail('a change set since nothing');
    try {
      return await this.#incremental(named, parent, answer, share);
    } catch (error) {
      // Of a moment only what was to be read has been kept.
      if (!isDamage(error) || this.#found.view !== undefined) throw error;
      // What would be kept of the parent cannot be read: the whole volume is taken instead.
      const all = { ...named, changeSource: 'full', compare: false };
      const result = await backup(this.#env, this.#repository, this.#device, all);
      return { ...result, damagedParent: parent };
    }
  }

  #incremental(
    request: BackupRequest,
    parent: Snapshot,
    answer: ChangeSet,
    share: number | undefined,
  ): Promise<BackupResult> {
    const told = new ToldUnits(parent);
    return backup(this.#env, this.#repository, this.#device, {
      ...request,
      since: { parent, changed: told.listen(answer.changed) },
      beforeCommit: () => this.#audit(parent, told, answer, share, request.signal),
    });
  }

  async #audit(
    parent: Snapshot,
    told: ToldUnits,
    { source, toldNow }: ChangeSet,
    wanted: number | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const share = wanted ?? usualShare(parent);
    if (share === 0) return;
    const { random } = this.#env;
    const [repository, device] = [this.#repository, this.#device];
    const from = { repository, parent, device, told, toldNow };
    this.report = await audit({ ...from, share, random, signal });
    if (this.report.untoldCount > 0) throw new Untold(source, this.report);
  }

  /** Of those who are not believed; a comparison of everything will show whether they are right. */
  async claims(): Promise<readonly Claim[]> {
    const parent = this.#parent;
    const { answer, passed } = this.#found;
    if (parent === undefined || answer.kind !== 'everything' || !answer.compare) return [];
    const claims: Claim[] = [];
    for (const { source, reason, claimed } of passed) {
      if (reason !== 'untrusted' || claimed === undefined) continue;
      const told = new ToldUnits(parent);
      for await (const range of claimed) told.add(range);
      claims.push({ source, told });
    }
    return claims;
  }

  /** Whose claims cover all that has changed. */
  async honest(
    claims: readonly Claim[],
    { snapshot, damagedParent }: BackupResult,
  ): Promise<ChangeSourceName[]> {
    const parent = this.#parent;
    if (claims.length === 0 || parent === undefined || damagedParent !== undefined) return [];
    if (snapshot.sizeBytes !== parent.sizeBytes) return [];
    let honest = [...claims];
    const { reader } = this.#repository;
    for await (const extent of diffTrees(reader, treeOf(parent), treeOf(snapshot))) {
      honest = honest.filter(({ told }) => told.has(extent));
    }
    return honest.map(({ source }) => source);
  }
}

/** A little of everything, and not too much of what is large. */
export function usualShare({ sizeBytes }: Pick<Snapshot, 'sizeBytes'>): number {
  return Math.min(AUDIT_SHARE, AUDIT_BYTES / Math.max(1, sizeBytes));
}
