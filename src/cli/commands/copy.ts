/** `ferry copy`: copies snapshots from one repository to another, and tells which. */
import { messageOf } from '../../core/index.ts';
import type { Repository, Snapshot } from '../../store/index.ts';
import {
  type CopyReport,
  copy,
  type Estimate,
  estimates,
  type Refusal,
  type Selection,
  type SnapshotCopy,
  select,
} from '../../transfer/copy/index.ts';
import { TransferError } from '../../transfer/index.ts';
import type { Context } from '../context.ts';
import { exitStatus } from '../exit-codes.ts';
import { interruption } from '../interrupted.ts';
import type { Output } from '../output.ts';
import {
  formatTime,
  repositoryAt,
  snapshotFields,
  snapshotName,
  unlockOptions,
  unlockSecond,
} from '../repository.ts';
import { formatDuration, formatSize } from '../sizes.ts';
import type { Run, Values } from '../spec.ts';
import type { copySpec } from '../table/copy.ts';
import { textTable } from '../text-table.ts';

export const run: Run<typeof copySpec> = async (context, values) => {
  await using source = await repositoryAt(context, values.from, unlockOptions(context));
  const endpoint = values.toEndpoint;
  const unlock = unlockSecond(context, values.to);
  await using destination = await repositoryAt(context, values.to, unlock, endpoint);
  const selection = select(source, destination, values.names);
  if (!values.decrypt) checkEncrypted(source, destination);
  if (values.dryRun) {
    await tellPlan(context, source, destination, selection);
    return exitStatus.done;
  }
  context.env.workers.returnLargeMemory?.();
  const startMs = context.env.clock.monotonicMs();
  const report = await copyAndTell(context, source, destination, selection, values);
  warnOfOrder(context.output, selection);
  const tookMs = context.env.clock.monotonicMs() - startMs;
  context.output.summary(...outcome(report, selection, tookMs));
  const isDamaged = report.refused.some(({ reason }) => reason === 'damaged');
  return isDamaged ? exitStatus.damage : exitStatus.done;
};

/** Nobody's secrets are laid open by a mistyped path, or by whoever replaced a repository. */
function checkEncrypted(source: Repository, destination: Repository): void {
  const [from, to] = [source.objects, destination.objects];
  if (from.sealer.mode === 'plain' || to.sealer.mode !== 'plain') return;
  const message = `${from.name} is encrypted, and ${to.name} is not; nothing was copied`;
  throw new TransferError('TRANSFER_PLAIN_TARGET', message, {
    hint: 'Make the second one with `ferry init --encrypt`, or say --decrypt if that is meant.',
  });
}

async function copyAndTell(
  { env, output, signal }: Context,
  source: Repository,
  destination: Repository,
  { wanted }: Selection,
  { compression }: Values<typeof copySpec>,
): Promise<CopyReport> {
  let doneCount = 0;
  try {
    return await copy(env, source, destination, wanted, {
      compression,
      signal,
      onProgress(snapshot) {
        const progress = output.progress(snapshotName(snapshot), snapshot.sizeBytes);
        return ({ doneBytes }) => progress.update(doneBytes);
      },
      onCopied(done) {
        doneCount++;
        tellCopied(output, done);
      },
      onRefused: (refusal) => tellRefused(output, refusal),
    });
  } catch (error) {
    throw interruption(error, signal, {
      message: `${doneCount} of ${counted(wanted.length)} copied`,
      hint: 'Packs that were finished are kept; run the same command again to go on.',
    });
  }
}

function tellCopied(output: Output, done: SnapshotCopy): void {
  const { snapshot, copy: made, base, readBytes, newBytes, foundBytes, adoptedPacks } = done;
  const fields = {
    ...snapshotFields(made),
    ...{ base: base?.id ?? null, readBytes, newBytes, foundBytes, adoptedPacks },
  };
  const took = adoptedPacks > 0 ? `; took up ${adoptedPacks} packs of a run that was cut off` : '';
  const text =
    `${snapshotName(snapshot)} copied as ${snapshotName(made)}: ${formatSize(readBytes)} read, ` +
    `${formatSize(newBytes)} new, ${formatSize(made.storedBytes)} stored${took}`;
  output.status({ state: 'copied', ...fields }, text);
}

function tellRefused(output: Output, { snapshot, reason, error }: Refusal): void {
  const message = messageOf(error);
  const { id, volume } = snapshot;
  const text = `${snapshotName(snapshot)} was not copied: ${message}`;
  output.item('refused', { id, volume, reason, message }, text);
}

function warnOfOrder(output: Output, { late }: Selection): void {
  for (const snapshot of late) {
    const name = snapshotName(snapshot);
    output.warn(`${name} is older than others of its volume there, and the latest one there now`);
  }
}

function outcome(
  { copied, refused, presentCount: meanwhile }: CopyReport,
  { presentCount: before, older }: Selection,
  tookMs: number,
) {
  const presentCount = before + meanwhile;
  const sum = (of: (done: SnapshotCopy) => number) => copied.reduce((all, one) => all + of(one), 0);
  const fields = {
    ...{ copied: copied.length, refused: refused.length, present: presentCount },
    older: older.length,
    readBytes: sum(({ readBytes }) => readBytes),
    newBytes: sum(({ newBytes }) => newBytes),
    storedBytes: sum((done) => done.copy.storedBytes),
    durationMs: Math.round(tookMs),
    dryRun: false,
  };
  const { readBytes, storedBytes } = fields;
  const lines = [
    `${counted(copied.length)} copied in ${formatDuration(tookMs)}: ` +
      `${formatSize(readBytes)} read, ${formatSize(storedBytes)} stored`,
    ...restLines(presentCount, older),
  ];
  if (refused.length > 0) lines.push(`  ${counted(refused.length)} refused`);
  return [fields, lines.join('\n')] as const;
}

function restLines(presentCount: number, older: readonly Snapshot[]): string[] {
  const lines: string[] = [];
  if (presentCount > 0) lines.push(`  ${counted(presentCount)} there already`);
  if (older.length > 0) {
    const what = 'left out, older than the newest one there: name what you want of them';
    lines.push(`  ${counted(older.length)} ${what}`);
  }
  return lines;
}

async function tellPlan(
  { output, signal }: Context,
  source: Repository,
  destination: Repository,
  { wanted, presentCount, older }: Selection,
): Promise<void> {
  const rows: Estimate[] = [];
  for await (const row of estimates(source, destination, wanted, { signal })) {
    rows.push(row);
    const { missingBytes, snapshot } = row;
    if (!output.options.json) continue;
    output.item('snapshot', { ...snapshotFields(snapshot), missingBytes }, '');
  }
  if (rows.length > 0) output.text(tableOf(rows));
  const missingBytes = rows.reduce((sum, row) => sum + row.missingBytes, 0);
  const fields = { copied: rows.length, present: presentCount, older: older.length };
  const first = `${counted(rows.length)} would be copied, ${formatSize(missingBytes)} read at most`;
  const text = [first, ...restLines(presentCount, older)].join('\n');
  output.summary({ ...fields, missingBytes, dryRun: true }, text);
}

function tableOf(rows: readonly Estimate[]): string {
  return textTable(
    [
      { title: 'SNAPSHOT' },
      { title: 'TIME' },
      { title: 'SIZE', align: 'right' },
      { title: 'MISSING', align: 'right' },
      { title: 'TAGS' },
    ],
    rows.map(({ snapshot, missingBytes }) => [
      snapshotName(snapshot),
      formatTime(snapshot.time),
      formatSize(snapshot.sizeBytes),
      formatSize(missingBytes),
      snapshot.tags.join(' '),
    ]),
  );
}

function counted(count: number): string {
  return count === 1 ? '1 snapshot' : `${count} snapshots`;
}
