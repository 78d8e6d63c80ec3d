/** Opens the repository that a person names: a directory, or a prefix of an S3 bucket. */
import type { Env } from '../core/index.ts';
import {
  CacheFolder,
  type CacheOptions,
  cachedStore,
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
  isWhole,
  type OpenOptions,
  Repository,
  StoreError,
  type Superblock,
  singleWriterStore,
  type WriterOptions,
} from '../store/index.ts';
import { TransferError } from './errors.ts';
import { checkParent, checkPlace } from './repository-place.ts';

/** What an S3 repository takes beside its address; a directory needs none of it. */
export type S3Settings = {
  readonly access: S3Access;
  readonly pace?: S3Pace;
  /** How this node is told from others, where a server cannot keep two writers apart. */
  readonly writer?: WriterOptions;
  /** Copies of indexes, tables and frames on this host; none where all is to be read afar. */
  readonly cache?: CacheSettings;
};

export type CacheSettings = Omit<CacheOptions, 'files' | 'random'>;

export type PlaceOptions = { readonly s3?: S3Settings };

function s3At(env: Env, location: string, { s3 }: PlaceOptions): S3ObjectStore {
  const { clock, random } = env;
  return s3Store({ location, access: s3?.access ?? {}, pace: s3?.pace, clock, random });
}

async function directoryAt(env: Env, location: string, isNew: boolean): Promise<ObjectStore> {
  if (/^[a-z0-9]+:\/\//i.test(location)) {
    throw new TransferError('TRANSFER_REPOSITORY', `${location} is not a place for a repository`, {
      hint: 'Give the path of a directory, or s3://BUCKET/PREFIX.',
    });
  }
  if (isNew) await checkParent(env.files, location);
  await checkPlace(env.files, location);
  return directoryStore(env.files, location, env.random);
}

/**
 * Makes an empty repository in a directory (one more level than is there), or under a prefix of a
 * bucket, which is tried first. STORE_EXISTS, STORE_CHUNK_SIZE, TRANSFER_REPOSITORY, OBJECT_*.
 */
export async function initRepository(
  env: Env,
  location: string,
  options: InitOptions & PlaceOptions,
): Promise<Superblock> {
  if (!isS3Location(location)) {
    await using objects = await directoryAt(env, location, true);
    return await Repository.init(env, objects, options);
  }
  await using objects = s3At(env, location, options);
  const { putIfAbsent } = await objects.probe();
  if (!putIfAbsent) objects.putWithoutConditions();
  return await Repository.init(env, objects, { ...options, singleWriter: !putIfAbsent });
}

/**
 * Opens the repository in a directory or under `s3://BUCKET/PREFIX`; to be disposed by the caller.
 * STORE_NOT_A_REPOSITORY and what else `Repository.open` says.
 */
export async function openRepository(
  env: Env,
  location: string,
  options: OpenOptions & PlaceOptions = {},
): Promise<Repository> {
  if (!isS3Location(location)) {
    return openOver(env, await directoryAt(env, location, false), options);
  }
  const objects = s3At(env, location, options);
  return openOver(env, objects, { ...options, prepare: (_, superblock) => prepared(superblock) });

  function prepared(superblock: Superblock): ObjectStore {
    return cachedAt(env, guarded(superblock), superblock, options.s3?.cache);
  }

  function guarded(superblock: Superblock): ObjectStore {
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

/** Also without a folder: what came wrong is asked for again. */
function cachedAt(
  { files, random }: Env,
  objects: ObjectStore,
  { repositoryId }: Superblock,
  settings: CacheSettings | undefined,
): ObjectStore {
  const none = { directory: '', makeDirectory: async () => {}, bytesMax: 0 };
  const folder = new CacheFolder({ files, random, ...(settings ?? none) });
  // Their names are random; what else there is may be made again under its name.
  const keeps = (key: string) => key.startsWith('packs/') || key.startsWith('index/');
  return cachedStore(objects, { folder, repositoryId, keeps, isWhole });
}

/** The objects themselves, as a repository that may be too damaged to be opened needs them. */
export async function repairableObjects(
  env: Env,
  location: string,
  options: PlaceOptions,
): Promise<ObjectStore> {
  if (!isS3Location(location)) return directoryAt(env, location, false);
  try {
    return (await openRepository(env, location, { ...options, heals: false })).objects;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return s3At(env, location, options);
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
