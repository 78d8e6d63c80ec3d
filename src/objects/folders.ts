/** The folders of a directory store: made and forced before use, and never left through a link. */
import { dirname } from 'node:path';
import {
  type EnvErrorCode,
  type FileKind,
  type Files,
  hasCode,
  unlessMissing,
} from '../core/index.ts';
import { DURABLE_FOLDERS_MAX } from './limits.ts';
import { foreignError } from './object-errors.ts';
import { ObjectError } from './object-store.ts';

export type FoldersOptions = {
  readonly files: Files;
  readonly rootPath: string;
  /** Names the store in messages. */
  readonly storeName: string;
};

/** With these a sync did not even begin: what was forced before can still be trusted. */
const syncNotBegun: readonly EnvErrorCode[] = ['ENV_LIMIT', 'ENV_ACCESS', 'ENV_NOT_FOUND'];

/** A folder is named like an object; the empty string is the root. */
export class Folders {
  readonly #files: Files;
  readonly #rootPath: string;
  readonly #storeName: string;
  /** Promises, so that concurrent puts into a new folder share its making. */
  readonly #durable = new Map<string, Promise<void>>();
  readonly #real = new Set<string>();
  #distrust: unknown;

  constructor({ files, rootPath, storeName }: FoldersOptions) {
    this.#files = files;
    this.#rootPath = rootPath;
    this.#storeName = storeName;
  }

  /** The path of an object or folder. */
  path(name: string): string {
    return name === '' ? this.#rootPath : `${this.#rootPath}/${name}`;
  }

  /** Fails unless folder and parents are real directories; ENV_NOT_FOUND if absent. */
  async check(folder: string): Promise<void> {
    if (folder === '' || this.#real.has(folder)) return;
    await this.check(parentOf(folder));
    const { kind } = await this.#files.statEntry(this.path(folder));
    if (kind !== 'directory') throw foreignError(this.#storeName, folder, 'a directory');
    if (this.#real.size >= DURABLE_FOLDERS_MAX) this.#real.clear();
    this.#real.add(folder);
  }

  /**
   * Makes the folder with all above it, durably. A folder that is there already is forced too: who
   * made it may not have come to that yet. Done once for each folder.
   */
  ensure(folder: string): Promise<void> {
    const known = this.#durable.get(folder);
    if (known !== undefined) return known;
    if (this.#durable.size >= DURABLE_FOLDERS_MAX) this.#durable.clear();
    const making = this.#make(folder);
    this.#durable.set(folder, making);
    making.catch(() => this.#durable.delete(folder));
    return making;
  }

  /** Nothing that was known holds any longer: a folder has vanished. */
  forget(): void {
    this.#durable.clear();
    this.#real.clear();
  }

  /** Makes the names in the folder durable. */
  force(folder: string): Promise<void> {
    return this.#sync(this.path(folder));
  }

  /**
   * After a failed fsync the kernel may take the lost names for written: the next fsync succeeds
   * and saves nothing. Nothing that this store says about durability can be believed from then on.
   */
  checkTrusted(key: string): void {
    if (this.#distrust === undefined) return;
    const message = `${this.#storeName} takes no ${key}: a directory could not be made durable`;
    throw new ObjectError('OBJECT_IO', message, {
      hint: 'Look at the kernel log, then run the command again.',
      cause: this.#distrust,
    });
  }

  async #sync(path: string): Promise<void> {
    try {
      await this.#files.syncDirectory(path);
    } catch (error) {
      if (!syncNotBegun.some((code) => hasCode(error, code))) this.#distrust ??= error;
      throw error;
    }
  }

  async #make(folder: string): Promise<void> {
    if (folder === '') return this.#makeRoot();
    const parent = parentOf(folder);
    await this.ensure(parent);
    await this.#makeReal(folder);
    await this.#sync(this.path(parent));
  }

  async #makeReal(folder: string): Promise<void> {
    try {
      await this.#files.makeDirectory(this.path(folder));
    } catch (error) {
      if (!hasCode(error, 'ENV_NOT_A_DIRECTORY')) throw error;
      throw foreignError(this.#storeName, folder, 'a directory', error);
    }
    await this.check(folder);
  }

  /** The root may be a link, or lie in a directory that is not ours to open: its owner's choice. */
  async #makeRoot(): Promise<void> {
    const kind = await this.#rootKind();
    if (kind === undefined) await this.#files.makeDirectory(this.#rootPath);
    try {
      await this.#sync(dirname(this.#rootPath));
    } catch (error) {
      if (kind === undefined || !hasCode(error, 'ENV_ACCESS')) throw error;
    }
  }

  async #rootKind(): Promise<FileKind | undefined> {
    return (await unlessMissing(this.#files.stat(this.#rootPath)))?.kind;
  }
}

/** The folder in which an object or folder lies; the root's is the root. */
export function parentOf(name: string): string {
  return name.slice(0, Math.max(0, name.lastIndexOf('/')));
}
