/** The kernel of this host. */
import fs from 'node:fs';
import { open } from 'node:fs/promises';
import type { Kernel } from '../kernel.ts';
import { mountFuse, unmountFuse } from './fuse-mount.ts';
import { openNetlink } from './netlink.ts';
import { posixName, toEnvError } from './posix-error.ts';
import { openSocketPair } from './socket-pair.ts';
import { takeSocket } from './stream.ts';

export function nodeKernel(): Kernel {
  return {
    mountFuse,
    unmountFuse,
    openNetlink,
    takeSocket,
    openSocketPair,
    closeSocket: (descriptor) => fs.closeSync(descriptor),
    isBusy,
    owner: () => ({
      userId: process.geteuid?.() ?? 0,
      groupId: process.getegid?.() ?? 0,
    }),
  };
}

/**
 * On a block device O_EXCL without O_CREAT means: fail if the kernel itself uses it, open(2). In
 * the thread pool, since the kernel may read its partitions first, through this very process.
 */
async function isBusy(path: string): Promise<boolean> {
  try {
    const file = await open(path, fs.constants.O_RDONLY | fs.constants.O_EXCL);
    await file.close();
    return false;
  } catch (error) {
    if (posixName(error) === 'EBUSY') return true;
    throw toEnvError(error, 'examine', path);
  }
}
