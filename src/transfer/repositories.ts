/** Opens the repository that a person names: a directory, or a prefix of an S3 bucket. */
import type { Env } from '../core/index.ts';
import {
  directoryStore,
  isS3Location,
  type ObjectStore,
  type S3Access,
  type S3ObjectStore,
  type S3Pace,
  s3Store,
} from '../objects/index.ts';
import {
  type InitOptions,
  isSingleWriter,
  type OpenOptions,
  Repository,
  type Superblock,
  singleWriterStore,
  type WriterOptions,
} from '../store/index.ts';
import { TransferError } from './errors.ts';

/** What an S3 repository takes beside its address; a directory needs none of it. */
export type S3Settings = {
  readonly access: S3Access;
  readonly pace?: S3Pace;
  readonly writer: WriterOptions;
};

export type PlaceOptions = { readonly s3?: S3Settings };

function s3At(env: Env, location: string, { s3 }: PlaceOptions): S3ObjectStore {
  const { clock, random } = env;
  return s3Store({ location, access: s3?.access ?? {}, pace: s3?.pace, clock, random });
}

function directoryAt(env: Env, location: string): Promise<ObjectStore> {
  if (/^[a-z0-9]+:\/\//i.test(location)) {
    throw new TransferError('TRANSFER_REPOSITORY', `${location} is not a place for a repository`, {
      hint: 'Give the path of a directory, or s3://BUCKET/PREFIX.',
    });
  }
  return directoryStore(env.files, location, env.random);
}

export async function initRepository(
  env: Env,
  location: string,
  options: InitOptions & PlaceOptions,
): Promise<Superblock> {
  if (!isS3Location(location)) {
    await using objects = await directoryAt(env, location);
    return Repository.init(env, objects, options);
  }
  await using objects = s3At(env, location, options);
  const { putIfAbsent } = await objects.probe();
  if (!putIfAbsent) objects.putWithoutConditions();
  return Repository.init(env, objects, { ...options, singleWriter: !putIfAbsent });
}

/** STORE_NOT_A_REPOSITORY and what else `Repository.open` says. */
export async function openRepository(
  env: Env,
  location: string,
  options: OpenOptions & PlaceOptions = {},
): Promise<Repository> {
  if (!isS3Location(location)) {
    return openOver(env, await directoryAt(env, location), options);
  }
  const objects = s3At(env, location, options);
  return openOver(env, objects, { ...options, prepare: (_, superblock) => prepared(superblock) });

  function prepared(superblock: Superblock): ObjectStore {
    if (!isSingleWriter(superblock)) return objects;
    objects.putWithoutConditions();
    const writer = options.s3?.writer;
    if (writer !== undefined) {
      return singleWriterStore(env, objects, superblock.repositoryId, writer);
    }
    throw new TransferError('TRANSFER_REPOSITORY', `${objects.name} is for a single writer`, {
      hint: 'Pass `s3.writer`: how this node is told from others.',
    });
  }
}

async function openOver(env: Env, objects: ObjectStore, options: OpenOptions): Promise<Repository> {
  try {
    return await Repository.open(env, objects, options);
  } catch (error) {
    await objects[Symbol.asyncDispose]();
    throw error;
  }
}
