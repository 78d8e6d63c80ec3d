/** Runs garbage collection for a command, with its progress and its outcome. */
import type { GcReport, Repository } from '../store/index.ts';
import type { Context } from './context.ts';
import { interruption } from './interrupted.ts';
import { formatSize } from './sizes.ts';

type Asked = {
  readonly dryRun: boolean;
  readonly similar?: boolean;
  readonly breakPins?: boolean;
};

export async function collectAndTell(
  { output, signal }: Context,
  repository: Repository,
  { dryRun, similar = false, breakPins = false }: Asked,
): Promise<void> {
  let progress = output.progress('looking', 0);
  let step = '';
  let report: GcReport;
  try {
    report = await repository.collectGarbage({
      dryRun,
      similar,
      breakPins,
      signal,
      onProgress: ({ step: now, done }) => {
        if (now !== step) progress = output.progress(now, 0);
        step = now;
        progress.update(done);
      },
    });
  } catch (error) {
    throw interruption(error, signal, {
      message: 'garbage collection was stopped; nothing is lost',
      hint: 'Run the same command again to go on.',
    });
  }
  progress.finish();
  for (const { kind, volume } of report.waitingFor) {
    const who = kind === 'gc' ? 'another run of gc' : `a ${kind} of ${volume}`;
    output.warn(
      `${packs(report.condemnedPacks)} must wait until ${who} has ended: run gc again then`,
    );
  }
  if (report.unprotectedPacks > 0) {
    output.warn(
      `${packs(report.unprotectedPacks)} got no parity, being damaged: run ferry check --repair`,
    );
  }
  if (report.noSpace) {
    output.warn('there was no room to rewrite packs: run gc again once there is some');
  }
  output.summary({ ...report, dryRun }, textOf(report, { dryRun, similar }));
}

function textOf(report: GcReport, { dryRun, similar }: Asked): string {
  const { deadPacks, sparsePacks, copiedBytes, freedBytes, wouldFreeBytes } = report;
  const { similarChunks, similarBytes } = report;
  const found =
    similarChunks > 0
      ? `  similar  ${similarChunks} chunks as patches, ${formatSize(similarBytes)} less`
      : '  similar  nothing of which enough would be gained';
  if (dryRun) {
    const text =
      `${formatSize(wouldFreeBytes)} would be given back: ${packs(deadPacks)} of which nothing ` +
      `is needed, ${packs(sparsePacks)} to be rewritten`;
    return similar ? `${text}\n${found}` : text;
  }
  const lines = [
    `${formatSize(freedBytes)} removed, ${formatSize(copiedBytes)} of that written anew`,
    `  packs    ${deadPacks} without use, ${sparsePacks} rewritten, ${report.droppedPacks} gone`,
  ];
  if (similar) lines.push(found);
  const { deadSessions, orphans, unfinishedFiles } = report;
  if (report.protectedPacks > 0) lines.push(`  parity   made for ${packs(report.protectedPacks)}`);
  if (deadSessions + orphans + unfinishedFiles > 0) {
    lines.push(
      `  left by dead runs: ${deadSessions} sessions, ${orphans} objects, ` +
        `${unfinishedFiles} unfinished files`,
    );
  }
  return lines.join('\n');
}

function packs(count: number): string {
  return count === 1 ? '1 pack' : `${count} packs`;
}
