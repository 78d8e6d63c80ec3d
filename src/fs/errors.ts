/** Errors of the parsers: every byte that they read comes from a disk that may lie. */
import { FerryError } from '../core/index.ts';

export type FsErrorCode =
  | 'FS_NOT_FOUND' // There is no such format, file system or object here.
  | 'FS_DAMAGED' // A number contradicts another one, or the size of what holds it.
  | 'FS_UNSUPPORTED' // A feature that this parser does not know, or knows that it cannot read.
  | 'FS_LIMIT'; // More of something than a bound of limits.ts allows.

export class FsError extends FerryError<FsErrorCode> {
  override readonly name = 'FsError';
}

export function notFound(what: string): FsError {
  return new FsError('FS_NOT_FOUND', what, { hint: 'Look whether it is what it was taken for.' });
}

export function damaged(what: string): FsError {
  return new FsError('FS_DAMAGED', what, {
    hint: 'Check it with the tools of its own format (qemu-img check, e2fsck -n).',
  });
}

export function unsupported(what: string): FsError {
  return new FsError('FS_UNSUPPORTED', what, { hint: 'Read it through a program that knows it.' });
}

export function tooMuch(what: string): FsError {
  return new FsError('FS_LIMIT', what, { hint: 'It may be damaged; check it with its own tools.' });
}
