/** The failures that object stores share, and the one place where EnvErrors become ObjectErrors. */
import { EnvError, type EnvErrorCode } from '../core/index.ts';
import { ObjectError, type ObjectErrorCode } from './object-store.ts';

export function notFoundError(store: string, key: string, cause?: unknown): ObjectError {
  return new ObjectError('OBJECT_NOT_FOUND', `${store} holds no object ${key}`, {
    hint: 'Check that this is the right place and that nothing was removed from it.',
    cause,
  });
}

export function existsError(store: string, key: string, cause?: unknown): ObjectError {
  return new ObjectError('OBJECT_EXISTS', `${store} holds an object ${key} already`, {
    hint: 'Objects never change; another writer may have been faster.',
    cause,
  });
}

export function rangeError(
  store: string,
  key: string,
  wanted: { readonly offsetBytes: number; readonly lengthBytes: number },
): ObjectError {
  const { offsetBytes, lengthBytes } = wanted;
  const message = `${store}: ${key} ends before byte ${offsetBytes + lengthBytes}`;
  return new ObjectError('OBJECT_RANGE', message, {
    hint: 'The object was cut short, or what names this range is damaged.',
  });
}

export function tooLargeError(
  store: string,
  key: string,
  size: { readonly sizeBytes: number; readonly bytesMax: number },
): ObjectError {
  const { sizeBytes, bytesMax } = size;
  const message = `${store}: ${key} has ${sizeBytes} bytes, at most ${bytesMax} are expected`;
  return new ObjectError('OBJECT_RANGE', message, {
    hint: 'Something else was put in its place.',
  });
}

/** Something stands there that no store puts there: a link, a FIFO, a file where folders are. */
export function foreignError(
  store: string,
  key: string,
  wanted: 'a regular file' | 'a directory' | 'what was there a moment ago',
  cause?: unknown,
): ObjectError {
  return new ObjectError('OBJECT_FOREIGN', `${store}: ${key} is not ${wanted}`, {
    hint: 'It was replaced from outside; links and special files are never followed or opened.',
    cause,
  });
}

const codes: Readonly<Partial<Record<EnvErrorCode, ObjectErrorCode>>> = {
  ENV_ACCESS: 'OBJECT_ACCESS',
  ENV_READ_ONLY: 'OBJECT_ACCESS',
  ENV_NO_SPACE: 'OBJECT_NO_SPACE',
};

/** What Env answered to `verb`ing `key`; other errors pass through as they are. */
export function objectError(error: unknown, store: string, verb: string, key: string): unknown {
  if (!(error instanceof EnvError)) return error;
  if (error.code === 'ENV_NOT_FOUND') return notFoundError(store, key, error);
  const message = `${store}: cannot ${verb} ${key}: ${error.message}`;
  const code = codes[error.code] ?? 'OBJECT_IO';
  const hint =
    code === 'OBJECT_NO_SPACE'
      ? 'Free some space there, or raise the quota; nothing of this object was kept.'
      : error.hint;
  return new ObjectError(code, message, { hint, cause: error });
}
