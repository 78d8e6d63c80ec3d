/** What an object may be called; refused names never reach a path, an address or a table. */
import { OBJECT_NAME_BYTES_MAX } from './limits.ts';
import { ObjectError } from './object-store.ts';

/** The first segment that stores keep to themselves, for what is not an object yet. */
export const TEMPORARY_FOLDER = 'tmp';

// Segments begin with a letter or digit, so neither `.` nor `..` nor an empty one can be written.
const segments = /^[a-z0-9][a-z0-9._-]*(\/[a-z0-9][a-z0-9._-]*)*$/;

export function isObjectName(key: string): boolean {
  // The length first: the pattern is then cheap, whatever the input. All bytes are ASCII.
  if (key.length > OBJECT_NAME_BYTES_MAX || !segments.test(key)) return false;
  return key !== TEMPORARY_FOLDER && !key.startsWith(`${TEMPORARY_FOLDER}/`);
}

export function checkObjectName(key: string): void {
  if (isObjectName(key)) return;
  throw new ObjectError('OBJECT_NAME', `${shown(key)} cannot be the name of an object`, {
    hint: 'Names are lower-case segments of letters, digits, ".", "_" and "-", joined by "/".',
  });
}

/** A prefix is a whole folder with its slash, or empty for all objects. */
export function checkPrefix(prefix: string): void {
  if (prefix === '') return;
  if (prefix.endsWith('/') && isObjectName(prefix.slice(0, -1))) return;
  throw new ObjectError('OBJECT_NAME', `${shown(prefix)} cannot be a folder of objects`, {
    hint: 'A folder ends in "/"; the empty string stands for all objects.',
  });
}

/** A name from outside may be long or hold control characters: neither belongs into a message. */
function shown(key: string): string {
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}...` : key);
}
