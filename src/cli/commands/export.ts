/** `ferry export`: serves a file, a block device or memory over NBD. */
import { resolve } from 'node:path';
import { isUri, messageOf } from '../../core/index.ts';
import type { Device, Permit } from '../../device/index.ts';
import { EXPORT_NAME_BYTES_MAX } from '../../nbd/index.ts';
import { checkVolumeName } from '../../store/index.ts';
import {
  type TrackedExport,
  trackedExport,
  trackerDirectory,
} from '../../transfer/export/index.ts';
import {
  defaultVolumeName,
  isPath,
  isTakenForQcow2,
  openDisk,
  openSource,
  originOf,
} from '../../transfer/index.ts';
import { type AgentAuthority, Lease, ReplicateError } from '../../transfer/replicate/index.ts';
import { authorityOf } from '../authority.ts';
import type { Context } from '../context.ts';
import { usageError } from '../errors.ts';
import { exportPromoted, promotedVolume } from '../promoted-export.ts';
import { type ReplicatedExport, replicatedExport } from '../replicated-export.ts';
import { serveUntilStopped } from '../serving.ts';
import type { Run, Values } from '../spec.ts';
import { makeStateDirectory } from '../state-directory.ts';
import type { exportSpec } from '../table/serving.ts';
import { serveTlsOf } from '../tls-credentials.ts';

/** Between two epochs. */
const INTERVAL_MS = 1_000;

export const run: Run<typeof exportSpec> = async (context, values) => {
  const { env, output } = context;
  const { source, readOnly, directIo, threads } = values;
  const promoted = promotedVolume(source);
  if (promoted !== undefined) return await exportPromoted(context, promoted, values);
  checkReplicated(values);
  if (threads > 1 && isUri(source)) {
    throw usageError('--threads is for files, block devices and memory', 'ferry export');
  }
  if (directIo && !isPath(source)) {
    throw usageError(`--direct-io is for files and block devices, not ${source}`, 'ferry export');
  }
  const isQcow2 = isTakenForQcow2(source, values.format);
  if (isQcow2 && (!readOnly || directIo || threads > 1)) {
    const only = 'is a qcow2 image: it can be served with --read-only and by one thread';
    throw usageError(`${source} ${only}, or as the bytes it has, --format raw`, 'ferry export');
  }
  const name = values.name ?? defaultVolumeName(source);
  checkName(name);
  const tls = await serveTlsOf(env.files, values, 'ferry export');
  await using image = isQcow2 ? await openDisk(env, source, { format: 'qcow2' }) : null;
  await using file = isQcow2 ? null : await openSource(env, source, { readOnly, directIo });
  const base = (image?.device ?? file)!;
  const authority = await mayWrite(context, values, name);
  const leases: Lease[] = [];
  const permit = () => waitOf(leases);
  await using exported = await trackedOf(context, values, { base, permit });
  const replicated = await replicatedOf(context, values, { exported, authority, leases });
  const device = replicated?.device ?? exported?.device ?? base;
  try {
    await serveUntilStopped(context, {
      device,
      name,
      description: base.name,
      readOnly,
      listen: values.listen,
      tls,
      threads: threads > 1 ? { count: threads, source, directIo } : undefined,
      fields: { durable: device.durable, tracked: exported !== undefined },
      note: `${device.durable ? '' : ', nothing survives a power cut'}${noteOf(exported)}`,
      state: replicated?.state,
    });
  } finally {
    await replicated?.finish();
  }
  if (exported?.gate.refusal !== undefined) {
    const { message, hint } = exported.gate.refusal;
    throw new ReplicateError('REPLICATE_FENCED', message, { hint });
  }
  output.summary({ state: 'stopped', name }, `${name} is served no longer`);
};

/** REPLICATE_FENCED if the volume is written elsewhere; undefined for what is no volume. */
async function mayWrite(
  context: Context,
  { source, to, readOnly }: Values<typeof exportSpec>,
  name: string,
): Promise<AgentAuthority | undefined> {
  if (source.startsWith('memory:') || !isVolumeName(name)) return undefined;
  const authority = await authorityOf(context, name);
  // One that was only offered is asked for at the provider.
  const mayAsk = to.length > 0 && authority.standing.role === 'stopped';
  if (!readOnly && !mayAsk) authority.check();
  return authority;
}

function isVolumeName(name: string): boolean {
  try {
    checkVolumeName(name);
    return true;
  } catch {
    return false;
  }
}

/** While one provider was not heard for too long. */
function waitOf(leases: readonly Lease[]): Promise<void> | undefined {
  for (const lease of leases) {
    const wait = lease.permit();
    if (wait !== undefined) return wait;
  }
  return undefined;
}

/** No client may ask for a longer one, and none sees an empty one in a list. */
function checkName(name: string): void {
  const lengthBytes = Buffer.byteLength(name);
  if (lengthBytes > 0 && lengthBytes <= EXPORT_NAME_BYTES_MAX) return;
  const limit = `an export's name has 1 to ${EXPORT_NAME_BYTES_MAX} bytes, not ${lengthBytes}`;
  throw usageError(`--name: ${limit}`, 'ferry export');
}

function checkReplicated({ to, source, threads, ...values }: Values<typeof exportSpec>): void {
  const { sync, interval, fence, readOnly, untracked } = values;
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

type Parts = {
  readonly exported: TrackedExport | undefined;
  readonly authority: AgentAuthority | undefined;
  readonly leases: Lease[];
};

async function replicatedOf(
  context: Context,
  { source, name, to, interval, sync, lane, momentRoom, fence }: Values<typeof exportSpec>,
  { exported, authority, leases }: Parts,
): Promise<ReplicatedExport | undefined> {
  if (exported === undefined || authority === undefined || to.length === 0) return undefined;
  if (fence !== undefined) leases.push(...to.map(() => new Lease(context.env.clock, fence)));
  const volume = name ?? defaultVolumeName(source);
  return await replicatedExport(context, {
    ...{ volume, exported, to, lane, syncMs: sync, intervalMs: interval ?? INTERVAL_MS },
    directory: trackerDirectory(resolve(context.settings.stateDirectory), volume),
    roomBytesMax: momentRoom,
    ...{ authority, leases },
  });
}

/** A volume with a name is tracked, unless nothing is written or nobody could take the marks up. */
async function trackedOf(
  { env, output, settings }: Context,
  {
    source,
    name: written,
    to,
    readOnly,
    untracked,
    threads,
    momentRoom,
  }: Values<typeof exportSpec>,
  { base, permit }: { readonly base: Device; readonly permit: Permit },
): Promise<TrackedExport | undefined> {
  const isForgotten = source.startsWith('memory:');
  if (readOnly || untracked || isForgotten) return undefined;
  if (written === undefined && to.length === 0) return undefined;
  const name = written ?? defaultVolumeName(source);
  if (threads > 1) {
    output.warn('with --threads the export is not tracked: backups will compare everything');
    return undefined;
  }
  try {
    checkVolumeName(name);
  } catch (error) {
    if (to.length > 0) throw error;
    output.warn(`the export is not tracked: ${messageOf(error)}`);
    return undefined;
  }
  const exported = await trackedExport(env, {
    ...{ base, permit },
    volume: name,
    sourcePath: isUri(source) ? undefined : resolve(source),
    origin: originOf(source),
    stateDirectory: resolve(settings.stateDirectory),
    roomBytesMax: momentRoom,
    makeDirectory: (path) => makeStateDirectory(env.files, path),
    onLost: ({ message, hint }) =>
      output.warn(`changes are not tracked any more: ${message}\n  ${hint}`),
    onTrouble: (what, error) => output.detail(`${what}: ${String(error)}`),
  });
  if (exported.profileLost !== undefined) output.warn(`${exported.profileLost}; it begins anew`);
  return exported;
}

function noteOf(exported: TrackedExport | undefined): string {
  if (exported === undefined) return '';
  const { unsureRegions, whyNotVouched } = exported;
  const crashed = unsureRegions > 0 ? `, ${unsureRegions} regions in use at a crash` : '';
  return `, tracked${crashed}${whyNotVouched === undefined ? '' : ` (${whyNotVouched})`}`;
}
