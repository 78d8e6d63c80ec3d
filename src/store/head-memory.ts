/**
 * Remembers, per repository, the newest entry of the log that this node has seen, so that a log
 * that was cut, replayed or put back is noticed.
 */
import { posix } from 'node:path';
import {
  type Env,
  FerryError,
  type FileLock,
  fromHex,
  hasCode,
  readFully,
  SHA256_BYTES,
  toHex,
  writeFully,
} from '../core/index.ts';
import { StoreError } from './errors.ts';
import { HEADS_REMEMBERED_MAX } from './limits.ts';

/** An entry of the log: its number, and the SHA-256 of its object in hexadecimal. */
export type KnownHead = { readonly sequence: number; readonly hash: string };

export interface HeadMemory {
  /** Undefined if the repository was never seen. STORE_HEAD_MEMORY. */
  recall(repositoryId: string): Promise<KnownHead | undefined>;
  /** Durable afterwards, unless one that is newer is kept already. */
  remember(repositoryId: string, head: KnownHead): Promise<void>;
  /** This one from now on, whatever was known: a person has decided so. */
  replace(repositoryId: string, head: KnownHead): Promise<void>;
}

/** What one file holds at most; it is about 100 bytes long. */
const HEAD_FILE_BYTES_MAX = 4096;

/** Another process holds the lock for a few file calls: waits for it so often, so long each. */
const LOCK_TRIES_MAX = 100;
const LOCK_WAIT_MS = 20;

export type HeadFilesOptions = {
  /** Absolute. One file for each repository lies in it. */
  readonly directory: string;
  /** Makes the directory, when something is to be kept. */
  makeDirectory(): Promise<void>;
};

/** Heads in files of their own, each replaced whole: a reader finds the old or the new one. */
export function headFiles({ files, clock, random }: Env, options: HeadFilesOptions): HeadMemory {
  const { directory } = options;
  const pathOf = (repositoryId: string) => posix.join(directory, repositoryId);

  async function recall(repositoryId: string): Promise<KnownHead | undefined> {
    const path = pathOf(repositoryId);
    try {
      const file = await files.open(path, 'read');
      try {
        const bytes = new Uint8Array(HEAD_FILE_BYTES_MAX);
        const lengthBytes = await readFully(file, bytes, 0);
        return parse(new TextDecoder().decode(bytes.subarray(0, lengthBytes)), path);
      } finally {
        await file.close();
      }
    } catch (error) {
      if (hasCode(error, 'ENV_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async function locked(work: () => Promise<void>): Promise<void> {
    await options.makeDirectory();
    const path = posix.join(directory, 'lock');
    for (let attempt = 0; attempt < LOCK_TRIES_MAX; attempt++) {
      const lock: FileLock | undefined = await files.lock(path);
      if (lock === undefined) {
        await new Promise<void>((resolve) => clock.after(LOCK_WAIT_MS, resolve));
        continue;
      }
      try {
        return await work();
      } finally {
        await lock.release();
      }
    }
    throw memoryError(`${path} is held by another process for too long`);
  }

  /** Whole and durable under its name, or as it was. */
  async function write(repositoryId: string, { sequence, hash }: KnownHead): Promise<void> {
    const path = pathOf(repositoryId);
    const nonce = new Uint8Array(8);
    random.fill(nonce);
    const temporary = `${path}.${toHex(nonce)}`;
    const bytes = new TextEncoder().encode(`${JSON.stringify({ sequence, hash })}\n`);
    const file = await files.open(temporary, 'create');
    try {
      await writeFully(file, bytes, 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, path);
    await files.syncDirectory(directory);
  }

  /** One more repository: those seen longest ago are forgotten when there are very many. */
  async function makeRoom(): Promise<void> {
    const names = await files.list(directory);
    if (names.length < HEADS_REMEMBERED_MAX) return;
    const found: { name: string; modifiedMs: number }[] = [];
    for (const name of names.filter((candidate) => candidate !== 'lock')) {
      const { modifiedMs } = await files.statEntry(posix.join(directory, name));
      found.push({ name, modifiedMs });
    }
    found.sort((a, b) => a.modifiedMs - b.modifiedMs);
    const tooMany = found.length + 1 - Math.floor(HEADS_REMEMBERED_MAX / 2);
    for (const { name } of found.slice(0, tooMany)) await files.remove(posix.join(directory, name));
  }

  return {
    recall,
    remember: (repositoryId, head) =>
      locked(async () => {
        const known = await recall(repositoryId).catch((error) => {
          if (hasCode(error, 'STORE_HEAD_MEMORY')) return undefined; // It is being replaced.
          throw error;
        });
        if (known !== undefined && known.sequence >= head.sequence) return;
        if (known === undefined) await makeRoom();
        await write(repositoryId, head);
      }),
    replace: (repositoryId, head) => locked(() => write(repositoryId, head)),
  };
}

function parse(text: string, path: string): KnownHead {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw memoryError(`${path} does not parse`);
  }
  const { sequence, hash } = (value ?? {}) as Partial<KnownHead>;
  const counts = Number.isSafeInteger(sequence) && (sequence as number) > 0;
  if (counts && typeof hash === 'string' && fromHex(hash, SHA256_BYTES) !== undefined) {
    return { sequence: sequence as number, hash };
  }
  throw memoryError(`${path} names no entry of a log`);
}

function memoryError(what: string): StoreError {
  return new StoreError('STORE_HEAD_MEMORY', `what was seen of the log is not known: ${what}`, {
    hint: 'The repository itself is not concerned. Remove that file; it is made again.',
  });
}

/** Whether keeping or finding the memory failed in a known way: worth a warning, not a failure. */
export function isMemoryTrouble(error: unknown): error is FerryError {
  return error instanceof FerryError;
}
