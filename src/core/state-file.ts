/**
 * Small files that a node keeps for itself in one folder: read and replaced whole, under a lock.
 */
import { posix } from 'node:path';
import type { Env } from './env.ts';
import { EnvError, unlessMissing } from './errors.ts';
import { readFully, writeFully } from './file-io.ts';
import { toHex } from './hash.ts';

export type StateFolder = {
  /** Absolute. */
  readonly directory: string;
  /** Makes the directory, when something is to be kept. */
  makeDirectory(): Promise<void>;
};

/** Another process holds the lock for a few file calls: waits for it so often, so long each. */
const LOCK_TRIES_MAX = 500;
const LOCK_WAIT_MS = 10;

/** The name of the lock in each folder. */
export const STATE_LOCK = 'lock';

/** Undefined if it is not there; ENV_LIMIT if it is longer than `bytesMax`. */
export async function readStateFile(
  { files }: Env,
  path: string,
  bytesMax: number,
): Promise<Uint8Array | undefined> {
  const file = await unlessMissing(files.open(path, 'read'));
  if (file === undefined) return undefined;
  try {
    const { sizeBytes } = await file.stat();
    if (sizeBytes > bytesMax) {
      throw new EnvError('ENV_LIMIT', `${path} has ${sizeBytes} bytes, at most ${bytesMax}`, {
        hint: 'It is not one of our files; remove it.',
      });
    }
    const bytes = new Uint8Array(sizeBytes);
    return bytes.subarray(0, await readFully(file, bytes, 0));
  } finally {
    await file.close();
  }
}

/** Whole and durable under its name afterwards, or as it was. */
export async function replaceStateFile(
  { files, random }: Env,
  path: string,
  bytes: Uint8Array,
): Promise<void> {
  const nonce = new Uint8Array(8);
  random.fill(nonce);
  const temporary = `${path}.${toHex(nonce)}`;
  const file = await files.open(temporary, 'create');
  try {
    await writeFully(file, bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await files.rename(temporary, path);
  await files.syncDirectory(posix.dirname(path));
}

/** Runs `work` while no other process does so in the same folder, which is made if need be. */
export async function withStateLock(
  { files, clock }: Env,
  { directory, makeDirectory }: StateFolder,
  work: () => Promise<void>,
): Promise<void> {
  await makeDirectory();
  const path = posix.join(directory, STATE_LOCK);
  for (let attempt = 0; attempt < LOCK_TRIES_MAX; attempt++) {
    const lock = await files.lock(path);
    if (lock === undefined) {
      await new Promise<void>((resolve) => {
        clock.after(LOCK_WAIT_MS, resolve, { keepsProcess: true });
      });
      continue;
    }
    try {
      return await work();
    } finally {
      await lock.release();
    }
  }
  throw new EnvError('ENV_TIMEOUT', `${path} is held by another process for too long`, {
    hint: 'See which process that is (`fuser`); end it if it hangs.',
  });
}
