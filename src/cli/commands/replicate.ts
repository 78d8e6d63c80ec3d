/** `ferry replicate`: keeps a volume present at a provider. */
import { codecPool } from '../../codec/index.ts';
import { messageOf } from '../../core/index.ts';
import { connectProvider } from '../../service/index.ts';
import { checkVolumeName } from '../../store/index.ts';
import { fenceExport, type RunningExport } from '../../transfer/export/index.ts';
import {
  comparedSource,
  type EpochReport,
  type EpochSource,
  type Held,
  type KeepResult,
  keepReplica,
  Mandate,
} from '../../transfer/replicate/index.ts';
import { authorityOf } from '../authority.ts';
import { type BackupSource, openBackupSource } from '../backup-source.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { exportedSource } from '../exported-source.ts';
import { interruption } from '../interrupted.ts';
import { nodeOf } from '../node.ts';
import type { Progress } from '../progress.ts';
import { snapshotName } from '../repository.ts';
import { reverse } from '../reverse.ts';
import { formatDuration, formatSize } from '../sizes.ts';
import type { Run } from '../spec.ts';
import type { replicateSpec } from '../table/replication.ts';

/** A source is taken as it is: raw, and whole. */
const noOptions = {
  format: 'raw',
  bitmap: undefined,
  imageSnapshot: undefined,
  rbdDiff: undefined,
} as const;

const INTERVAL_MS = 1_000;
/** `--once` without success for so long ends with what was last in its way. */
const GIVE_UP_MS = 120_000;

export const run: Run<typeof replicateSpec> = async (context: Context, values) => {
  const { env, output, signal } = context;
  const { source, to, once, lane } = values;
  const ways = [once, values.reverse, values.interval !== undefined];
  if (ways.filter((isWanted) => isWanted).length > 1) {
    throw usageError('--once, --reverse and --interval exclude each other', 'ferry replicate');
  }
  if (values.reverse) return await reverse(context, values);
  const node = await nodeOf(context, values);
  await using from = await openBackupSource(context, source, noOptions);
  const name = values.name ?? from.volume;
  checkVolumeName(name);
  const mandate = await mandateOf(context, from.running, name);
  await using pool = codecPool(env, Math.ceil(env.workers.parallelism / 2));
  const startMs = env.clock.monotonicMs();
  const progress = output.progress('comparing', from.device.sizeBytes);
  let result: KeepResult;
  try {
    result = await keepReplica(env, {
      ...{ name, source: epochsOf(context, from, name, progress), signal, mandate, pool },
      ...(once ? { giveUpMs: GIVE_UP_MS } : { intervalMs: values.interval ?? INTERVAL_MS }),
      connect: () => connectProvider(env, { ...to, ...node, lane }),
      onEpoch: (report, held) => tellEpoch(context, name, report, held),
      onTrouble: (error, againMs) =>
        output.warn(`${messageOf(error)}; trying again in ${formatDuration(againMs)}`),
    });
  } catch (error) {
    if (signal.aborted && !once) {
      output.summary({ state: 'stopped', volume: name }, `${name} is replicated no longer`);
      return;
    }
    throw interruption(error, signal, {
      message: `nothing of ${name} was committed`,
      hint: 'Run the same command again: what the provider has is not sent again.',
    });
  }
  progress.finish();
  tellEnd(context, name, result, env.clock.monotonicMs() - startMs);
};

/** REPLICATE_FENCED if the volume is written elsewhere; its running export then hears of it. */
async function mandateOf(
  context: Context,
  running: RunningExport | undefined,
  name: string,
): Promise<Mandate> {
  const { env } = context;
  // What may be fenced are the writers: those of the export, or of an export by this name to come.
  const authority = await authorityOf(context, running?.volume ?? name);
  const { clock } = env;
  return new Mandate({
    ...{ clock, authority },
    onFenced: async (error) => {
      if (running !== undefined) await fenceExport(env, running, error);
    },
  });
}

function epochsOf(
  context: Context,
  from: BackupSource,
  name: string,
  progress: Progress,
): EpochSource {
  if (from.running !== undefined) return exportedSource(context.env, from.running, name);
  const { clock } = context.env;
  return comparedSource(from.device, clock, ({ doneBytes }) => progress.update(doneBytes));
}

function fieldsOf(report: EpochReport | undefined) {
  if (report === undefined) return {};
  const { dataBytes, knownBytes, zeroBytes, sameBytes, sentBytes } = report;
  return { dataBytes, knownBytes, zeroBytes, sameBytes, sentBytes };
}

function tellEpoch({ output }: Context, name: string, report: EpochReport, { epoch }: Held): void {
  const fields = { state: 'epoch', volume: name, epoch, ...fieldsOf(report) };
  const { dataBytes, sentBytes } = report;
  const what = `${formatSize(dataBytes)} changed, ${formatSize(sentBytes)} sent`;
  output.status(fields, `${name} is at epoch ${epoch} there: ${what}`);
}

function tellEnd(
  { output }: Context,
  name: string,
  { report, held, snapshot }: KeepResult,
  tookMs: number,
): void {
  const { epoch, replica } = held;
  const fields = { volume: name, epoch, replica, ...snapshot, ...fieldsOf(report) };
  const made =
    snapshot === undefined ? '' : `, ${snapshotName({ volume: name, id: snapshot.snapshot })}`;
  const lines = [`${name}: epoch ${epoch} is there${made}, in ${formatDuration(tookMs)}`];
  if (report !== undefined) {
    lines.push(
      `  new      ${formatSize(report.dataBytes)}, sent as ${formatSize(report.sentBytes)}`,
      `  known    ${formatSize(report.knownBytes)}; ${formatSize(report.zeroBytes)} of zeroes`,
      `  same     ${formatSize(report.sameBytes)}`,
    );
  }
  output.summary({ ...fields, durationMs: Math.round(tookMs) }, lines.join('\n'));
}
