/** Writes a snapshot to a target, bit for bit, and tells what that took. */
import type { CodecPool } from '../codec/index.ts';
import { FerryError } from '../core/index.ts';
import { prepareRestore, restore } from '../transfer/backup/index.ts';
import { checkRawTarget, type OnProgress, openRestoreTarget } from '../transfer/index.ts';
import type { Context } from './context.ts';
import { interruption } from './interrupted.ts';
import type { Output } from './output.ts';
import type { Progress } from './progress.ts';
import { repositoryOf, snapshotName } from './repository.ts';
import { formatDuration, formatSize } from './sizes.ts';
import type { Values } from './spec.ts';
import type { restoreSpec } from './table/backup.ts';

export async function restoreSnapshot(
  context: Context,
  values: Values<typeof restoreSpec>,
  pool: CodecPool,
): Promise<void> {
  const { env, output, signal } = context;
  await using repository = await repositoryOf(context);
  const snapshot = repository.resolve(values.snapshot);
  const name = snapshotName(snapshot);
  const { sizeBytes } = snapshot;
  // What cannot be restored is noticed before the target loses what it holds.
  await prepareRestore(repository, snapshot, { signal });
  if (values.format === 'auto') await checkRawTarget(env, values.target);
  const target = await openRestoreTarget(env, values.target, sizeBytes);
  await using device = target.device;
  const startMs = env.clock.monotonicMs();
  try {
    const writing = output.progress('writing', sizeBytes);
    const { writtenBytes, zeroBytes } = await restore(env, repository, snapshot, device, {
      blank: target.zeroed,
      pool,
      signal,
      onProgress: ({ doneBytes }) => writing.update(doneBytes),
      verify: values.verify ? { onProgress: verification(output, sizeBytes) } : undefined,
    });
    const tookMs = env.clock.monotonicMs() - startMs;
    output.summary(
      {
        id: snapshot.id,
        volume: snapshot.volume,
        sizeBytes,
        writtenBytes,
        zeroBytes,
        digest: snapshot.digest,
        verified: values.verify,
        durationMs: Math.round(tookMs),
      },
      [
        `restored ${name} to ${values.target} in ${formatDuration(tookMs)}: `,
        `${formatSize(writtenBytes)} written, ${formatSize(zeroBytes)} `,
        target.zeroed ? 'left as holes' : 'zeroed',
        values.verify ? '; read again and compared: identical' : '',
      ].join(''),
    );
  } catch (error) {
    throw interruption(withTarget(error, `${values.target} does not hold all of ${name}`), signal, {
      message: `${values.target} does not hold all of ${name} yet`,
      hint: 'Run the same command again; it writes the target from its beginning.',
    });
  }
}

/** What goes wrong in the middle leaves a target of full size: nobody must take it for whole. */
function withTarget(error: unknown, state: string): unknown {
  if (!(error instanceof FerryError) || saysItself.has(error.code)) return error;
  const { code, message, hint } = error;
  return new FerryError(code, message, { hint: `${state}: do not use it. ${hint}`, cause: error });
}

/** Nothing was written, the target is told about already, or nobody has failed. */
const saysItself = new Set([
  ...['TRANSFER_TARGET_SIZE', 'TRANSFER_VERIFY', 'TRANSFER_INTERRUPTED'],
  ...['CLI_INTERRUPTED', 'CLI_TERMINATED'],
]);

/** A line of its own, once writing is over. */
function verification(output: Output, sizeBytes: number): OnProgress {
  let line: Progress | undefined;
  return ({ doneBytes }) => {
    line ??= output.progress('verifying', sizeBytes);
    line.update(doneBytes);
  };
}
