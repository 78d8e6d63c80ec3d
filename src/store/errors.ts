/** What can go wrong with a repository. */
import { FerryError } from '../core/index.ts';
import { ObjectError } from '../objects/index.ts';

export type StoreErrorCode =
  | 'STORE_NOT_A_REPOSITORY'
  | 'STORE_EXISTS'
  | 'STORE_VERSION'
  /** Bytes that the log names and that are not what was written. */
  | 'STORE_DAMAGED'
  /** Another run has copied the same snapshot meanwhile. */
  | 'STORE_COPY_EXISTS'
  /** A snapshot's content is not that of its digest. */
  | 'STORE_DIGEST'
  /** An object that the log names and that is not there. */
  | 'STORE_MISSING'
  /** The log does not have the entry any more that was seen as its newest. */
  | 'STORE_ROLLED_BACK'
  /** What this node remembers of the log cannot be read or kept. */
  | 'STORE_HEAD_MEMORY'
  /** What this node remembers of checks cannot be read. */
  | 'STORE_READ_MEMORY'
  | 'STORE_VOLUME_NOT_FOUND'
  | 'STORE_SNAPSHOT_NOT_FOUND'
  | 'STORE_AMBIGUOUS'
  | 'STORE_NAME'
  /** Another writer committed so often in between that this one gave up; nothing was lost. */
  | 'STORE_BUSY'
  /** Only one node may write, since the object store cannot keep two apart; it is another one. */
  | 'STORE_OWNED'
  /** The snapshot that the new one was compared with is gone. */
  | 'STORE_PARENT_GONE'
  /** Garbage collection took this writer for dead, or went too far ahead of it. */
  | 'STORE_FENCED'
  /** The snapshot was forgotten, and what it held is no longer there. */
  | 'STORE_SNAPSHOT_GONE'
  /** Something is to be forgotten that is held. */
  | 'STORE_HELD'
  /** A volume would have no snapshot left. */
  | 'STORE_LAST_SNAPSHOT'
  | 'STORE_LIMIT'
  | 'STORE_CHUNK_SIZE'
  /** The repository is encrypted, and no password was given. */
  | 'STORE_NO_PASSWORD'
  | 'STORE_WRONG_PASSWORD'
  /** A password was given, but the repository is not encrypted. */
  | 'STORE_NOT_ENCRYPTED'
  /** No key with this id, or the last one. */
  | 'STORE_KEY'
  /** A page token that was not made here, or for other snapshots. */
  | 'STORE_PAGE_TOKEN';

export class StoreError extends FerryError<StoreErrorCode> {
  override readonly name = 'StoreError';
}

export function damagedObject(key: string, what: string, cause?: unknown): StoreError {
  return new StoreError('STORE_DAMAGED', `${key} is damaged: ${what}`, {
    hint: 'Run `ferry check --read-data` to see what is affected.',
    cause,
  });
}

const MISSING_HINT = 'Run `ferry check` to see what is affected; restore the file if it was moved.';

export function missingObject(key: string, cause?: unknown): StoreError {
  return new StoreError('STORE_MISSING', `${key} is missing, but the repository needs it`, {
    hint: MISSING_HINT,
    cause,
  });
}

/** `what` was not found, and may be in the pack that `cause` tells of. */
export function notFound(what: string, cause: FerryError): StoreError {
  const message = `${what} is in no pack that can be read, and one cannot: ${cause.message}`;
  return new StoreError('STORE_MISSING', message, { hint: MISSING_HINT, cause });
}

/** `what` is not possible without the key. */
export function noPassword(what: string): StoreError {
  return new StoreError('STORE_NO_PASSWORD', `${what} needs the password: it is encrypted`, {
    hint: 'Set FERRY_PASSWORD, FERRY_PASSWORD_FILE or FERRY_PASSWORD_COMMAND, or use a terminal.',
  });
}

/** Each writer would find chunks in the other's packs that may never come about. */
export function writerBusy(): StoreError {
  const message = 'a backup or garbage collection runs through this open repository already';
  return new StoreError('STORE_BUSY', message, {
    hint: 'Open the repository a second time for a second one at the same time.',
  });
}

export function snapshotGone({ volume, id }: SnapshotName, cause?: unknown): StoreError {
  const name = `${volume}@${id.slice(0, 8)}`;
  return new StoreError('STORE_SNAPSHOT_GONE', `${name} was forgotten, and is no longer there`, {
    hint: `See \`ferry ls ${volume}\` for those that are.`,
    cause,
  });
}

type SnapshotName = { readonly volume: string; readonly id: string };

/** What could not be removed is found by somebody else later. */
export function ignoreObjectError(error: unknown): void {
  if (!(error instanceof ObjectError)) throw error;
}
