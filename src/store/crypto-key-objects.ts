/** The objects under `keys/`: each holds the master key, wrapped under one password. */
import { FormatError, fromHex, type Random, toHex } from '../core/index.ts';
import { ObjectError, type ObjectStore } from '../objects/index.ts';
import { MASTER_KEY_BYTES } from './crypto-keys.ts';
import {
  checkKdf,
  defaultKdf,
  KDF_SALT_BYTES,
  type KdfParameters,
  unwrapKey,
  type Wrapping,
  wrapKey,
} from './crypto-password.ts';
import { sealJson, unsealJson } from './envelope.ts';
import { damagedObject, missingObject, StoreError } from './errors.ts';
import { JsonFields } from './json.ts';
import { KEYS_MAX, NAME_BYTES_MAX } from './limits.ts';

const KEY_ID_BYTES = 8;
const WRAPPED_BYTES = MASTER_KEY_BYTES + 16;

/** A key object is a few hundred bytes long. */
const KEY_OBJECT_BYTES_MAX = 64 * 1024;

/** What `key list` tells: nothing of it is secret. */
export type KeyInfo = {
  readonly id: string;
  readonly created: string;
  readonly label: string | undefined;
};

type KeyObject = KeyInfo & {
  readonly kdf: KdfParameters;
  readonly salt: Uint8Array;
  readonly wrapped: Uint8Array;
};

export type NewKey = {
  readonly password: string;
  readonly created: string;
  readonly label?: string | undefined;
  readonly kdf?: KdfParameters | undefined;
};

function keyKey(id: string): string {
  return `keys/${id}`;
}

/** Ids of all key objects; their names are all that is looked at. */
export async function keyIds(objects: ObjectStore): Promise<string[]> {
  const ids: string[] = [];
  for await (const { key } of objects.list('keys/')) {
    const id = key.slice('keys/'.length);
    if (fromHex(id, KEY_ID_BYTES) !== undefined) ids.push(id);
  }
  return ids;
}

/** Wraps the master key under another password; durable afterwards. */
export async function addKey(
  objects: ObjectStore,
  random: Random,
  repositoryId: string,
  master: Uint8Array,
  { password, created, label, kdf = defaultKdf }: NewKey,
): Promise<KeyInfo> {
  checkPassword(password);
  checkLabel(label);
  if ((await keyIds(objects)).length >= KEYS_MAX) {
    throw new StoreError('STORE_LIMIT', `the repository has ${KEYS_MAX} passwords already`, {
      hint: 'Remove one with `ferry key remove ID`; `ferry key list` shows them.',
    });
  }
  const id = new Uint8Array(KEY_ID_BYTES);
  random.fill(id);
  const salt = new Uint8Array(KDF_SALT_BYTES);
  random.fill(salt);
  const info = { id: toHex(id), created, label };
  const wrapping = wrappingOf({ ...info, kdf, salt }, repositoryId);
  const json = {
    created,
    ...(label !== undefined && { label }),
    kdf: { name: 'scrypt', ...kdf, salt: toHex(salt) },
    wrapped: toHex(wrapKey(master, password, wrapping)),
  };
  await objects.putIfAbsent(keyKey(info.id), sealJson('key', json));
  return info;
}

/** What is authenticated with the wrapped key: which key of which repository, and its facts. */
function wrappingOf(
  { id, created, label, kdf, salt }: Omit<KeyObject, 'wrapped'>,
  repositoryId: string,
): Wrapping {
  const { logN, r, p } = kdf;
  const facts = JSON.stringify([repositoryId, id, created, label ?? null, logN, r, p, toHex(salt)]);
  return { kdf, salt, bound: new TextEncoder().encode(`blockferry 1 key\n${facts}`) };
}

/** STORE_DAMAGED, or an ObjectError. */
async function readKey(objects: ObjectStore, id: string): Promise<KeyObject> {
  const key = keyKey(id);
  const bytes = await objects.get(key, KEY_OBJECT_BYTES_MAX);
  const fields = new JsonFields(unsealJson('key', bytes, key), key);
  const kdf = fields.object('kdf');
  if (kdf.text('name') !== 'scrypt') throw damagedObject(key, 'its derivation is not known here');
  const found = {
    id,
    created: fields.text('created'),
    label: fields.has('label') ? fields.text('label') : undefined,
    kdf: { logN: kdf.count('logN'), r: kdf.count('r'), p: kdf.count('p') },
    salt: fromHex(kdf.hex('salt', KDF_SALT_BYTES), KDF_SALT_BYTES)!,
    wrapped: fromHex(fields.hex('wrapped', WRAPPED_BYTES), WRAPPED_BYTES)!,
  };
  try {
    checkKdf(found.kdf);
  } catch (error) {
    if (error instanceof FormatError) throw damagedObject(key, error.message, error);
    throw error;
  }
  return found;
}

/** All key objects that can be read, by their age; and what is wrong with the others. */
export async function listKeys(
  objects: ObjectStore,
): Promise<{ keys: KeyInfo[]; damaged: Map<string, StoreError> }> {
  const keys: KeyInfo[] = [];
  const damaged = new Map<string, StoreError>();
  for (const id of await keyIds(objects)) {
    try {
      const { created, label } = await readKey(objects, id);
      keys.push({ id, created, label });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      damaged.set(keyKey(id), error);
    }
  }
  keys.sort((a, b) => (a.created < b.created ? -1 : 1));
  return { keys, damaged };
}

/** The master key and the key that gave it; STORE_WRONG_PASSWORD if none does. */
export async function unlock(
  objects: ObjectStore,
  repositoryId: string,
  password: string,
): Promise<{ master: Uint8Array; keyId: string }> {
  let damage: StoreError | undefined;
  const ids = await keyIds(objects);
  if (ids.length === 0) throw missingObject('keys/');
  for (const id of ids.slice(0, KEYS_MAX)) {
    try {
      const found = await readKey(objects, id);
      const master = unwrapKey(found.wrapped, password, wrappingOf(found, repositoryId));
      if (master !== undefined) return { master, keyId: id };
    } catch (error) {
      // A key that was removed just now is none; a damaged one may not be the one that fits.
      if (error instanceof ObjectError && error.code === 'OBJECT_NOT_FOUND') continue;
      if (!(error instanceof StoreError)) throw error;
      damage ??= error;
    }
  }
  const also = damage === undefined ? '' : `, and ${damage.message}`;
  throw new StoreError(
    'STORE_WRONG_PASSWORD',
    `no key of the repository has this password${also}`,
    {
      hint: 'Check password and repository. With a recovery form: `ferry key add --recovery`.',
      cause: damage,
    },
  );
}

/** The password of this key opens nothing any more. STORE_KEY if it is absent, or the last one. */
export async function removeKey(objects: ObjectStore, id: string): Promise<void> {
  const ids = await keyIds(objects);
  if (!ids.includes(id)) throw noSuchKey(id);
  if (ids.length === 1) throw lastKey();
  const bytes = await objects.get(keyKey(id), KEY_OBJECT_BYTES_MAX);
  await objects.remove(keyKey(id));
  if ((await keyIds(objects)).length > 0) return;
  // Somebody else removed the other one at the same time.
  await objects.putIfAbsent(keyKey(id), bytes);
  throw lastKey();
}

/** The one id that begins like this; STORE_KEY. */
export function keyByPrefix(keys: readonly KeyInfo[], prefix: string): KeyInfo {
  const fits = prefix === '' ? [] : keys.filter(({ id }) => id.startsWith(prefix));
  const [found] = fits;
  if (found !== undefined && fits.length === 1) return found;
  if (fits.length === 0) throw noSuchKey(prefix);
  throw new StoreError('STORE_KEY', `${prefix} may be ${fits.length} keys`, {
    hint: 'Give more digits of the id; `ferry key list` shows them.',
  });
}

function noSuchKey(id: string): StoreError {
  return new StoreError('STORE_KEY', `the repository has no key ${id}`, {
    hint: 'See `ferry key list`.',
  });
}

function lastKey(): StoreError {
  return new StoreError('STORE_KEY', 'this is the only password of the repository', {
    hint: 'Add another one first, with `ferry key add`: without any, nothing can be read again.',
  });
}

function checkPassword(password: string): void {
  if (password !== '') return;
  throw new StoreError('STORE_NO_PASSWORD', 'an empty password protects nothing', {
    hint: 'Choose one that nobody guesses; a few random words serve.',
  });
}

function checkLabel(label: string | undefined): void {
  if (label === undefined) return;
  const bytes = new TextEncoder().encode(label).byteLength;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  if (bytes > 0 && bytes <= NAME_BYTES_MAX && !/[\u0000-\u001f\u007f]/.test(label)) return;
  throw new StoreError('STORE_NAME', 'a label has 1 to 128 bytes without control characters', {
    hint: 'It is stored in clear and only tells passwords apart: --label laptop.',
  });
}
