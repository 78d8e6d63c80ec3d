/** Opens what a person names as source or target: a path, `memory:SIZE`, an NBD URI. */
import path from 'node:path';
import { type Env, isUri, sha256, toHex } from '../core/index.ts';
import {
  type Device,
  type OpenDeviceOptions,
  openDevice,
  openTarget,
  type Target,
} from '../device/index.ts';
import { TransferError } from './errors.ts';

/** Connections to an NBD server that says that they see each other's writes. */
const NBD_CONNECTIONS = 4;

export type OpenSourceOptions = OpenDeviceOptions & {
  /** Meta contexts to ask an NBD server for. */
  readonly contexts?: readonly string[];
};

export async function openSource(
  env: Env,
  source: string,
  { readOnly, directIo = false, contexts = [] }: OpenSourceOptions,
): Promise<Device> {
  if (!isUri(source)) return openDevice(env.files, source, { readOnly, directIo });
  const { connect } = await import('../nbd/index.ts'); // Most runs need none of it.
  return connect(env, source, { connections: NBD_CONNECTIONS, readOnly, contexts });
}

/**
 * For writing a volume of `sizeBytes`, in any lengths; a file is made or emptied, all else keeps
 * what it holds.
 */
export async function openRestoreTarget(
  env: Env,
  target: string,
  sizeBytes: number,
): Promise<Target> {
  if (isUri(target)) {
    const device = await openSource(env, target, { readOnly: false });
    const { anyLengthTarget } = await import('./restore-target.ts');
    return { device: anyLengthTarget(device), zeroed: false };
  }
  if (target.startsWith('memory:')) {
    throw new TransferError('TRANSFER_TARGET', `${target} would be forgotten at once`, {
      hint: 'Restore to a file, a block device or an NBD export; `ferry mount` needs no target.',
    });
  }
  return openTarget(env.files, target, sizeBytes);
}

/** Whether that names a file or a block device, and neither an export nor memory. */
export function isPath(source: string): boolean {
  return !isUri(source) && !source.startsWith('memory:');
}

/** Tells one source from another without naming it: a hash of the absolute path or the URI. */
export function originOf(source: string): string {
  const isFile = isPath(source) && !source.startsWith('qmp+unix:');
  const place = isFile ? path.resolve(source) : source;
  return toHex(sha256(new TextEncoder().encode(place)).subarray(0, 16));
}

/**
 * A file's base name without extension, an export's name; what cannot name a volume is replaced.
 */
export function defaultVolumeName(source: string): string {
  const place = isUri(source) ? uriPath(source) : source;
  const base = path.basename(place);
  const stem = base.slice(0, base.length - path.extname(base).length) || base;
  return stem.replace(/[/@~\s:]+/g, '-').replace(/^-+/, '') || 'volume';
}

function uriPath(uri: string): string {
  try {
    return decodeURIComponent(new URL(uri).pathname);
  } catch {
    return '';
  }
}
