/** `ferry export`: serves a file, a block device or memory over NBD; several as a group. */
import { resolve } from 'node:path';
import { trackerDirectory } from '../../transfer/export/index.ts';
import { Lease, ReplicateError } from '../../transfer/replicate/index.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { type ExportedVolume, namedSources, openVolume } from '../exported-volume.ts';
import { nodeOf } from '../node.ts';
import { exportPromoted, promotedVolume } from '../promoted-export.ts';
import { type ReplicatedExport, replicatedExport } from '../replicated-export.ts';
import { type Exported, serveUntilStopped } from '../serving.ts';
import type { Run, Values } from '../spec.ts';
import type { exportSpec } from '../table/serving.ts';
import { serveTlsOf } from '../tls-credentials.ts';

/** Between two epochs. */
const INTERVAL_MS = 1_000;

export const run: Run<typeof exportSpec> = async (context, values) => {
  const { env, output } = context;
  const { readOnly, directIo, threads, group } = values;
  const [source] = values.sources;
  const promoted = values.sources.length > 1 ? undefined : promotedVolume(source!);
  if (promoted !== undefined) return await exportPromoted(context, promoted, values);
  const all = namedSources(values);
  for (const one of all) checkReplicated(values, one.source);
  const tls = await serveTlsOf(env.files, values, 'ferry export');
  const leases: Lease[] = [];
  let replicated: ReplicatedExport | undefined;
  const surroundings = {
    permit: () => waitOf(leases),
    providers: () => replicated?.state().fields.providers ?? [],
  };
  await using open = new AsyncDisposableStack();
  const volumes: ExportedVolume[] = [];
  for (const one of all)
    volumes.push(open.use(await openVolume(context, values, one, surroundings)));
  replicated = await replicatedOf(context, values, { volumes, leases });
  const [first, ...others] = volumes.map(({ tracked, base, name }, at): Exported => {
    const device = replicated?.devices[at] ?? tracked?.device ?? base;
    return { device, name, description: base.name };
  });
  const isDurable = volumes.every(({ base }) => base.durable);
  const isTracked = volumes.every(({ tracked }) => tracked !== undefined);
  try {
    await serveUntilStopped(context, {
      exports: [first!, ...others],
      socketName: group,
      readOnly,
      listen: values.listen,
      tls,
      threads: threads > 1 ? { count: threads, source: source!, directIo } : undefined,
      fields: { durable: isDurable, tracked: isTracked, ...(group !== undefined && { group }) },
      note: `${isDurable ? '' : ', nothing survives a power cut'}${noteOf(volumes)}`,
      state: replicated?.state,
    });
  } finally {
    await replicated?.finish();
  }
  const refusal = volumes.map(({ tracked }) => tracked?.gate.refusal).find((one) => one);
  if (refusal !== undefined) {
    const { message, hint } = refusal;
    throw new ReplicateError('REPLICATE_FENCED', message, { hint });
  }
  const name = group ?? first!.name;
  output.summary({ state: 'stopped', name }, `${name} is served no longer`);
};

/** While one provider was not heard for too long. */
function waitOf(leases: readonly Lease[]): Promise<void> | undefined {
  for (const lease of leases) {
    const wait = lease.permit();
    if (wait !== undefined) return wait;
  }
  return undefined;
}

function checkReplicated(values: Values<typeof exportSpec>, source: string): void {
  const { to, threads, sync, interval, fence, readOnly, untracked } = values;
  if (to.length === 0) {
    if (sync === undefined && interval === undefined && fence === undefined) return;
    throw usageError('--sync, --fence and --interval need --to: where?', 'ferry export');
  }
  const why = source.startsWith('memory:')
    ? 'memory is forgotten at the end, and cannot be replicated'
    : threads > 1 || readOnly || untracked
      ? '--to excludes --threads, --read-only and --untracked: changes must be tracked'
      : undefined;
  if (why !== undefined) throw usageError(why, 'ferry export');
}

async function replicatedOf(
  context: Context,
  values: Values<typeof exportSpec>,
  { volumes, leases }: { readonly volumes: readonly ExportedVolume[]; readonly leases: Lease[] },
): Promise<ReplicatedExport | undefined> {
  const { to, interval, sync, lane, momentRoom, fence, group } = values;
  if (to.length === 0) return undefined;
  const { clock } = context.env;
  const state = resolve(context.settings.stateDirectory);
  const [first, ...others] = volumes.flatMap((one) => {
    const { name: volume, tracked: exported, authority, file } = one;
    if (exported === undefined || authority === undefined) return [];
    const own = fence === undefined ? [] : to.map(() => new Lease(clock, fence));
    leases.push(...own);
    const directory = trackerDirectory(state, volume);
    return [{ volume, exported, authority, directory, file, leases: own }];
  });
  if (first === undefined) return undefined;
  return await replicatedExport(context, {
    ...{ volumes: [first, ...others], group, to, lane, syncMs: sync },
    intervalMs: interval ?? INTERVAL_MS,
    roomBytesMax: momentRoom,
    node: await nodeOf(context, values),
  });
}

function noteOf(volumes: readonly ExportedVolume[]): string {
  const tracked = volumes.flatMap((one) => (one.tracked === undefined ? [] : [one.tracked]));
  if (tracked.length < volumes.length) return '';
  const unsure = tracked.reduce((sum, { unsureRegions }) => sum + unsureRegions, 0);
  const crashed = unsure > 0 ? `, ${unsure} regions in use at a crash` : '';
  const why = tracked.map(({ whyNotVouched }) => whyNotVouched).find((one) => one !== undefined);
  return `, tracked${crashed}${why === undefined ? '' : ` (${why})`}`;
}
