/** Locks of a directory store, and what processes that died have left in its temporary folder. */
import { EnvError, type FileLock, type Files, unlessMissing } from '../core/index.ts';
import type { Folders } from './folders.ts';
import { TEMPORARY_FOLDER } from './object-name.ts';
import type { StoreLock, StoreLocks } from './object-store.ts';

const LOCK_PREFIX = 'lock-';

/** Of an unfinished file: whose it is. Who could take no lock has unfinished files without. */
const ownedName = /^([0-9a-f]+)-[0-9a-f]+$/;

/** Whoever writes holds a lock of this name before it makes the file, and until it has none. */
export function unfinishedName(owner: string | undefined, id: string): string {
  return owner === undefined ? id : `${owner}-${id}`;
}

/** `isOurs` tells the unfinished files of this process, by their names in the folder. */
export function directoryLocks(
  files: Files,
  folders: Folders,
  isOurs: (name: string) => boolean,
): StoreLocks {
  const pathOf = (name: string) => folders.path(`${TEMPORARY_FOLDER}/${name}`);
  const held = new Set<string>();

  async function take(name: string): Promise<StoreLock | undefined> {
    const file = `${LOCK_PREFIX}${name}`;
    if (held.has(file)) return undefined;
    await folders.ensure(TEMPORARY_FOLDER);
    const lock = await files.lock(pathOf(file));
    if (lock === undefined) return undefined;
    held.add(file);
    let released: Promise<void> | undefined;
    const release = () => {
      released ??= give(file, lock);
      return released;
    };
    return { release };
  }

  /** The name first: nobody else finds the lock free and takes it for a dead holder's. */
  async function give(file: string, lock: FileLock): Promise<void> {
    held.delete(file);
    await removeLeftOver(files, pathOf(file));
    await lock.release();
  }

  async function isLive(name: string): Promise<boolean> {
    const owner = ownedName.exec(name)?.[1];
    if (owner === undefined) return false;
    if (held.has(`${LOCK_PREFIX}${owner}`)) return true;
    const lock = await take(owner);
    await lock?.release();
    return lock === undefined;
  }

  return {
    take,
    async sweep() {
      const swept = { files: 0, bytes: 0 };
      for (const name of await namesIn(files, folders.path(TEMPORARY_FOLDER))) {
        if (isOurs(name) || held.has(name)) continue;
        if (name.startsWith(LOCK_PREFIX)) {
          const lock = await take(name.slice(LOCK_PREFIX.length));
          await lock?.release();
          continue;
        }
        if (await isLive(name)) continue;
        try {
          const { sizeBytes } = await files.statEntry(pathOf(name));
          await files.remove(pathOf(name));
          swept.files++;
          swept.bytes += sizeBytes;
        } catch (error) {
          if (!(error instanceof EnvError)) throw error; // Somebody finished or removed it.
        }
      }
      return swept;
    },
  };
}

async function namesIn(files: Files, path: string): Promise<readonly string[]> {
  return (await unlessMissing(files.list(path))) ?? [];
}

async function removeLeftOver(files: Files, path: string): Promise<void> {
  try {
    await files.remove(path);
  } catch (error) {
    if (!(error instanceof EnvError)) throw error;
  }
}
