/** Files on the real disk: positional reads and writes with callbacks, every error typed. */
import fs from 'node:fs';
import type {
  FileKind,
  FileLock,
  FileStat,
  Files,
  OpenFile,
  OpenFileOptions,
  OpenMode,
} from '../env.ts';
import { EnvError } from '../errors.ts';
import { errnoName, LOCK_EXCLUSIVE_NOW, native } from './native.ts';
import { NodeFile, statOf } from './open-file.ts';
import { posixError, posixName, toEnvError } from './posix-error.ts';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOCTTY, O_NONBLOCK } = fs.constants;

const flagsOf: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY,
  update: O_RDWR,
  write: O_RDWR | O_CREAT,
  create: O_RDWR | O_CREAT | O_EXCL,
};

const verbOf: Readonly<Record<OpenMode, string>> = {
  read: 'open',
  update: 'open for writing',
  write: 'open for writing',
  create: 'create',
};

type Done<T> = (error: NodeJS.ErrnoException | null, value?: T) => void;

/** One call with a callback as a promise; `verb` and `path` go into the message of a failure. */
function call<T>(verb: string, path: string, start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    try {
      start((error, value) => {
        if (error) reject(toEnvError(error, verb, path));
        else resolve(value as T);
      });
    } catch (error) {
      reject(toEnvError(error, verb, path)); // For example a NUL byte in the path.
    }
  });
}

export function nodeFiles(): Files {
  return {
    open,
    stat,
    statEntry: async (path) => {
      const stats = await call<fs.Stats>('examine', path, (done) => fs.lstat(path, done));
      return stats.isBlockDevice() ? stat(path) : statOf(stats, kindOf(stats), undefined);
    },
    list: async (path) => {
      const names = await call<string[]>('list', path, (done) => fs.readdir(path, done));
      return names.sort();
    },
    makeDirectory,
    link: (from, to) => call('link to', to, (done) => fs.link(from, to, done)),
    rename: (from, to) => call('rename', `${from} to ${to}`, (done) => fs.rename(from, to, done)),
    remove: (path) => call('remove', path, (done) => fs.unlink(path, done)),
    removeDirectory: (path) => call('remove', path, (done) => fs.rmdir(path, done)),
    syncDirectory,
    lock,
  };
}

async function open(
  path: string,
  mode: OpenMode,
  { directIo = false, exclusive = false }: OpenFileOptions = {},
): Promise<OpenFile> {
  const verb = verbOf[mode];
  // Without O_NONBLOCK the opening of a FIFO would wait for its other end for ever.
  const flags = flagsOf[mode] | O_NOCTTY | O_NONBLOCK | (directIo ? directFlag(path) : 0);
  const fd = await call<number>(verb, path, (done) => fs.open(path, flags, 0o666, done));
  try {
    const stats = await call<fs.Stats>('examine', path, (done) => fs.fstat(fd, done));
    const kind = kindOf(stats);
    if (kind === 'directory') throw posixError('EISDIR', verb, path);
    if (kind === 'other') {
      throw new EnvError('ENV_INVALID', `cannot ${verb} ${path}: it is not a file or disk`, {
        hint: 'Name a regular file or a block device; pipes and terminals have no offsets.',
      });
    }
    if (kind !== 'block-device' || !exclusive) return new NodeFile(path, fd, kind, directIo);
    const claimed = await claim(path, (flags & ~O_CREAT) | O_EXCL, verb);
    fs.close(fd, () => undefined);
    return new NodeFile(path, claimed, kind, directIo);
  } catch (error) {
    fs.close(fd, () => undefined);
    throw error;
  }
}

/** Opened once more, as the kind of a file is known only then: O_EXCL would not open some files. */
function claim(path: string, flags: number, verb: string): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(path, flags, (error, fd) => {
      if (error === null) resolve(fd);
      else if (error.code !== 'EBUSY') reject(toEnvError(error, verb, path));
      else {
        const what = 'it is mounted, or in use by the system';
        const hint = 'Unmount it, or take it out of its volume group or array.';
        reject(
          new EnvError('ENV_ACCESS', `cannot ${verb} ${path}: ${what}`, { hint, cause: error }),
        );
      }
    });
  });
}

function directFlag(path: string): number {
  const flag = fs.constants.O_DIRECT as number | undefined; // Linux only.
  if (flag !== undefined && native() !== undefined) return flag;
  throw new EnvError('ENV_UNSUPPORTED', `cannot open ${path} for direct transfers on this system`, {
    hint: 'They need Linux and the optional native part (koffi); do without --direct-io.',
  });
}

async function stat(path: string): Promise<FileStat> {
  const stats = await call<fs.Stats>('examine', path, (done) => fs.stat(path, done));
  const kind = kindOf(stats);
  if (kind !== 'block-device') return statOf(stats, kind, undefined);
  const file = await open(path, 'read');
  try {
    return await file.stat();
  } finally {
    await file.close();
  }
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await call<void>('make', path, (done) => fs.mkdir(path, done));
  } catch (error) {
    if (!(error instanceof EnvError) || error.code !== 'ENV_EXISTS') throw error;
    const { kind } = await stat(path);
    if (kind !== 'directory') throw posixError('ENOTDIR', 'make', path, error);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const verb = 'make durable';
  const fd = await call<number>(verb, path, (done) => fs.open(path, O_RDONLY, done));
  try {
    await call<void>(verb, path, (done) =>
      fs.fsync(fd, (error) => {
        // Some network file systems refuse it since their names are durable at once.
        done(posixName(error) === 'EINVAL' ? null : error);
      }),
    );
  } finally {
    await call<void>('close', path, (done) => fs.close(fd, done));
  }
}

async function lock(path: string): Promise<FileLock | undefined> {
  const system = native();
  if (system === undefined) {
    throw new EnvError('ENV_UNSUPPORTED', `cannot lock ${path}: flock is not available here`, {
      hint: 'Install the optional native part (koffi) for this system.',
    });
  }
  const flags = O_RDWR | O_CREAT | O_NOCTTY | O_NONBLOCK;
  const fd = await call<number>('lock', path, (done) => fs.open(path, flags, 0o666, done));
  const close = (): Promise<void> => call('unlock', path, (done) => fs.close(fd, done));
  const answer = system.lock(fd, LOCK_EXCLUSIVE_NOW);
  if (answer >= 0) {
    let released: Promise<void> | undefined;
    return {
      release: () => {
        released ??= close(); // Twice must not close a descriptor that is somebody else's by then.
        return released;
      },
    };
  }
  await close();
  const name = errnoName(-answer);
  if (name === 'EWOULDBLOCK' || name === 'EAGAIN') return undefined;
  throw posixError(name, 'lock', path);
}

function kindOf(stats: fs.Stats): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  return stats.isBlockDevice() ? 'block-device' : 'other';
}
