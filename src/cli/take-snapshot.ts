/** Takes a snapshot of a source and tells what that took. */
import { getPriority, setPriority } from 'node:os';
import { type CodecPool, codecPool } from '../codec/index.ts';
import { messageOf } from '../core/index.ts';
import type { Snapshot, UnreadableExtent } from '../store/index.ts';
import { auditWords, type Identity } from '../track/index.ts';
import {
  backupChanges,
  backupThreads,
  type ChangesResult,
  checkOwner,
} from '../transfer/backup/index.ts';
import { openBackupSource } from './backup-source.ts';
import type { Context } from './context.ts';
import { exitStatus } from './exit-codes.ts';
import { interruption } from './interrupted.ts';
import type { Output } from './output.ts';
import { repositoryOf, snapshotFields, snapshotName } from './repository.ts';
import { formatDuration, formatRate, formatSize } from './sizes.ts';
import type { Values } from './spec.ts';
import type { backupSpec } from './table/backup.ts';
import { auditFields, trustOf, warnOfTrust } from './trust.ts';

/** More unreadable places than these are only counted; `ferry show` lists them all. */
const UNREADABLE_SHOWN_MAX = 20;

/** Beside an export: whoever writes through it goes first, where processors are scarce. */
const NICE_BESIDE_WRITERS = 10;

/** The exit status. `early` are threads that were started before it was known what they are for. */
export async function takeSnapshot(
  context: Context,
  values: Values<typeof backupSpec>,
  early: CodecPool | undefined,
): Promise<number> {
  const { env, output, signal } = context;
  const { source, name, tag, audit, changes, compression } = values;
  await using from = await openBackupSource(context, source, values);
  const { device } = from;
  const isBesideWriters = from.running !== undefined;
  if (isBesideWriters) {
    setPriority(Math.max(getPriority(), NICE_BESIDE_WRITERS));
    await early?.[Symbol.asyncDispose](); // Threads are as nice as who has started them.
  }
  const given = isBesideWriters ? undefined : early;
  await using own =
    given === undefined
      ? codecPool(env, backupThreads(env, device), { callerHelps: true })
      : undefined;
  const pool = given ?? own!;
  await using repository = await repositoryOf(context);
  const volume = name ?? from.volume;
  const { origin } = from;
  if (name === undefined) checkOwner(repository, volume, origin);
  if (from.warning !== undefined) output.warn(`${source}: ${from.warning}`);
  const before = await from.identify();
  const startMs = env.clock.monotonicMs();
  const progress = output.progress('reading', device.sizeBytes);
  let result: ChangesResult;
  try {
    result = await backupChanges(env, repository, device, {
      volume,
      origin,
      sources: from.changeSources(repository, volume),
      choice: changes,
      trust: await trustOf(context, volume),
      auditShare: audit,
      tags: tag,
      compression,
      pool,
      signal,
      onFound: ({ passed }) => {
        // It will not be read behind the back of its export: this is why there is nothing to read.
        const refusal = passed.find(({ view, source }) => !view && source === 'tracker');
        if (from.running && refusal) output.warn(`its export gives no moment: ${refusal.why}`);
      },
      onProgress: ({ doneBytes }) => progress.update(doneBytes),
    });
  } catch (error) {
    throw interruption(error, signal, {
      message: `no snapshot of ${volume} was made`,
      hint: 'Packs that were finished are kept; run the same command again to take them up.',
    });
  }
  progress.finish();
  if (result.damagedParent !== undefined) {
    const name = snapshotName(result.damagedParent);
    output.warn(`${name} is damaged and was not compared with; run \`ferry check\``);
  }
  warnOfTrust(output, result);
  warnOfSize(output, source, result);
  const after = await from.identify();
  if (!result.isOneMoment && isWritten(before, after)) {
    output.warn(`${source} was written while it was read: the snapshot is not one moment of it`);
  }
  if (result.finishFailure !== undefined) {
    const why = messageOf(result.finishFailure);
    output.warn(`the snapshot is there, but its source of changes did not take note of it: ${why}`);
  }
  if (result.parityTrouble !== undefined) {
    const { code, message } = result.parityTrouble;
    const remedy = code === 'STORE_DAMAGED' ? 'check --read-data' : 'parity';
    output.warn(`its packs have no parity yet (${message}): run ferry ${remedy}`);
  }
  tell(output, result, env.clock.monotonicMs() - startMs);
  if (result.untoldBy !== undefined) return exitStatus.untoldChange;
  if (result.snapshot.unreadable.length === 0) return exitStatus.done;
  warnOfUnreadable(context, source, result.snapshot);
  return exitStatus.partial;
}

function tell(output: Output, result: ChangesResult, tookMs: number): void {
  const { snapshot, parent, stats, readBytes, skippedBytes, adoptedPacks } = result;
  const { sizeBytes, changedBytes, storedBytes, unreadable } = snapshot;
  const passed = result.passed.filter(({ reason }) => parent !== undefined || reason !== 'first');
  const reason = reasonOf(result);
  const rate = formatRate((readBytes * 1000) / Math.max(1, tookMs));
  const lines = [
    `${snapshotName(snapshot)}: ${formatSize(sizeBytes)} backed up in ${formatDuration(tookMs)}`,
    `  source   ${reason}`,
    ...(result.isOneMoment ? ['  moment   as the volume was when this backup asked for it'] : []),
    ...(result.audit === undefined ? [] : [`  audit    ${auditWords(result.audit)}`]),
    ...passed.map((source) => `  passed   ${source.source}: ${source.why}`),
    `  read     ${formatSize(readBytes)} (${rate}); ${formatSize(skippedBytes)} of holes skipped`,
    ...sizeLines(sizeBytes, parent),
    `  changed  ${formatSize(changedBytes)}${parent ? ` since ${snapshotName(parent)}` : ''}`,
    `  sent     ${formatSize(stats.newBytes)} new; ${formatSize(stats.knownBytes)} known already`,
    `  stored   ${formatSize(storedBytes)}`,
  ];
  if (adoptedPacks > 0) {
    lines.push(`  resumed  took up ${packs(adoptedPacks)} of a run that was interrupted`);
  }
  output.summary(
    {
      ...snapshotFields(snapshot),
      parent: parent?.id ?? null,
      parentSizeBytes: parent?.sizeBytes ?? null,
      reason,
      ...auditFields(result),
      oneMoment: result.isOneMoment,
      passed: result.passed.map(({ source, reason: code, why }) => ({ source, code, why })),
      readBytes,
      skippedBytes,
      newBytes: stats.newBytes,
      newChunks: stats.newChunks,
      knownBytes: stats.knownBytes,
      adoptedPacks,
      durationMs: Math.round(tookMs),
      unreadable,
    },
    lines.join('\n'),
  );
}

function reasonOf({ reason, snapshot, parent }: ChangesResult): string {
  const { source } = snapshot;
  if (parent === undefined) return reason;
  const holes = source === 'checksum' ? '; holes skipped as the source names them' : '';
  return `${source}: ${reason}${holes}`;
}

/** Whether a file changed between two looks; of a block device nobody can tell. */
function isWritten(before: Identity | undefined, after: Identity | undefined): boolean {
  if (before?.kind !== 'file') return false;
  return before.modifiedMs !== after?.modifiedMs || before.sizeBytes !== after.sizeBytes;
}

function sizeLines(sizeBytes: number, parent: Snapshot | undefined): string[] {
  if (parent === undefined || parent.sizeBytes === sizeBytes) return [];
  const verb = parent.sizeBytes < sizeBytes ? 'grew' : 'shrank';
  return [`  size     ${verb} from ${formatSize(parent.sizeBytes)} to ${formatSize(sizeBytes)}`];
}

/** Of such a difference one may doubt that it is the same disk. */
const SIZE_RATIO_DOUBTED = 2;

function warnOfSize(output: Output, source: string, { snapshot, parent }: ChangesResult): void {
  if (parent === undefined) return;
  const sizes = [parent.sizeBytes, snapshot.sizeBytes] as const;
  if (Math.max(...sizes) < SIZE_RATIO_DOUBTED * Math.min(...sizes)) return;
  if (sizes[0] === sizes[1]) return;
  const [before, now] = sizes.map(formatSize);
  const question = `is ${source} still the disk that ${snapshot.volume} is about?`;
  output.warn(`the size was ${before} at the last backup and is ${now} now: ${question}`);
}

function packs(count: number): string {
  return count === 1 ? '1 pack' : `${count} packs`;
}

function warnOfUnreadable({ output }: Context, source: string, snapshot: Snapshot): void {
  const { unreadable } = snapshot;
  const bytes = unreadable.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  const shown = unreadable.slice(0, UNREADABLE_SHOWN_MAX).map(placeOf);
  const rest = unreadable.length - shown.length;
  if (rest > 0) shown.push(`and ${rest} more: \`ferry show ${snapshotName(snapshot)}\``);
  output.warn(
    [`${formatSize(bytes)} of ${source} could not be read and are zeroes:`, ...shown].join('\n  '),
  );
}

function placeOf({ offsetBytes, lengthBytes }: UnreadableExtent): string {
  return `${formatSize(lengthBytes)} at byte ${offsetBytes}`;
}
