/** `ferry check --repair`: tells what was repaired and what is lost, then what check says. */
import { codecPool } from '../codec/index.ts';
import { type Repository, repairAll } from '../store/index.ts';
import { openRepository, repairableObjects } from '../transfer/repository/index.ts';
import type { Context } from './context.ts';
import { exitStatus } from './exit-codes.ts';
import { headsOf, s3Of, unlockOptions } from './repository.ts';
import { requireRepository } from './settings.ts';

export type RepairWish = {
  readonly from: string | undefined;
  readonly dryRun: boolean;
  readonly acceptRollback: boolean;
};

/** The exit status. */
export async function repairRepository(
  context: Context,
  { from, dryRun, acceptRollback }: RepairWish,
): Promise<number> {
  const { env, output, settings, signal } = context;
  await using objects = await repairableObjects(env, requireRepository(settings), {
    s3: s3Of(context, false),
  });
  await using other = from === undefined ? undefined : await otherRepository(context, from);
  await using pool = codecPool(env, env.workers.parallelism);
  const progress = output.progress('repairing', 0);
  const { notes, check } = await repairAll(env, objects, {
    pool,
    dryRun,
    signal,
    open: { ...unlockOptions(context), heads: headsOf(context) },
    acceptsRollback: acceptRollback,
    onProgress: ({ bytes }) => progress.update(bytes),
    ...(other && { from: other }),
  });
  progress.finish();
  for (const note of notes) output.item('repair', note, `${note.action}: ${note.message}`);
  const problems = check?.problems ?? [];
  for (const problem of problems) output.item('problem', problem, `left: ${problem.message}`);
  const lost = notes.filter(({ action }) => action === 'lost').length;
  const repaired = notes.length - lost;
  output.summary(
    { repaired, lost, problems: problems.length, dryRun },
    summaryOf(dryRun, repaired, problems.length),
  );
  const isWhole = dryRun ? notes.length === 0 : problems.length === 0;
  return isWhole ? exitStatus.done : exitStatus.damage;
}

function summaryOf(dryRun: boolean, repaired: number, problems: number): string {
  if (dryRun && repaired === 0) return 'nothing to repair';
  if (dryRun) return `${repaired} things would be done; nothing was changed`;
  if (problems === 0) return `${repaired} things were done; the repository is whole`;
  return (
    `${repaired} things were done; ${problems} problems are left\n` +
    'back the volumes up again: what their sources still have is stored anew'
  );
}

/** It is only read; a mirror is the same repository, perhaps an older state of it. */
function otherRepository(context: Context, location: string): Promise<Repository> {
  return openRepository(context.env, location, {
    ...unlockOptions(context),
    s3: s3Of(context, false),
  });
}
