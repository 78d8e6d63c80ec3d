/** `ferry check`: looks for damage; prints what is damaged, one object a line. */
import { codecPool } from '../../codec/index.ts';
import { type CheckReport, check, type StoreError } from '../../store/index.ts';
import { exitStatus } from '../exit-codes.ts';
import { repositoryOf } from '../repository.ts';
import { formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { checkSpec } from '../table/repository.ts';

export const run: Run<typeof checkSpec> = async (context, { readData, acceptRollback }) => {
  const { env, output, signal } = context;
  const rollbacks: StoreError[] = [];
  const heads = { onRolledBack: (error: StoreError) => rollbacks.push(error) };
  // What is to be checked is what is stored, not copies of it.
  await using repository = await repositoryOf(context, heads, { cache: false });
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
  const { snapshots, packs, chunks, readBytes, orphanPacks } = report;
  output.summary(
    { problems: problems.length, readData, snapshots, packs, chunks, readBytes, orphanPacks },
    summaryOf(report, readData),
  );
  return problems.length === 0 ? exitStatus.done : exitStatus.damage;
};

function summaryOf(report: CheckReport, readData: boolean): string {
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
  if (!readData) lines.push('data itself was not read: `ferry check --read-data` does');
  return lines.join('\n');
}
