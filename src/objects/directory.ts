/** Directory object store: each object is a file that gets its name whole, by a hard link. */
import assert from 'node:assert/strict';
import {
  type FileStat,
  type Files,
  hasCode,
  type OpenFile,
  type Random,
  readFully,
  readNow,
  unlessMissing,
} from '../core/index.ts';
import { directoryLocks } from './directory-locks.ts';
import { DirectoryWriters } from './directory-writer.ts';
import { Folders, parentOf } from './folders.ts';
import { IdleHandles } from './idle-handles.ts';
import { LISTING_CALLS_MAX } from './limits.ts';
import { foreignError, objectError, rangeError, tooLargeError } from './object-errors.ts';
import { checkObjectName, checkPrefix, isObjectName } from './object-name.ts';
import type { ObjectEntry, ObjectStore, ObjectWriter, StoreLocks } from './object-store.ts';

/**
 * The directory need not exist; the first object makes it (its parent must be there). Fails with
 * OBJECT_FOREIGN if something else has its place.
 */
export async function directoryStore(
  files: Files,
  rootPath: string,
  random: Random,
): Promise<ObjectStore> {
  const store = new DirectoryStore(files, rootPath, random);
  await store.checkRoot();
  return store;
}

class DirectoryStore implements ObjectStore {
  readonly name: string;
  readonly #files: Files;
  readonly #folders: Folders;
  readonly #writers: DirectoryWriters;
  readonly #handles: IdleHandles;
  readonly locks: StoreLocks;

  constructor(files: Files, rootPath: string, random: Random) {
    this.name = `directory:${rootPath}`;
    this.#files = files;
    this.#folders = new Folders({ files, rootPath, storeName: this.name });
    const folders = this.#folders;
    this.#writers = new DirectoryWriters({
      files,
      folders,
      random,
      storeName: this.name,
      locks: () => this.locks,
    });
    this.#handles = new IdleHandles((key) => this.#open(key));
    this.locks = directoryLocks(files, folders, (name) => this.#writers.unfinished.has(name));
  }

  async checkRoot(): Promise<void> {
    try {
      const { kind } = await this.#files.stat(this.#folders.path(''));
      if (kind !== 'directory') throw foreignError(this.name, 'the root', 'a directory');
    } catch (error) {
      if (!hasCode(error, 'ENV_NOT_FOUND')) throw this.#failure(error, 'open', 'the root');
    }
  }

  async get(key: string, bytesMax: number): Promise<Uint8Array> {
    checkObjectName(key);
    try {
      const file = await this.#open(key);
      try {
        return await this.#readWhole(file, key, bytesMax);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw this.#failure(error, 'read', key);
    }
  }

  async getRange(key: string, target: Uint8Array, offsetBytes: number): Promise<void> {
    checkObjectName(key);
    assert(Number.isSafeInteger(offsetBytes) && offsetBytes >= 0, `bad offset: ${offsetBytes}`);
    let filledBytes: number;
    try {
      filledBytes = await this.#handles.use(key, (file) => readSoon(file, target, offsetBytes));
    } catch (error) {
      throw this.#failure(error, 'read', key);
    }
    if (filledBytes < target.byteLength) {
      throw rangeError(this.name, key, { offsetBytes, lengthBytes: target.byteLength });
    }
  }

  async size(key: string): Promise<number> {
    checkObjectName(key);
    try {
      return (await this.#stat(key)).sizeBytes;
    } catch (error) {
      throw this.#failure(error, 'examine', key);
    }
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<void> {
    await using writer = await this.create(key);
    await writer.append(bytes);
    await writer.commit();
  }

  async create(key: string): Promise<ObjectWriter> {
    checkObjectName(key);
    return this.#writers.create(key);
  }

  async *list(prefix: string, after = ''): AsyncGenerator<ObjectEntry> {
    checkPrefix(prefix);
    if (after !== '') checkObjectName(after);
    try {
      yield* this.#walk(prefix.slice(0, -1), after);
    } catch (error) {
      throw this.#failure(error, 'list', prefix);
    }
  }

  async settle(key: string): Promise<void> {
    checkObjectName(key);
    try {
      await this.#folders.ensure(parentOf(key));
      await this.#folders.force(parentOf(key));
    } catch (error) {
      throw this.#failure(error, 'settle', key);
    }
    this.#folders.checkTrusted(key);
  }

  async remove(key: string): Promise<void> {
    checkObjectName(key);
    try {
      await this.#folders.check(parentOf(key));
      await this.#files.remove(this.#folders.path(key));
    } catch (error) {
      if (hasCode(error, 'ENV_IS_A_DIRECTORY'))
        throw foreignError(this.name, key, 'a regular file', error);
      if (!hasCode(error, 'ENV_NOT_FOUND')) throw this.#failure(error, 'remove', key);
    }
    this.#handles.forget(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handles.close();
    await this.#writers.close();
  }

  async #stat(key: string): Promise<FileStat> {
    await this.#folders.check(parentOf(key));
    const found = await this.#files.statEntry(this.#folders.path(key));
    if (found.kind !== 'file') throw foreignError(this.name, key, 'a regular file');
    return found;
  }

  /** Opens what was examined, and nothing that took its place in between. */
  async #open(key: string): Promise<OpenFile> {
    const expected = await this.#stat(key);
    const file = await this.#files.open(this.#folders.path(key), 'read');
    try {
      const found = await file.stat();
      if (found.inode === expected.inode && found.device === expected.device) return file;
      throw foreignError(this.name, key, 'what was there a moment ago');
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  async #readWhole(file: OpenFile, key: string, bytesMax: number): Promise<Uint8Array> {
    const { sizeBytes } = await file.stat();
    if (sizeBytes > bytesMax) throw tooLargeError(this.name, key, { sizeBytes, bytesMax });
    const bytes = new Uint8Array(sizeBytes);
    const filledBytes = await readFully(file, bytes, 0);
    if (filledBytes === sizeBytes) return bytes;
    throw rangeError(this.name, key, { offsetBytes: 0, lengthBytes: sizeBytes });
  }

  async *#walk(folder: string, after: string): AsyncGenerator<ObjectEntry> {
    for (const { key, isFolder, sizeBytes } of await this.#entries(folder, after)) {
      if (isFolder) yield* this.#walk(key, after);
      else if (key > after) yield { key, sizeBytes };
    }
  }

  /** Ascending by full key: a folder sorts as if its slash were part of its name. */
  async #entries(folder: string, after: string): Promise<Entry[]> {
    const names = await this.#names(folder);
    const prefix = folder === '' ? '' : `${folder}/`;
    // Most often nearly all are before: those are left out by their names alone.
    const inFolder = after.startsWith(prefix) ? after.slice(prefix.length) : undefined;
    const keys = names
      .filter((name) => inFolder === undefined || mayFollow(name, inFolder))
      .map((name) => prefix + name)
      .filter((key) => mayFollow(key, after) && isObjectName(key));
    const entries: Entry[] = [];
    for (let at = 0; at < keys.length; at += LISTING_CALLS_MAX) {
      const found = await Promise.all(
        keys.slice(at, at + LISTING_CALLS_MAX).map((key) => this.#entry(key)),
      );
      for (const entry of found) if (entry !== undefined) entries.push(entry);
    }
    return entries.sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1));
  }

  async #names(folder: string): Promise<readonly string[]> {
    const checked = this.#folders.check(folder);
    const names = checked.then(() => this.#files.list(this.#folders.path(folder)));
    return (await unlessMissing(names)) ?? [];
  }

  /** Undefined for what is gone by now, and for links and special files: those are no objects. */
  async #entry(key: string): Promise<Entry | undefined> {
    const stat = await unlessMissing(this.#files.statEntry(this.#folders.path(key)));
    if (stat?.kind !== 'file' && stat?.kind !== 'directory') return undefined;
    return { key, isFolder: stat.kind === 'directory', sizeBytes: stat.sizeBytes };
  }

  #failure(error: unknown, verb: string, key: string): unknown {
    return objectError(error, this.name, verb, key);
  }
}

/** What the page cache has is copied in less time than it takes to have another thread do it. */
async function readSoon(file: OpenFile, target: Uint8Array, offsetBytes: number): Promise<number> {
  if (readNow(file, target, offsetBytes)) return target.byteLength;
  return readFully(file, target, offsetBytes);
}

/** Whether the object, or one in the folder, of that name comes after; before anything is asked. */
function mayFollow(key: string, after: string): boolean {
  if (key > after) return true;
  return after.startsWith(key) && (`${key}/` > after || after.startsWith(`${key}/`));
}

type Entry = { readonly key: string; readonly isFolder: boolean; readonly sizeBytes: number };

function sortKey({ key, isFolder }: Entry): string {
  return isFolder ? `${key}/` : key;
}
