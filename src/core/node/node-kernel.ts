/** The kernel of this host. */
import fs from 'node:fs';
import type { Kernel } from '../kernel.ts';
import { mountFuse, unmountFuse } from './fuse-mount.ts';
import { openNetlink } from './netlink.ts';
import { posixName, toEnvError } from './posix-error.ts';
import { takeSocket } from './stream.ts';

export function nodeKernel(): Kernel {
  return {
    mountFuse,
    unmountFuse,
    openNetlink,
    takeSocket,
    closeSocket: (descriptor) => fs.closeSync(descriptor),
    isBusy,
    owner: () => ({
      userId: process.geteuid?.() ?? 0,
      groupId: process.getegid?.() ?? 0,
    }),
  };
}

/** On a block device O_EXCL without O_CREAT means: fail if the kernel itself uses it, open(2). */
function isBusy(path: string): boolean {
  try {
    fs.closeSync(fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_EXCL));
    return false;
  } catch (error) {
    if (posixName(error) === 'EBUSY') return true;
    throw toEnvError(error, 'examine', path);
  }
}
