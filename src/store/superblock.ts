/** The superblock: what the repository is, written twice at `init`, never changed. */
import {
  CHUNK_BYTES_MAX,
  CHUNK_BYTES_MIN,
  type PatchLimits,
  patchLimits,
  patchLimitsAtFirst,
} from '../codec/index.ts';
import { equalBytes, FerryError, fromHex, toHex } from '../core/index.ts';
import { ObjectError, type ObjectStore } from '../objects/index.ts';
import { sealJson, unsealJson } from './envelope.ts';
import { damagedObject, StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { SMALL_OBJECT_BYTES_MAX } from './limits.ts';

export type Superblock = {
  /** 16 random bytes in hexadecimal. */
  readonly repositoryId: string;
  readonly chunkBytes: number;
  readonly created: string;
  /** Names of format features that a reader, a writer, a garbage collector must know. */
  readonly features: {
    readonly reader: string[];
    readonly writer: string[];
    readonly gc: string[];
  };
  /** Proves an encrypted repository's superblock to whoever has the key. */
  readonly mac?: Uint8Array | undefined;
};

/** The object store overwrites: one writer at a time, told by `writers/`; see single-writer.ts. */
export const SINGLE_WRITER_FEATURE = 'single-writer';

/** What version 1 knows under this name is described in docs/format.md. */
export const ENCRYPTION_FEATURE = 'encryption';

/** Patches keep to `patchLimits`; without it to `patchLimitsAtFirst`. */
export const LARGE_PATCHES_FEATURE = 'large-patches';

const knownFeatures: readonly string[] = [
  SINGLE_WRITER_FEATURE,
  ENCRYPTION_FEATURE,
  LARGE_PATCHES_FEATURE,
];

export const superblockKeys = ['superblock/0', 'superblock/1'] as const;

/** STORE_EXISTS if there is a repository already: asked before anything is made for a new one. */
export async function checkVacant(objects: ObjectStore): Promise<void> {
  try {
    await objects.size(superblockKeys[0]);
  } catch (error) {
    if (isAbsent(error)) return;
    throw error;
  }
  await completeSuperblock(objects);
  throw existing(objects);
}

function existing(objects: ObjectStore, cause?: unknown): StoreError {
  const hint = 'Use it as it is, or choose another place.';
  const message = `${objects.name} holds a repository already`;
  return new StoreError('STORE_EXISTS', message, { hint, cause });
}

/** STORE_EXISTS if there is a repository already. */
export async function writeSuperblock(objects: ObjectStore, superblock: Superblock): Promise<void> {
  const { mac, ...facts } = superblock;
  const encryption = mac && { encryption: { mac: toHex(mac) } };
  const bytes = sealJson('superblock', { ...facts, ...encryption });
  try {
    await objects.putIfAbsent(superblockKeys[0], bytes);
  } catch (cause) {
    if (!(cause instanceof ObjectError) || cause.code !== 'OBJECT_EXISTS') throw cause;
    await completeSuperblock(objects);
    throw existing(objects, cause);
  }
  await objects.putIfAbsent(superblockKeys[1], bytes);
}

/** Puts the copy that an interrupted `init` left out; a copy that is there stays as it is. */
export async function completeSuperblock(objects: ObjectStore): Promise<void> {
  for (const [at, key] of superblockKeys.entries()) {
    try {
      await objects.size(key);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      const other = superblockKeys[1 - at]!;
      const bytes = await objects.get(other, SMALL_OBJECT_BYTES_MAX);
      parse(bytes, other);
      // Another writer may complete it at the same time: the bytes are the same.
      await objects.putIfAbsent(key, bytes).catch((cause) => {
        if (!(cause instanceof ObjectError) || cause.code !== 'OBJECT_EXISTS') throw cause;
      });
    }
  }
}

/** The first copy that is whole. STORE_NOT_A_REPOSITORY, STORE_VERSION, STORE_DAMAGED. */
export async function readSuperblock(objects: ObjectStore): Promise<Superblock> {
  let failure: unknown;
  for (const key of superblockKeys) {
    try {
      return parse(await objects.get(key, SMALL_OBJECT_BYTES_MAX), key);
    } catch (error) {
      if (!(error instanceof FerryError) || error.code === 'STORE_VERSION') throw error;
      // A copy that is there and broken says more than one that is not there.
      if (failure === undefined || isAbsent(failure)) failure = error;
    }
  }
  if (!isAbsent(failure)) throw failure;
  throw new StoreError('STORE_NOT_A_REPOSITORY', `${objects.name} holds no repository`, {
    hint: 'Make one with `ferry init`, or name the right place with --repo.',
    cause: failure,
  });
}

function isAbsent(error: unknown): boolean {
  return error instanceof ObjectError && error.code === 'OBJECT_NOT_FOUND';
}

function parse(bytes: Uint8Array, key: string): Superblock {
  const fields = new JsonFields(unsealJson('superblock', bytes, key), key);
  const features = fields.object('features');
  const superblock = {
    repositoryId: fields.hex('repositoryId', 16),
    chunkBytes: fields.power('chunkBytes', CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
    created: fields.text('created'),
    features: {
      reader: features.texts('reader'),
      writer: features.texts('writer'),
      gc: features.texts('gc'),
    },
    mac: undefined,
  };
  const unknown = unknownOf(superblock.features.reader);
  if (unknown === undefined) return encrypted(superblock, fields, key);
  throw new StoreError('STORE_VERSION', `the repository uses the feature ${unknown}`, {
    hint: 'Use a newer Blockferry with this repository.',
  });
}

function unknownOf(features: readonly string[]): string | undefined {
  return features.find((feature) => !knownFeatures.includes(feature));
}

export function isSingleWriter({ features }: Superblock): boolean {
  return features.writer.includes(SINGLE_WRITER_FEATURE);
}

/** What a new repository asks of programs. */
export function featuresOf(of: {
  readonly isEncrypted: boolean;
  readonly singleWriter: boolean;
}): Superblock['features'] {
  const all = of.isEncrypted ? [ENCRYPTION_FEATURE] : [];
  const writer = of.singleWriter ? [...all, SINGLE_WRITER_FEATURE] : all;
  return { reader: [...all, LARGE_PATCHES_FEATURE], writer, gc: writer };
}

/** For who writes to the repository. */
export function patchLimitsOf({ features }: Superblock): PatchLimits {
  return features.reader.includes(LARGE_PATCHES_FEATURE) ? patchLimits : patchLimitsAtFirst;
}

/** Either all of it says that the repository is encrypted, or nothing does. */
function encrypted(superblock: Superblock, fields: JsonFields, key: string): Superblock {
  const { reader, writer, gc } = superblock.features;
  const said = [reader, writer, gc].filter((list) => list.includes(ENCRYPTION_FEATURE)).length;
  const given = fields.has('encryption');
  if (said !== (given ? 3 : 0)) throw damagedObject(key, 'it is encrypted only in part');
  if (!given) return superblock;
  return { ...superblock, mac: fromHex(fields.object('encryption').hex('mac', 32), 32)! };
}

/** STORE_VERSION if the repository needs a writer that knows more than this one. */
export function checkWritable(superblock: Superblock): void {
  const unknown = unknownOf(superblock.features.writer);
  if (unknown === undefined) return;
  throw new StoreError('STORE_VERSION', `writing needs the feature ${unknown}`, {
    hint: 'Use a newer Blockferry to write to this repository; reading works.',
  });
}

/** STORE_VERSION if garbage collection would have to know more than this one does. */
export function checkCollectable(superblock: Superblock): void {
  checkWritable(superblock);
  const unknown = unknownOf(superblock.features.gc);
  if (unknown === undefined) return;
  throw new StoreError('STORE_VERSION', `garbage collection needs the feature ${unknown}`, {
    hint: 'Use a newer Blockferry to collect garbage; reading and writing work.',
  });
}

/** Each copy by itself, for check: the problem with it, or undefined. */
export async function checkSuperblocks(objects: ObjectStore): Promise<(FerryError | undefined)[]> {
  const first: { bytes: Uint8Array | undefined } = { bytes: undefined };
  const results: (FerryError | undefined)[] = [];
  for (const key of superblockKeys) {
    try {
      const bytes = await objects.get(key, SMALL_OBJECT_BYTES_MAX);
      parse(bytes, key);
      first.bytes ??= bytes;
      const same = equalBytes(bytes, first.bytes);
      results.push(same ? undefined : damagedObject(key, 'it differs from the other copy'));
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      results.push(error);
    }
  }
  return results;
}
