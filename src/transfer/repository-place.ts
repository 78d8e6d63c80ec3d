/** Whether a repository can lie at a path: asked before anything is made or opened there. */
import { dirname, resolve } from 'node:path';
import { type FileStat, type Files, hasCode } from '../core/index.ts';
import { TransferError } from './errors.ts';

/** There may be nothing yet; what is there must be a directory. */
export async function checkPlace(files: Files, location: string): Promise<void> {
  const { kind } = await statOrNothing(files, location);
  if (kind === undefined || kind === 'directory') return;
  throw new TransferError('TRANSFER_REPOSITORY', `${location} is not a directory`, {
    hint: 'Name the directory of a repository, or for `ferry init` one that is not there yet.',
  });
}

/** A folder is made for a repository, but not the one that it lies in: the path may be mistyped. */
export async function checkParent(files: Files, location: string): Promise<void> {
  const parent = dirname(resolve(location));
  const { kind } = await statOrNothing(files, parent);
  if (kind === 'directory') return;
  const what = kind === undefined ? 'does not exist' : 'is not a directory';
  throw new TransferError('TRANSFER_REPOSITORY', `${parent} ${what}`, {
    hint: kind === undefined ? `Make it first: mkdir -p ${parent}` : 'Check the path.',
  });
}

async function statOrNothing(files: Files, path: string): Promise<Partial<FileStat>> {
  try {
    return await files.stat(path);
  } catch (error) {
    if (hasCode(error, 'ENV_NOT_FOUND') || hasCode(error, 'ENV_NOT_A_DIRECTORY')) return {};
    throw error;
  }
}
