/** Audits a source of changes without a backup, and heals if it has lied. */
import type { Env } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import type { Repository } from '../../store/index.ts';
import {
  type AuditReport,
  audit,
  type CannotSay,
  findChanges,
  ToldUnits,
} from '../../track/index.ts';
import {
  type ChangesRequest,
  type ChangesResult,
  heal,
  Untold,
  usualShare,
} from './backup-changes.ts';

export type VolumeAudit = {
  /** Undefined: nobody claims to know what changed, so there is nothing to doubt. */
  readonly report: AuditReport | undefined;
  readonly source: string;
  readonly reason: string;
  readonly passed: readonly CannotSay[];
  /** What was committed because of an untold change. */
  readonly healed: ChangesResult | undefined;
};

/** Nothing is committed, and no mark moves, unless the audit finds a change that was not told. */
export async function auditVolume(
  env: Env,
  repository: Repository,
  device: Device,
  request: ChangesRequest,
): Promise<VolumeAudit> {
  const { volume, signal, sources, trust, auditShare } = request;
  const parent = repository.latest(volume);
  const distrust = trust && ((source: Parameters<typeof trust.doubt>[0]) => trust.doubt(source));
  const question = { volume, device, since: parent, signal };
  const ladder = { choice: 'auto', ...(distrust && { distrust }) } as const;
  const found = await findChanges(sources, question, ladder);
  const { answer, passed, view } = found;
  const said = { source: answer.source, reason: answer.reason, passed };
  let report: AuditReport | undefined;
  try {
    request.onFound?.(found);
    if (answer.kind === 'changes' && parent !== undefined) {
      await using _pin = await repository.pin([parent]);
      const told = new ToldUnits(parent);
      for await (const range of answer.changed) told.add(range);
      const share = auditShare ?? usualShare(parent);
      const { random } = env;
      const from = view ?? device;
      const { toldNow } = answer;
      const about = { repository, parent, device: from, told, toldNow };
      report = await audit({ ...about, share, random, signal });
    }
  } finally {
    await found.finish({ kind: 'failed' }); // Nothing is committed of this moment.
  }
  if (report === undefined || report.untoldCount === 0)
    return { ...said, report, healed: undefined };
  const untold = new Untold(answer.source, report);
  return { ...said, report, healed: await heal(env, repository, device, request, untold) };
}
