/** How an object comes into a directory: a temporary file, forced, then linked under its name. */
import assert from 'node:assert/strict';
import {
  EnvError,
  type Files,
  hasCode,
  type OpenFile,
  type Random,
  toHex,
  writeFully,
} from '../core/index.ts';
import { type Folders, parentOf } from './folders.ts';
import { existsError, objectError } from './object-errors.ts';
import { TEMPORARY_FOLDER } from './object-name.ts';
import { ObjectError, type ObjectWriter } from './object-store.ts';

const TEMPORARY_NAME_BYTES = 16;

export type DirectoryWriting = {
  readonly files: Files;
  readonly folders: Folders;
  readonly random: Random;
  readonly storeName: string;
};

export class DirectoryWriters {
  readonly #writing: DirectoryWriting;
  /** Names of the unfinished files of this process. */
  readonly unfinished = new Set<string>();

  constructor(writing: DirectoryWriting) {
    this.#writing = writing;
  }

  async create(key: string): Promise<ObjectWriter> {
    const { files, folders, random } = this.#writing;
    folders.checkTrusted(key);
    try {
      await folders.ensure(TEMPORARY_FOLDER);
      const id = new Uint8Array(TEMPORARY_NAME_BYTES);
      random.fill(id);
      const name = toHex(id);
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

  #writer(key: string, name: string, file: OpenFile): ObjectWriter {
    let state: 'open' | 'busy' | 'over' = 'open';
    let sizeBytes = 0;

    /** One step of the writer; a failed one drops what was written, at once. */
    const step = async (next: 'open' | 'over', run: () => Promise<void>): Promise<void> => {
      assert(state === 'open', `${key}: the writer is ${state}`);
      state = 'busy';
      try {
        await run();
        state = next;
      } catch (error) {
        state = 'over';
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
      commit: () => step('over', () => this.#commit(key, file)),
      [Symbol.asyncDispose]: async () => {
        assert(state !== 'busy', `${key}: disposed while it is being written`);
        if (state === 'over') return;
        state = 'over';
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
