/** Opens the repository that a person names: a directory (S3 will follow). */
import type { Env } from '../core/index.ts';
import { directoryStore, type ObjectStore } from '../objects/index.ts';
import { type OpenOptions, Repository, type Superblock } from '../store/index.ts';
import { TransferError } from './errors.ts';

async function objectsAt(env: Env, location: string): Promise<ObjectStore> {
  if (/^[a-z0-9]+:\/\//i.test(location)) {
    throw new TransferError('TRANSFER_REPOSITORY', `${location}: only directories are supported`, {
      hint: 'Give the path of a directory.',
    });
  }
  return directoryStore(env.files, location, env.random);
}

export async function initRepository(
  env: Env,
  location: string,
  options: { readonly chunkBytes?: number },
): Promise<Superblock> {
  await using objects = await objectsAt(env, location);
  return Repository.init(env, objects, options);
}

/** STORE_NOT_A_REPOSITORY and what else `Repository.open` says. */
export async function openRepository(
  env: Env,
  location: string,
  options: OpenOptions = {},
): Promise<Repository> {
  const objects = await objectsAt(env, location);
  try {
    return await Repository.open(env, objects, options);
  } catch (error) {
    await objects[Symbol.asyncDispose]();
    throw error;
  }
}
