/** What this node keeps for itself lies in a directory that nobody else may look into. */
import { dirname, resolve } from 'node:path';
import { type Files, hasCode } from '../core/index.ts';
import type { Settings } from './settings.ts';

/** Group and others get nothing: layers hold the content of disks. */
const OWNER_ONLY = 0o077;

/** Where servers without an address listen, and the API of each `ferry serve`. */
export function socketsOf({ stateDirectory }: Settings): string {
  return resolve(stateDirectory, 'sockets');
}

/** The trackers of volumes that are exported, or were. */
export function trackersOf({ stateDirectory }: Settings): string {
  return resolve(stateDirectory, 'trackers');
}

/** Makes `path`, an absolute one, with all that is missing above it. */
export async function makeStateDirectory(files: Files, path: string): Promise<void> {
  const before = process.umask(OWNER_ONLY);
  try {
    await make(files, path);
  } finally {
    process.umask(before);
  }
}

async function make(files: Files, path: string): Promise<void> {
  try {
    await files.makeDirectory(path);
  } catch (error) {
    if (!hasCode(error, 'ENV_NOT_FOUND') || dirname(path) === path) throw error;
    await make(files, dirname(path));
    await files.makeDirectory(path);
  }
}
