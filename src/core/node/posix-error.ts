/** The one place where POSIX error names become EnvErrors. */
import { EnvError, type EnvErrorCode } from '../errors.ts';

type Meaning = readonly [code: EnvErrorCode, words: string, hint: string];

const meanings: Readonly<Record<string, Meaning>> = {
  ENOENT: ['ENV_NOT_FOUND', 'there is no such file or directory', 'Check the path.'],
  ENOTFOUND: ['ENV_NOT_FOUND', 'the host name is unknown', 'Check the host name.'],
  ENXIO: ['ENV_NOT_FOUND', 'there is no such device', 'Check that the device is attached.'],
  ENODEV: ['ENV_NOT_FOUND', 'there is no such device', 'Check that the device is attached.'],
  EEXIST: ['ENV_EXISTS', 'it exists already', 'Choose another name or remove it first.'],
  ENOTEMPTY: ['ENV_EXISTS', 'the directory is not empty', 'Remove what is in it first.'],
  EACCES: ['ENV_ACCESS', 'permission denied', 'Check the owner and the mode, or use another user.'],
  EPERM: ['ENV_ACCESS', 'not permitted', 'Check the owner, the mode and the file attributes.'],
  EBUSY: ['ENV_ACCESS', 'it is in use', 'Unmount it or stop the program that uses it.'],
  ETXTBSY: ['ENV_ACCESS', 'it is being executed', 'Stop the program that runs from it.'],
  ENOSPC: ['ENV_NO_SPACE', 'no space is left', 'Free some space there and try again.'],
  EDQUOT: ['ENV_NO_SPACE', 'the disk quota is used up', 'Free some space or raise the quota.'],
  EFBIG: ['ENV_NO_SPACE', 'the file would be too large', 'Raise the file size limit (ulimit -f).'],
  EROFS: ['ENV_READ_ONLY', 'the file system is read-only', 'Remount it for writing.'],
  EIO: ['ENV_IO', 'input/output error', 'Look at the kernel log; the medium may be failing.'],
  EREMOTEIO: ['ENV_IO', 'remote input/output error', 'Look at the kernel log on both hosts.'],
  ESTALE: ['ENV_IO', 'the network file handle is stale', 'Mount the network file system again.'],
  ENOMEDIUM: ['ENV_IO', 'there is no medium in the device', 'Insert one.'],
  ENOTDIR: ['ENV_NOT_A_DIRECTORY', 'part of the path is not a directory', 'Check the path.'],
  EISDIR: ['ENV_IS_A_DIRECTORY', 'it is a directory', 'Name a file or a block device.'],
  EMFILE: ['ENV_LIMIT', 'too many files are open', 'Raise the limit of open files (ulimit -n).'],
  ENFILE: ['ENV_LIMIT', 'too many files are open on this machine', 'Raise fs.file-max.'],
  ENOMEM: ['ENV_LIMIT', 'the kernel is out of memory', 'Free some memory.'],
  EMLINK: ['ENV_LIMIT', 'it has too many links', 'Use another file system.'],
  ENOLCK: [
    'ENV_LIMIT',
    'no more locks are available',
    'Check the lock service of the file system.',
  ],
  ENOSYS: ['ENV_UNSUPPORTED', 'the system cannot do that', 'Use a newer kernel.'],
  EOPNOTSUPP: ['ENV_UNSUPPORTED', 'not supported there', 'Use another file system.'],
  ENOTSUP: ['ENV_UNSUPPORTED', 'not supported there', 'Use another file system.'],
  EXDEV: ['ENV_INVALID', 'the two paths lie on different file systems', 'Use one file system.'],
  EINVAL: ['ENV_INVALID', 'invalid argument', 'The medium does not take this request.'],
  ENAMETOOLONG: ['ENV_INVALID', 'the path is too long', 'Use a shorter one.'],
  ELOOP: ['ENV_INVALID', 'too many symbolic links', 'Check where the links lead.'],
  EBADF: ['ENV_CLOSED', 'it is closed', 'Open it again.'],
  EPIPE: ['ENV_CLOSED', 'the other side has closed', 'Look at the log of the other side.'],
  ECONNRESET: ['ENV_CLOSED', 'the other side broke off', 'Look at the log of the other side.'],
  ECONNABORTED: ['ENV_CLOSED', 'the connection broke', 'Try again.'],
  ECONNREFUSED: ['ENV_REFUSED', 'nobody listens there', 'Check the address and start the server.'],
  EHOSTUNREACH: ['ENV_REFUSED', 'the host cannot be reached', 'Check the network and the address.'],
  ENETUNREACH: ['ENV_REFUSED', 'the network cannot be reached', 'Check the network.'],
  ETIMEDOUT: ['ENV_TIMEOUT', 'no answer in time', 'Check the network and the other side.'],
  EADDRINUSE: ['ENV_ADDRESS_IN_USE', 'the address is in use', 'Choose another port or path.'],
  EADDRNOTAVAIL: ['ENV_INVALID', 'the address is not of this machine', 'Check the address.'],
};

const unknown: Meaning = ['ENV_IO', 'it failed', 'Look at the kernel log.'];

/** The POSIX name of a failure of Node's, such as `ENOENT`; empty if it has none. */
export function posixName(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

/** `call` is a verb in plain words ("open", "write to"), `object` a path or an address. */
export function posixError(name: string, call: string, object: string, cause?: unknown): EnvError {
  const [code, words, hint] = meanings[name] ?? unknown;
  const label = name === '' ? String((cause as Error | undefined)?.message ?? 'unknown') : name;
  return new EnvError(code, `cannot ${call} ${object}: ${words} (${label})`, { hint, cause });
}

/** Wraps what Node threw or passed to a callback; an EnvError stays as it is. */
export function toEnvError(error: unknown, call: string, object: string): EnvError {
  if (error instanceof EnvError) return error;
  return posixError(posixName(error), call, object, error);
}
