/** One volume that `ferry export` serves: opened, tracked if it can be, and perhaps written. */
import { resolve } from 'node:path';
import type { FileName } from '../codec/index.ts';
import { isUri, messageOf } from '../core/index.ts';
import type { Device, Permit } from '../device/index.ts';
import { EXPORT_NAME_BYTES_MAX } from '../nbd/index.ts';
import { checkVolumeName } from '../store/index.ts';
import type { Identity } from '../track/index.ts';
import { identityOf, type TrackedExport, trackedExport } from '../transfer/export/index.ts';
import {
  defaultVolumeName,
  isPath,
  isTakenForQcow2,
  openDisk,
  openSource,
  originOf,
} from '../transfer/index.ts';
import {
  type AgentAuthority,
  GROUP_MEMBERS_MAX,
  isGroupName,
} from '../transfer/replicate/index.ts';
import { authorityOf } from './authority.ts';
import type { Context } from './context.ts';
import { usageError } from './errors.ts';
import type { ProviderState } from './provider-state.ts';
import type { Values } from './spec.ts';
import { makeStateDirectory } from './state-directory.ts';
import type { exportSpec } from './table/serving.ts';

type ExportValues = Values<typeof exportSpec>;

const GROUP_NAME_FORM = '1 to 64 letters, digits, dots, hyphens and underscores';

export type Named = {
  readonly source: string;
  readonly name: string;
  /** A person gave it that name. */
  readonly isNamed: boolean;
};

export type ExportedVolume = AsyncDisposable &
  Named & {
    readonly base: Device;
    /** Undefined for what is no volume. */
    readonly authority: AgentAuthority | undefined;
    readonly tracked: TrackedExport | undefined;
    /** What `base` is made of, byte for byte, through the page cache. */
    readonly file: FileName | undefined;
  };

/** VOL=SOURCE with --group; otherwise one SOURCE, and its name from --name or from itself. */
export function namedSources({ sources, name, group, to }: ExportValues): readonly Named[] {
  if (group !== undefined) {
    if (name !== undefined) throw usage('--name is for one volume: with --group write VOL=SOURCE');
    if (to.length === 0) throw usage('--group needs --to: where?');
    if (!isGroupName(group)) throw usage(`--group: ${group} is no name: ${GROUP_NAME_FORM}`);
    if (sources.length > GROUP_MEMBERS_MAX) {
      throw usage(`--group: ${GROUP_MEMBERS_MAX} volumes at most, not ${sources.length}`);
    }
    return sources.map(groupMember);
  }
  if (sources.length > 1) throw usage('several volumes are exported with --group NAME');
  const source = sources[0]!;
  const named = { source, name: name ?? defaultVolumeName(source), isNamed: name !== undefined };
  checkName(named.name);
  return [named];
}

function groupMember(written: string, _: number, all: readonly string[]): Named {
  const [, name, source] = /^([^=/]+)=(.+)$/.exec(written) ?? [];
  if (name === undefined || source === undefined) {
    throw usage(`with --group write VOL=SOURCE, not ${written}`);
  }
  checkName(name);
  if (all.filter((other) => other.startsWith(`${name}=`)).length > 1) {
    throw usage(`${name} is named twice`);
  }
  return { source, name, isNamed: true };
}

/** No client may ask for a longer one, and none sees an empty one in a list. */
function checkName(name: string): void {
  const lengthBytes = Buffer.byteLength(name);
  if (lengthBytes > 0 && lengthBytes <= EXPORT_NAME_BYTES_MAX) return;
  const limit = `an export's name has 1 to ${EXPORT_NAME_BYTES_MAX} bytes, not ${lengthBytes}`;
  throw usage(`--name: ${limit}`);
}

export type Surroundings = {
  /** While it says so, writes wait. */
  readonly permit: Permit;
  /** How the export stands with its providers. */
  readonly providers: () => readonly ProviderState[];
};

/** REPLICATE_FENCED if it is written elsewhere. */
export async function openVolume(
  context: Context,
  values: ExportValues,
  named: Named,
  surroundings: Surroundings,
): Promise<ExportedVolume> {
  const { env } = context;
  const { readOnly, directIo } = values;
  const { source } = named;
  checkSource(values, named);
  await using open = new AsyncDisposableStack();
  const isQcow2 = isTakenForQcow2(source, values.format);
  const path = isPath(source) && !isQcow2 && !directIo ? resolve(source) : undefined;
  const before = await identityOf(env, path);
  const image = isQcow2 ? open.use(await openDisk(env, source, { format: 'qcow2' })) : undefined;
  const base = image?.device ?? open.use(await openSource(env, source, { readOnly, directIo }));
  const after = await identityOf(env, path);
  const authority = await mayWrite(context, values, named);
  const tracked = await trackedOf(context, values, { ...surroundings, base, named });
  if (tracked !== undefined) open.use(tracked);
  const all = open.move();
  const dispose = () => all.disposeAsync();
  const file = fileOf(path, before, after);
  return { ...named, base, authority, tracked, file, [Symbol.asyncDispose]: dispose };
}

/** The path named one file before and after it was opened: that one it must be. */
function fileOf(
  path: string | undefined,
  before: Identity | undefined,
  after: Identity | undefined,
): FileName | undefined {
  if (path === undefined || before === undefined || after === undefined) return undefined;
  const { device, inode } = after;
  return before.device === device && before.inode === inode ? { path, device, inode } : undefined;
}

function checkSource(values: ExportValues, { source }: Named): void {
  const { readOnly, directIo, threads, format } = values;
  if (threads > 1 && isUri(source)) throw usage('--threads is for files, block devices and memory');
  if (directIo && !isPath(source)) {
    throw usage(`--direct-io is for files and block devices, not ${source}`);
  }
  if (isTakenForQcow2(source, format) && (!readOnly || directIo || threads > 1)) {
    const only = 'is a qcow2 image: it can be served with --read-only and by one thread';
    throw usage(`${source} ${only}, or as the bytes it has, --format raw`);
  }
}

/** REPLICATE_FENCED if the volume is written elsewhere; undefined for what is no volume. */
async function mayWrite(
  context: Context,
  { to, readOnly }: ExportValues,
  { source, name }: Named,
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

type Tracking = Surroundings & { readonly base: Device; readonly named: Named };

/** A volume with a name is tracked, unless nothing is written or nobody could take the marks up. */
async function trackedOf(
  { env, output, settings }: Context,
  { to, readOnly, untracked, threads, momentRoom }: ExportValues,
  { base, permit, providers, named }: Tracking,
): Promise<TrackedExport | undefined> {
  const { source, name, isNamed } = named;
  const isForgotten = source.startsWith('memory:');
  if (readOnly || untracked || isForgotten) return undefined;
  if (!isNamed && to.length === 0) return undefined;
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
    ...{ base, permit, providers },
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

function usage(message: string): Error {
  return usageError(message, 'ferry export');
}
