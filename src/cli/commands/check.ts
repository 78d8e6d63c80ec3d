/** `ferry check`: looks for damage; prints what is damaged, one object a line. */
import { codecPool } from '../../codec/index.ts';
import { type CheckReport, check, type StoreError } from '../../store/index.ts';
import { exitStatus } from '../exit-codes.ts';
import { repositoryOf } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { checkSpec } from '../table/repository.ts';

export const run: Run<typeof checkSpec> = async (context, values) => {
  const { readData, acceptRollback, noPassword } = values;
  const { env, output, signal } = context;
  const rollbacks: StoreError[] = [];
  await using repository = await repositoryOf(context, {
    onRolledBack: (error) => rollbacks.push(error),
    withoutPassword: noPassword,
    // What is to be checked is what is stored, not copies of it.
    cache: false,
  });
  if (acceptRollback) {
    await repository.acceptHead();
    for (const { message } of rollbacks.splice(0)) output.warn(`${message}; accepted`);
  }
  await using pool = codecPool(env, readData ? env.workers.parallelism : 0);
  const progress = output.progress('checking', 0);
  const report = await check(repository, {
    readData,
    pool,
    signal,
    found: rollbacks.map((error) => ({ object: 'log', error })),
    onProgress: ({ bytes }) => progress.update(bytes),
  });
  progress.finish();
  const { problems } = report;
  for (const problem of problems) {
    const { object, message } = problem;
    // Most messages begin with the object's name.
    output.item('problem', problem, message.startsWith(object) ? message : `${object}: ${message}`);
  }
  output.summary(
    { problems: problems.length, readData, ...counts(report), blind: repository.isBlind },
    summaryOf(report, { readData, isBlind: repository.isBlind }),
  );
  return problems.length === 0 ? exitStatus.done : exitStatus.damage;
};

function counts({ snapshots, packs, chunks, readBytes, orphanPacks }: CheckReport) {
  return { snapshots, packs, chunks, readBytes, orphanPacks };
}

function summaryOf(
  report: CheckReport,
  { readData, isBlind }: { readData: boolean; isBlind: boolean },
): string {
  const { problems, snapshots, packs, chunks, readBytes, orphanPacks } = report;
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
  if (isBlind) lines.push('without the password: what is stored is whole, if nobody forged it');
  if (!readData) lines.push('data itself was not read: `ferry check --read-data` does');
  return lines.join('\n');
}
