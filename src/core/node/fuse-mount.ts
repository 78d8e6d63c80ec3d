/** A FUSE mount of this host: mount(2) for root, the helper fusermount3 for everybody else. */
import fs from 'node:fs';
import type { FileDone } from '../env.ts';
import { EnvError } from '../errors.ts';
import type { FuseMount, FuseOptions, UnmountKind } from '../kernel.ts';
import { INTERRUPTED_RETRIES_MAX } from '../limits.ts';
import {
  failureName,
  linuxCalls,
  MOUNT_NO_DEVICES,
  MOUNT_NO_SETUID,
  MOUNT_READ_ONLY,
  UNMOUNT_DETACH,
  UNMOUNT_FORCE,
} from './linux-calls.ts';
import { posixError, posixName, toEnvError } from './posix-error.ts';

const FUSE_DEVICE = '/dev/fuse';
const HELPER = 'fusermount3';
const MODE_TYPE = 0o170000;

const retried: ReadonlySet<string> = new Set(['EINTR', 'EAGAIN', 'ENOENT']);

/** fusermount takes options with commas between; one in a name would begin the next. */
const plainSource = (source: string) => source.replace(/[,\\\s]/g, '_');

export async function mountFuse(path: string, options: FuseOptions): Promise<FuseMount> {
  const stats = statMountPoint(path);
  const isDirectory = stats.isDirectory();
  if (!isDirectory && !stats.isFile()) {
    throw new EnvError('ENV_INVALID', `cannot mount over ${path}: it is no file or directory`, {
      hint: 'Name a regular file or a directory.',
    });
  }
  const isRoot = process.geteuid?.() === 0;
  const mode = stats.mode & MODE_TYPE;
  const fd = isRoot ? mountAsRoot(path, mode, options) : await mountByHelper(path, options);
  return new NodeFuseMount(path, fd, isDirectory, isRoot);
}

function statMountPoint(path: string): fs.Stats {
  try {
    return fs.statSync(path);
  } catch (error) {
    if (posixName(error) !== 'ENOTCONN') throw toEnvError(error, 'mount over', path);
    throw new EnvError('ENV_ACCESS', `${path} is a mount whose program has died`, {
      hint: `Take it away first: ferry attach --detach ${path}`,
      cause: error,
    });
  }
}

function mountAsRoot(path: string, mode: number, options: FuseOptions): number {
  const calls = linuxCalls();
  let fd: number;
  try {
    fd = fs.openSync(FUSE_DEVICE, 'r+');
  } catch (error) {
    throw toEnvError(error, 'open', FUSE_DEVICE);
  }
  const data = [
    `fd=${fd}`,
    `rootmode=${mode.toString(8)}`,
    `user_id=${process.geteuid?.()}`,
    `group_id=${process.getegid?.()}`,
    'default_permissions',
    ...(options.allowOther ? ['allow_other'] : []),
  ];
  const flags = MOUNT_NO_SETUID | MOUNT_NO_DEVICES | (options.readOnly ? MOUNT_READ_ONLY : 0);
  const source = plainSource(options.source);
  const answer = calls.mount(source, path, 'fuse.ferry', flags, data.join(','));
  if (answer >= 0) return fd;
  fs.closeSync(fd);
  throw posixError(failureName(answer), 'mount over', path);
}

/** The helper opens /dev/fuse, mounts, and sends the descriptor through the socket it inherits. */
async function mountByHelper(path: string, options: FuseOptions): Promise<number> {
  const calls = linuxCalls();
  const pair = new Int32Array(2);
  const made = calls.socketPair(pair);
  if (made < 0) throw posixError(failureName(made), 'make a socket for', HELPER);
  const [own, its] = pair as unknown as [number, number];
  try {
    const wishes = [
      `fsname=${plainSource(options.source)}`,
      'subtype=ferry',
      'default_permissions',
      'nosuid',
      'nodev',
      options.readOnly ? 'ro' : 'rw',
      ...(options.allowOther ? ['allow_other'] : []),
    ];
    await runHelper(['-o', wishes.join(','), '--', path], its, `mount over ${path}`);
    const fd = calls.receiveDescriptor(own);
    if (fd >= 0) return fd;
    throw posixError(failureName(fd), 'take the mount over from', HELPER);
  } finally {
    fs.closeSync(own);
    fs.closeSync(its);
  }
}

const HELPER_WORDS_MAX = 500;

function runHelper(words: string[], socket: number | undefined, what: string): Promise<void> {
  // Not imported above: it is a large module, and most commands never mount.
  const { spawn } = process.getBuiltinModule('node:child_process');
  return new Promise((resolve, reject) => {
    const inherited = socket === undefined ? [] : [socket];
    const child = spawn(HELPER, words, {
      stdio: ['ignore', 'ignore', 'pipe', ...inherited],
      env: { ...process.env, _FUSE_COMMFD: '3' },
    });
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-HELPER_WORDS_MAX);
    });
    child.on('error', (cause) => {
      reject(
        new EnvError('ENV_UNSUPPORTED', `cannot ${what}: ${HELPER} does not start`, {
          hint: 'Install it (Debian: fuse3), or run this as root.',
          cause,
        }),
      );
    });
    child.on('close', (status) => {
      if (status === 0) resolve();
      else {
        const reason = said.trim().replace(/\s+/g, ' ') || `status ${status}`;
        const hint = 'Mount over a file or directory of your own; see fusermount3(1).';
        reject(new EnvError('ENV_ACCESS', `cannot ${what}: ${reason}`, { hint }));
      }
    });
  });
}

/** A mount whose program is gone, or is somebody else's. */
export async function unmountFuse(path: string): Promise<void> {
  if (!isFuseMount(path)) {
    throw new EnvError('ENV_INVALID', `${path} is not a FUSE mount`, {
      hint: 'Look at `findmnt -t fuse.ferry`.',
    });
  }
  if (!(await unmount(path, 'clean', process.geteuid?.() === 0))) {
    throw posixError('EBUSY', 'unmount', path);
  }
}

/** mountinfo escapes blanks and backslashes as three octal digits, proc(5). */
function isFuseMount(path: string): boolean {
  const lines = fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  return lines.some((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const point = (before.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    );
    return point === path && /^fuse(\.|$)/.test(after.split(' ')[0] ?? '');
  });
}

/** False if `clean` found it in use; one that is gone already counts as done. */
async function unmount(path: string, kind: UnmountKind, isRoot: boolean): Promise<boolean> {
  if (!isRoot) {
    const words = kind === 'clean' ? ['-u', '--', path] : ['-u', '-z', '--', path];
    try {
      await runHelper(words, undefined, `unmount ${path}`);
      return true;
    } catch (error) {
      if (error instanceof EnvError && /busy/i.test(error.message)) return false;
      throw error;
    }
  }
  const force = kind === 'forced' ? UNMOUNT_FORCE : 0;
  const flags = kind === 'clean' ? 0 : UNMOUNT_DETACH | force;
  const answer = await linuxCalls().unmountLater(path, flags);
  const name = answer < 0 ? failureName(answer) : '';
  if (name === 'EBUSY') return false;
  if (name === '' || name === 'EINVAL' || name === 'ENOENT') return true;
  throw posixError(name, 'unmount', path);
}

class NodeFuseMount implements FuseMount {
  readonly isDirectory: boolean;
  readonly #path: string;
  readonly #isRoot: boolean;
  readonly #onExit = (status: number) => this.#breakOff(status);
  #fd: number;
  #isReading = false;
  #isUnmounted = false;

  constructor(path: string, fd: number, isDirectory: boolean, isRoot: boolean) {
    this.#path = path;
    this.#fd = fd;
    this.isDirectory = isDirectory;
    this.#isRoot = isRoot;
    // A process that exits waits for its thread pool, and a read there for the next request.
    process.once('exit', this.#onExit);
  }

  read(target: Uint8Array, done: FileDone): void {
    this.#isReading = true;
    this.#read(target, done, 0);
  }

  write(reply: Uint8Array): boolean {
    if (this.#fd < 0) return false;
    try {
      fs.writeSync(this.#fd, reply); // The kernel copies it: this never waits.
      return true;
    } catch (error) {
      // ENOENT: the request was taken back. ENODEV: so was the mount.
      if (['ENOENT', 'ENODEV'].includes(posixName(error))) return false;
      throw toEnvError(error, 'answer a request for', this.#path);
    }
  }

  async unmount(kind: UnmountKind): Promise<boolean> {
    if (this.#isUnmounted) return true;
    const isGone = await unmount(this.#path, kind, this.#isRoot);
    this.#isUnmounted = isGone;
    return isGone;
  }

  close(): void {
    if (this.#fd < 0) return;
    process.removeListener('exit', this.#onExit);
    const fd = this.#fd;
    this.#fd = -1;
    fs.closeSync(fd);
  }

  #read(target: Uint8Array, done: FileDone, tries: number): void {
    fs.read(this.#fd, target, 0, target.byteLength, null, (error, count) => {
      const name = posixName(error);
      if (retried.has(name) && tries < INTERRUPTED_RETRIES_MAX) {
        this.#read(target, done, tries + 1);
        return;
      }
      this.#isReading = false;
      // ENODEV: unmounted. ECONNABORTED: aborted through the fusectl file system.
      const code = name === 'ENODEV' || name === 'ECONNABORTED' ? 'EBADF' : name;
      if (error) done(posixError(code, 'take a request for', this.#path, error), 0);
      else done(null, count);
    });
  }

  /** Synchronous, since the process is on its way out. The kernel lets all callers fail then. */
  #breakOff(status: number): void {
    const calls = linuxCalls();
    if (this.#isRoot && !this.#isUnmounted) {
      calls.unmount(this.#path, UNMOUNT_FORCE | UNMOUNT_DETACH);
    }
    if (this.#isReading) calls.exitAtOnce(status);
  }
}
