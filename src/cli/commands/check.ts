/** `ferry check`: looks for damage; prints what is damaged, one object a line. */
import { codecPool } from '../../codec/index.ts';
import { FerryError } from '../../core/index.ts';
import {
  type CheckReport,
  check,
  choosePacks,
  type ReadMemory,
  type ReadRun,
  type Repository,
  readFiles,
  rebuildIndex,
  StoreError,
} from '../../store/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { exitStatus } from '../exit-codes.ts';
import { repairRepository } from '../repair.ts';
import { repositoryOf, stateFolder } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { checkSpec } from '../table/repository.ts';

export const run: Run<typeof checkSpec> = async (context, values) => {
  const { output } = context;
  const { readData: share, maxAge: maxAgeMs, acceptRollback, noPassword } = values;
  if (maxAgeMs !== undefined && share === undefined) {
    throw usageError('--max-age needs --read-data', 'ferry check');
  }
  if (values.repair) return repairRepository(context, values);
  if (values.from !== undefined || values.dryRun) {
    throw usageError('--from and --dry-run need --repair', 'ferry check');
  }
  const rollbacks: StoreError[] = [];
  await using repository = await repositoryOf(context, {
    onRolledBack: (error) => rollbacks.push(error),
    withoutPassword: noPassword,
    // What is to be checked is what is stored, not copies of it.
    cache: false,
    heals: false,
  }).catch((error) => {
    throw furtherThanCheck(error);
  });
  if (acceptRollback) {
    await repository.acceptHead();
    for (const { message } of rollbacks.splice(0)) output.warn(`${message}; accepted`);
  }
  if (values.rebuildIndex) {
    const { packs, records } = await rebuildIndex(context.env, repository);
    output.item(
      'rebuilt',
      { packs, records },
      `made an index of ${records} records in ${packs} packs`,
    );
  }
  const report = await checked(context, repository, { share, maxAgeMs, rollbacks });
  return show(context, report, share, repository.isBlind);
};

/** What cannot even be opened: to run `ferry check` is no advice for whoever does. */
function furtherThanCheck(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  if (error.code !== 'STORE_DAMAGED' && error.code !== 'STORE_MISSING') return error;
  return new StoreError(error.code, error.message, {
    hint: 'Nothing behind it can be checked. See what `ferry check --repair --dry-run` would do.',
    cause: error,
  });
}

type Wanted = {
  readonly share: number | undefined;
  readonly maxAgeMs: number | undefined;
  readonly rollbacks: readonly StoreError[];
};

async function checked(
  context: Context,
  repository: Repository,
  { share, maxAgeMs, rollbacks }: Wanted,
): Promise<CheckReport> {
  const { env, output, signal } = context;
  const { repositoryId } = repository.superblock;
  const memory = readFiles(env, stateFolder(context, 'checks'));
  const runs = share === undefined ? [] : await recalled(context, memory, repositoryId);
  const choice = { share: share ?? 0, nowMs: env.clock.wallMs() };
  const progress = output.progress('checking', 0);
  await using pool = codecPool(env, share === undefined ? 0 : env.workers.parallelism);
  const report = await check(repository, {
    readData: share !== undefined,
    choose: (packs) =>
      choosePacks(packs, runs, { ...choice, ...(maxAgeMs !== undefined && { maxAgeMs }) }),
    pool,
    signal,
    found: rollbacks.map((error) => ({ object: 'log', error })),
    onProgress: ({ bytes }) => progress.update(bytes),
  });
  progress.finish();
  if (share !== undefined) await remember(context, memory, repositoryId, report);
  return report;
}

/** What is not known is read once more: no reason to fail. */
async function recalled(
  { output }: Context,
  memory: ReadMemory,
  repositoryId: string,
): Promise<readonly ReadRun[]> {
  try {
    return await memory.recall(repositoryId);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    output.warn(`${error.message}: as if nothing had been read yet`);
    return [];
  }
}

async function remember(
  { env, output }: Context,
  memory: ReadMemory,
  repositoryId: string,
  { readPacks, packIds, damagedPacks }: CheckReport,
): Promise<void> {
  // What is damaged is read again every time, however young the time when it was whole.
  const kept = new Set(packIds);
  for (const pack of damagedPacks) kept.delete(pack);
  const time = new Date(env.clock.wallMs()).toISOString();
  try {
    await memory.add(repositoryId, { time, packs: readPacks }, kept);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    output.warn(`what was read is not remembered: ${error.message}`);
  }
}

function show(
  { output }: Context,
  report: CheckReport,
  share: number | undefined,
  isBlind: boolean,
): number {
  const { problems } = report;
  for (const problem of problems) {
    const { object, message } = problem;
    // Most messages begin with the object's name.
    output.item('problem', problem, message.startsWith(object) ? message : `${object}: ${message}`);
  }
  const { snapshots, packs, chunks, readBytes, readPacks, orphanPacks, unprotectedPacks } = report;
  const counts = { snapshots, packs, chunks, readBytes, orphanPacks, unprotectedPacks };
  output.summary(
    {
      problems: problems.length,
      readData: share !== undefined,
      readPacks: readPacks.length,
      ...counts,
      blind: isBlind,
    },
    summaryOf(report, share, isBlind),
  );
  return problems.length === 0 ? exitStatus.done : exitStatus.damage;
}

function summaryOf(report: CheckReport, share: number | undefined, isBlind: boolean): string {
  const { problems, snapshots, packs, chunks, readBytes, readPacks, orphanPacks } = report;
  const count = problems.length;
  const found = count === 0 ? 'no damage' : `${count} ${count === 1 ? 'problem' : 'problems'}`;
  const lines = [
    `${found} in ${snapshots} snapshots, ${packs} packs, ${chunks} chunks; ` +
      `${formatSize(readBytes)} read`,
  ];
  if (orphanPacks > 0) {
    lines.push(
      `${orphanPacks} packs belong to no snapshot: harmless, of an interrupted or a running backup`,
    );
  }
  if (report.unprotectedPacks > 0) {
    lines.push(`${report.unprotectedPacks} packs have no parity yet: \`ferry parity\` makes it`);
  }
  if (isBlind) lines.push('without the password: what is stored is whole, if nobody forged it');
  if (count > 0) lines.push('what can be done about it: `ferry check --repair --dry-run` tells');
  if (share === undefined) {
    lines.push('data itself was not read: `ferry check --read-data` does');
  } else if (readPacks.length < packs) {
    lines.push(`data of ${readPacks.length} of ${packs} packs was read and is whole`);
  }
  return lines.join('\n');
}
