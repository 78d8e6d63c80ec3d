/**
 * Remembers, per repository, the newest entry of the log that this node has seen, so that a log
 * that was cut, replayed or put back is noticed.
 */
import { posix } from 'node:path';
import {
  type Env,
  fromHex,
  hasCode,
  readStateFile,
  replaceStateFile,
  SHA256_BYTES,
  STATE_LOCK,
  type StateFolder,
  withStateLock,
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

/** Heads in files of their own, each replaced whole: a reader finds the old or the new one. */
export function headFiles(env: Env, folder: StateFolder): HeadMemory {
  const { files } = env;
  const { directory } = folder;
  const pathOf = (repositoryId: string) => posix.join(directory, repositoryId);

  async function recall(repositoryId: string): Promise<KnownHead | undefined> {
    const path = pathOf(repositoryId);
    const bytes = await readStateFile(env, path, HEAD_FILE_BYTES_MAX);
    return bytes && parse(new TextDecoder().decode(bytes), path);
  }

  function write(repositoryId: string, { sequence, hash }: KnownHead): Promise<void> {
    const text = `${JSON.stringify({ sequence, hash })}\n`;
    return replaceStateFile(env, pathOf(repositoryId), new TextEncoder().encode(text));
  }

  /** One more repository: those seen longest ago are forgotten when there are very many. */
  async function makeRoom(): Promise<void> {
    const names = await files.list(directory);
    if (names.length < HEADS_REMEMBERED_MAX) return;
    const found: { name: string; modifiedMs: number }[] = [];
    for (const name of names.filter((candidate) => candidate !== STATE_LOCK)) {
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
      withStateLock(env, folder, async () => {
        const known = await recall(repositoryId).catch((error) => {
          if (hasCode(error, 'STORE_HEAD_MEMORY')) return undefined; // It is being replaced.
          throw error;
        });
        if (known !== undefined && known.sequence >= head.sequence) return;
        if (known === undefined) await makeRoom();
        await write(repositoryId, head);
      }),
    replace: (repositoryId, head) => withStateLock(env, folder, () => write(repositoryId, head)),
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
