/** An ext4 file system in a file of its own, mounted by this machine's kernel, and work on it. */
import assert from 'node:assert/strict';
import {
  appendFile,
  copyFile,
  link,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  symlink,
  truncate,
  utimes,
} from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { Draws } from '../../sim/index.ts';
import { run, runOk } from './processes.ts';
import { requireCondition, requireTool } from './tools.ts';

const KIB = 1024;

/** Skips the test, with the reason, where file systems cannot be made and mounted. */
export function requireExt4(context: TestContext): boolean {
  for (const tool of ['mke2fs', 'debugfs', 'e2fsck', 'tune2fs']) {
    if (requireTool(context, tool, 'e2fsprogs') === undefined) return false;
  }
  for (const tool of ['fsfreeze', 'fstrim', 'fallocate', 'mkswap']) {
    if (requireTool(context, tool, 'util-linux') === undefined) return false;
  }
  return requireCondition(context, process.getuid?.() === 0, 'mounting needs root');
}

export class Ext4Image implements AsyncDisposable {
  readonly path: string;
  readonly mountPoint: string;

  private constructor(folder: string, name: string) {
    this.path = join(folder, `${name}.img`);
    this.mountPoint = join(folder, `${name}.mnt`);
  }

  static async make(
    folder: string,
    { name = 'disk', size = '64M', options = [] as readonly string[] } = {},
  ): Promise<Ext4Image> {
    const image = new Ext4Image(folder, name);
    await mkdir(image.mountPoint);
    await runOk('truncate', ['-s', size, image.path]);
    await runOk('mke2fs', ['-q', '-t', 'ext4', ...options, image.path]);
    return image;
  }

  async mount(options = ''): Promise<void> {
    await runOk('mount', ['-o', `loop${options && ','}${options}`, this.path, this.mountPoint]);
  }

  async unmount(): Promise<void> {
    await runOk('umount', [this.mountPoint]);
  }

  async freeze(): Promise<void> {
    await runOk('fsfreeze', ['-f', this.mountPoint]);
  }

  async thaw(): Promise<void> {
    await runOk('fsfreeze', ['-u', this.mountPoint]);
  }

  at(name: string): string {
    return join(this.mountPoint, name);
  }

  /** Mounted, worked on, unmounted. */
  async session(work: () => Promise<void>, options = ''): Promise<void> {
    await this.mount(options);
    try {
      await work();
    } finally {
      await this.unmount();
    }
  }

  async copyTo(path: string): Promise<void> {
    await runOk('cp', ['--sparse=always', this.path, path]);
  }

  async putBack(path: string): Promise<void> {
    await copyFile(path, this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run('fsfreeze', ['-u', this.mountPoint]);
    await run('umount', [this.mountPoint]);
  }
}

/** Files that are there from the beginning: what is free is told always, and proves nothing. */
export async function fill(root: string, totalBytes: number): Promise<void> {
  const draws = new Draws(0);
  for (let index = 0, left = totalBytes; left > 0; index++) {
    const data = bytes(draws, 600 * KIB);
    await write(join(root, `f0-${index}`), 'w', 0, data);
    left -= data.byteLength;
  }
}

/** Random work on the files below `root`, `steps` of it, by a seed. */
export async function workOn(root: string, seed: number, steps: number): Promise<void> {
  const draws = new Draws(seed);
  for (let step = 0; step < steps; step++) {
    const names = (await readdir(root)).filter((name) => /^f[\d-]+$/.test(name));
    const fresh = join(root, `f${seed}-${step}`);
    const old = names.length === 0 ? undefined : join(root, draws.pick(names));
    if (old === undefined || draws.chance(0.3)) await write(fresh, 'w', 0, bytes(draws, 64 * KIB));
    else await change(draws, old, fresh);
  }
}

async function change(draws: Draws, old: string, fresh: string): Promise<void> {
  const at = draws.below(256 * KIB);
  switch (draws.below(14)) {
    case 0:
      return rm(old);
    case 1:
      return rename(old, fresh);
    case 2:
      return link(old, fresh);
    case 3:
      return truncate(old, draws.below(128 * KIB));
    case 4:
      return appendFile(old, bytes(draws, 300 * KIB));
    case 5:
      return symlink('x'.repeat(draws.pick([10, 200])), `${fresh}-link`);
    case 6:
      await mkdir(`${fresh}-folder`);
      for (let index = 0; index < 30; index++) {
        await write(join(`${fresh}-folder`, `n${index}`), 'w', 0, bytes(draws, 2 * KIB));
      }
      return;
    case 7: {
      // Put back to what they were: the change time still tells.
      const file = await open(old, 'r+');
      const { atime, mtime } = await file.stat();
      await file.write(bytes(draws, 8 * KIB), 0, undefined, 0);
      await file.close();
      return utimes(old, atime, mtime);
    }
    case 8:
      // Not without extents.
      await run('fallocate', ['-l', '500k', fresh]);
      return write(fresh, 'r+', 100 * KIB, bytes(draws, 16 * KIB));
    case 9:
      await run('fallocate', ['-p', '-o', '8k', '-l', '12k', old]);
      return;
    case 10: {
      const words = ['if=/dev/urandom', `of=${old}`, 'bs=4k', 'count=3', `seek=${draws.below(9)}`];
      await runOk('dd', [...words, 'oflag=direct', 'conv=notrunc', 'status=none']);
      return;
    }
    case 11: {
      // A leaf of extents, and one below the inode.
      const file = await open(fresh, 'w');
      for (let index = 0; index < 40; index++) {
        await file.write(bytes(draws, 4 * KIB), 0, undefined, index * 16 * KIB);
      }
      await file.datasync();
      return file.close();
    }
    default:
      return write(old, 'r+', at, bytes(draws, 40 * KIB));
  }
}

async function write(path: string, mode: string, at: number, data: Uint8Array): Promise<void> {
  const file = await open(path, mode);
  await file.write(data, 0, data.byteLength, at);
  if (data[0]! < 64) await file.sync();
  await file.close();
}

function bytes(draws: Draws, max: number): Uint8Array {
  const data = new Uint8Array(1 + draws.below(max));
  const word = draws.below(2 ** 32);
  const words = new DataView(data.buffer);
  for (let at = 0; at + 4 <= data.byteLength; at += 4) words.setUint32(at, word + at);
  data[0] = draws.below(256);
  return data;
}

/** The blocks in which two files of one size differ. */
export function differences(before: Uint8Array, now: Uint8Array, blockBytes = 4096): number[] {
  assert.equal(before.byteLength, now.byteLength);
  const found: number[] = [];
  for (let at = 0; at < now.byteLength; at += blockBytes) {
    const end = at + blockBytes;
    if (Buffer.compare(before.subarray(at, end), now.subarray(at, end)) !== 0) found.push(at);
  }
  return found;
}
