/** How an object comes into a directory: a temporary file, forced, then linked under its name. */
import assert from 'node:assert/strict';
import {
  EnvError,
  type Files,
  hasCode,
  type OpenFile,
  type Random,
  readFully,
  readNow,
  toHex,
  writeFully,
} from '../core/index.ts';
import { unfinishedName } from './directory-locks.ts';
import { type Folders, parentOf } from './folders.ts';
import { existsError, objectError } from './object-errors.ts';
import { TEMPORARY_FOLDER } from './object-name.ts';
import { ObjectError, type ObjectWriter, type StoreLock, type StoreLocks } from './object-store.ts';

const TEMPORARY_NAME_BYTES = 16;

export type DirectoryWriting = {
  readonly files: Files;
  readonly folders: Folders;
  readonly random: Random;
  readonly storeName: string;
  locks(): StoreLocks;
};

type Owner = { readonly name: string; readonly lock: StoreLock };

export class DirectoryWriters {
  readonly #writing: DirectoryWriting;
  /** Names of the unfinished files of this process. */
  readonly unfinished = new Set<string>();
  /** The lock by which others tell that we live, and so whose files are unfinished. */
  #owner: Promise<Owner | undefined> | undefined;

  constructor(writing: DirectoryWriting) {
    this.#writing = writing;
  }

  async create(key: string): Promise<ObjectWriter> {
    const { files, folders, random } = this.#writing;
    folders.checkTrusted(key);
    try {
      await folders.ensure(TEMPORARY_FOLDER);
      this.#owner ??= this.#takeOwner();
      const owner = await this.#owner;
      const name = unfinishedName(owner?.name, randomName(random));
      const path = folders.path(`${TEMPORARY_FOLDER}/${name}`);
      this.unfinished.add(name);
      try {
        return this.#writer(key, name, await files.open(path, 'create'));
      } catch (error) {
        this.unfinished.delete(name);
        throw error;
      }
    } catch (error) {
      throw this.#failure(error, key);
    }
  }

  async #takeOwner(): Promise<Owner | undefined> {
    const { locks, random } = this.#writing;
    const name = randomName(random);
    try {
      const lock = await locks().take(name);
      return lock && { name, lock };
    } catch (error) {
      // Some systems and file systems have no locks: then it goes without.
      if (error instanceof EnvError) return undefined;
      throw error;
    }
  }

  /** All writers are over. */
  async close(): Promise<void> {
    const owner = await this.#owner?.catch(() => undefined); // Told to whoever created.
    await owner?.lock.release().catch(ignoreLeftOver);
  }

  #writer(key: string, name: string, file: OpenFile): ObjectWriter {
    let state: 'open' | 'busy' | 'over' = 'open';
    let sizeBytes = 0;
    let ending = false;
    const readings = new Set<Promise<number>>();

    /** The file must not be closed under a reader: its number may be another's at once. */
    const readersGone = async (): Promise<void> => {
      ending = true;
      await Promise.allSettled(readings);
    };

    /** One step of the writer; a failed one drops what was written, at once. */
    const step = async (next: 'open' | 'over', run: () => Promise<void>): Promise<void> => {
      assert(state === 'open', `${key}: the writer is ${state}`);
      state = 'busy';
      try {
        await run();
        state = next;
      } catch (error) {
        state = 'over';
        await readersGone();
        await this.#discard(file);
        throw this.#failure(error, key);
      } finally {
        if (state === 'over') this.unfinished.delete(name);
      }
    };

    return {
      append: (bytes) =>
        step('open', async () => {
          await writeFully(file, bytes, sizeBytes);
          sizeBytes += bytes.byteLength;
        }),
      readBack: async (target, offsetBytes) => {
        if (ending) return false;
        assert(offsetBytes + target.byteLength <= sizeBytes, `${key}: read back behind its end`);
        if (readNow(file, target, offsetBytes)) return true;
        const reading = readFully(file, target, offsetBytes);
        readings.add(reading);
        try {
          return (await reading) === target.byteLength;
        } catch (error) {
          throw objectError(error, this.#writing.storeName, 'read', key);
        } finally {
          readings.delete(reading);
        }
      },
      commit: () =>
        step('over', async () => {
          await readersGone();
          await this.#commit(key, file);
        }),
      [Symbol.asyncDispose]: async () => {
        assert(state !== 'busy', `${key}: disposed while it is being written`);
        if (state === 'over') return;
        state = 'over';
        await readersGone();
        await this.#discard(file);
        this.unfinished.delete(name);
      },
    };
  }

  async #commit(key: string, file: OpenFile): Promise<void> {
    const { files, folders, storeName } = this.#writing;
    folders.checkTrusted(key);
    await file.sync();
    await file.close();
    const folder = parentOf(key);
    await folders.ensure(folder);
    const taken = await this.#link(file.path, folders.path(key));
    await files.remove(file.path).catch(ignoreLeftOver);
    // Also where the name was taken: by a writer of ours, perhaps, that was told of a failure.
    await folders.force(folder);
    folders.checkTrusted(key); // Another writer's sync of the same names may have failed meanwhile.
    if (taken) throw existsError(storeName, key);
  }

  /** True if somebody else has the name. */
  async #link(from: string, to: string): Promise<boolean> {
    const { files } = this.#writing;
    try {
      await files.link(from, to);
      return false;
    } catch (error) {
      if (!hasCode(error, 'ENV_EXISTS')) throw error;
    }
    // A network file system that repeats a request whose answer was lost finds our own link.
    const [ours, found] = await Promise.all([files.statEntry(from), files.statEntry(to)]);
    return ours.inode !== found.inode || ours.device !== found.device;
  }

  async #discard(file: OpenFile): Promise<void> {
    await file.close().catch(ignoreLeftOver);
    await this.#writing.files.remove(file.path).catch(ignoreLeftOver);
  }

  #failure(error: unknown, key: string): unknown {
    const { folders, storeName } = this.#writing;
    if (!hasCode(error, 'ENV_NOT_FOUND')) return objectError(error, storeName, 'store', key);
    folders.forget();
    return new ObjectError(
      'OBJECT_IO',
      `${storeName}: its files vanished while ${key} was stored`,
      {
        hint: 'Nothing but Blockferry may change what lies in there.',
        cause: error,
      },
    );
  }
}

/** A temporary file that stays behind is listed nowhere and harms nobody. */
function ignoreLeftOver(error: unknown): void {
  if (!(error instanceof EnvError)) throw error;
}

function randomName(random: Random): string {
  const id = new Uint8Array(TEMPORARY_NAME_BYTES);
  random.fill(id);
  return toHex(id);
}
