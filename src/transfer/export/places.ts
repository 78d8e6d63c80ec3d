/** Where the trackers of volumes and the sockets of running exports lie in the state directory. */
import { type Env, sha256, toHex, unlessMissing } from '../../core/index.ts';
import type { Identity } from '../../track/index.ts';
import { EXPORTS_MAX } from './limits.ts';

/** Of a volume's name: paths of sockets are short. */
const NAME_BYTES = 6;

export function trackerDirectory(stateDirectory: string, volume: string): string {
  return `${stateDirectory}/trackers/${volume}`;
}

export function socketDirectory(stateDirectory: string): string {
  return `${stateDirectory}/exports`;
}

/** By its volume's name. */
export function controlSocket(stateDirectory: string, volume: string): string {
  const name = toHex(sha256(new TextEncoder().encode(volume)).subarray(0, NAME_BYTES));
  return `${socketDirectory(stateDirectory)}/${name}.sock`;
}

/** Where a running export serves a moment. */
export function momentSocket(controlPath: string, number: number): string {
  return controlPath.replace(/\.sock$/, `.${number}`);
}

/** The control sockets of all exports, running or dead. */
export async function controlSockets({ files }: Env, stateDirectory: string): Promise<string[]> {
  const directory = socketDirectory(stateDirectory);
  const names = (await unlessMissing(files.list(directory))) ?? [];
  const sockets = names.filter((name) => name.endsWith('.sock')).slice(0, EXPORTS_MAX);
  return sockets.map((name) => `${directory}/${name}`);
}

/** What a path is now; undefined for what is no path, or not there. */
export async function identityOf(
  { files }: Env,
  path: string | undefined,
): Promise<Identity | undefined> {
  if (path === undefined) return undefined;
  const stat = await unlessMissing(files.stat(path));
  if (stat === undefined || stat.kind === 'directory') return undefined;
  const { kind, device, inode, sizeBytes, modifiedMs, changedMs } = stat;
  return { kind, device, inode, sizeBytes, modifiedMs, changedMs };
}
