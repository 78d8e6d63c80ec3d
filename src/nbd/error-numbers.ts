/** The one table between device errors and the error numbers of NBD, which are Linux's. */
import { DeviceError, type DeviceErrorCode } from '../device/index.ts';

export const EPERM = 1;
export const EIO = 5;
export const ENOMEM = 12;
export const EINVAL = 22;
export const ENOSPC = 28;
export const EOVERFLOW = 75;
export const ENOTSUP = 95;
export const ESHUTDOWN = 108;

const numbers: Readonly<Record<DeviceErrorCode, number>> = {
  DEVICE_RANGE: EINVAL,
  DEVICE_ALIGNMENT: EINVAL,
  DEVICE_READ_ONLY: EPERM,
  DEVICE_NO_SPACE: ENOSPC,
  DEVICE_IO: EIO,
  DEVICE_UNSUPPORTED: ENOTSUP,
  DEVICE_FLUSH_FAILED: EIO,
  DEVICE_SHRUNK: EIO,
  DEVICE_NOT_FOUND: EIO,
  DEVICE_ACCESS: EPERM,
  DEVICE_SIZE: EINVAL,
  DEVICE_CLOSED: ESHUTDOWN,
  DEVICE_EXISTS: EINVAL,
  DEVICE_LAYER: EIO,
};

type Meaning = readonly [code: DeviceErrorCode, words: string, hint: string];

const meanings = new Map<number, Meaning>([
  [EPERM, ['DEVICE_READ_ONLY', 'not permitted', 'The export is read-only.']],
  [EIO, ['DEVICE_IO', 'input/output error', 'Look at the log of the server.']],
  [ENOMEM, ['DEVICE_IO', 'the server is out of memory', 'Try again with fewer requests.']],
  [EINVAL, ['DEVICE_RANGE', 'invalid request', 'Compare the size on both sides.']],
  [ENOSPC, ['DEVICE_NO_SPACE', 'no space is left', 'Free some space at the server.']],
  [EOVERFLOW, ['DEVICE_IO', 'the server cannot answer in one piece', 'Ask for less at once.']],
  [ENOTSUP, ['DEVICE_UNSUPPORTED', 'not supported there', 'Write zeroes instead.']],
  [ESHUTDOWN, ['DEVICE_CLOSED', 'the server is shutting down', 'Connect again later.']],
]);

/** The number to answer with for whatever a device threw; what is unknown is an I/O error. */
export function errorNumber(error: unknown): number {
  return error instanceof DeviceError ? numbers[error.code] : EIO;
}

/** A server's error number as a device's error. Number 0, no error at all, is the caller's. */
export function deviceError(number: number, what: string): DeviceError {
  const [code, words, hint] = meanings.get(number) ?? [
    'DEVICE_IO',
    'it failed',
    'Look at the log of the server.',
  ];
  return new DeviceError(code, `${what}: ${words} (error ${number})`, { hint });
}
