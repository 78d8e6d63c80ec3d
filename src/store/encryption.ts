/** What stands between a password and a repository: making keys, unlocking, and the key ring. */
import { equalSecrets, hmac, type Random } from '../core/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import {
  addKey,
  type KeyInfo,
  keyByPrefix,
  keyIds,
  listKeys,
  type NewKey,
  removeKey,
  unlock,
} from './crypto-key-objects.ts';
import { MASTER_KEY_BYTES, repositoryKeys } from './crypto-keys.ts';
import { parseRecoveryForm, recoveryForm } from './crypto-recovery.ts';
import { blindSealer, keyedSealer } from './crypto-sealer.ts';
import { damagedObject, noPassword, StoreError } from './errors.ts';
import { plainSealer, type Sealer } from './sealer.ts';
import { type Superblock, superblockKeys } from './superblock.ts';

/** What opens an encrypted repository. */
export type Secret = { readonly password: string } | { readonly recoveryForm: string };

export type UnlockOptions = {
  /** Called once if the repository is encrypted; undefined if there is nothing to give. */
  readonly secret?: () => Promise<Secret | undefined>;
  /** Open without a secret if need be: to check, copy and drop objects, not to read content. */
  readonly blind?: boolean;
  /** STORE_NOT_ENCRYPTED if it is not: somebody may have put another one in its place. */
  readonly mustBeEncrypted?: boolean;
};

export type Unlocked = { readonly sealer: Sealer; readonly ring: KeyRing | undefined };

/** The master key of a new repository, wrapped under its first password. */
export async function makeKeys(
  objects: ObjectStore,
  random: Random,
  superblock: Superblock,
  key: NewKey,
): Promise<Superblock> {
  const master = new Uint8Array(MASTER_KEY_BYTES);
  random.fill(master);
  await addKey(objects, random, superblock.repositoryId, master, key);
  return { ...superblock, mac: macOf(superblock, master) };
}

/** The superblock's facts under a key: a list, so that no two are spelled alike. */
function macOf(superblock: Superblock, master: Uint8Array): Uint8Array {
  const { repositoryId, chunkBytes, created, features } = superblock;
  const { reader, writer, gc } = features;
  const facts = JSON.stringify([repositoryId, chunkBytes, created, reader, writer, gc]);
  const { superblock: key } = repositoryKeys(master, repositoryId);
  return hmac(key, new TextEncoder().encode(facts));
}

/** STORE_NO_PASSWORD, STORE_WRONG_PASSWORD, STORE_NOT_ENCRYPTED, STORE_DAMAGED. */
export async function unlockRepository(
  objects: ObjectStore,
  random: Random,
  superblock: Superblock,
  options: UnlockOptions,
): Promise<Unlocked> {
  if (superblock.mac === undefined) {
    await checkPlain(objects, options);
    return { sealer: plainSealer, ring: undefined };
  }
  const secret = await options.secret?.();
  if (secret === undefined) {
    if (options.blind === true) return { sealer: blindSealer, ring: undefined };
    throw noPassword(`the repository in ${objects.name}`);
  }
  const { repositoryId } = superblock;
  const master =
    'password' in secret
      ? (await unlock(objects, repositoryId, secret.password)).master
      : parseRecoveryForm(secret.recoveryForm);
  if (!equalSecrets(macOf(superblock, master), superblock.mac)) {
    if ('recoveryForm' in secret) throw foreignForm();
    throw damagedObject(superblockKeys[0], 'somebody without the key has changed it');
  }
  const sealer = keyedSealer(repositoryKeys(master, repositoryId), repositoryId, random);
  return { sealer, ring: new KeyRing(objects, random, repositoryId, master) };
}

/** A superblock that says "not encrypted" is easily put in the place of one that says otherwise. */
async function checkPlain(objects: ObjectStore, options: UnlockOptions): Promise<void> {
  if (options.mustBeEncrypted === true) {
    throw new StoreError('STORE_NOT_ENCRYPTED', `${objects.name} is not encrypted`, {
      hint:
        'Unset FERRY_PASSWORD, FERRY_PASSWORD_FILE and FERRY_PASSWORD_COMMAND if that is meant; ' +
        'if it was encrypted before, somebody has replaced it.',
    });
  }
  if ((await keyIds(objects)).length === 0) return;
  throw damagedObject(superblockKeys[0], 'it says not encrypted, but there are keys');
}

function foreignForm(): StoreError {
  return new StoreError('STORE_WRONG_PASSWORD', 'the recovery form is of another repository', {
    hint: 'It begins with the repository that it is for; see `ferry key export`.',
  });
}

/** The passwords of an open repository. */
export class KeyRing {
  readonly #objects: ObjectStore;
  readonly #random: Random;
  readonly #repositoryId: string;
  readonly #master: Uint8Array;

  constructor(objects: ObjectStore, random: Random, repositoryId: string, master: Uint8Array) {
    this.#objects = objects;
    this.#random = random;
    this.#repositoryId = repositoryId;
    this.#master = master;
  }

  async list(): Promise<KeyInfo[]> {
    return (await listKeys(this.#objects)).keys;
  }

  /** STORE_LIMIT, STORE_NAME. */
  async add(key: NewKey): Promise<KeyInfo> {
    return addKey(this.#objects, this.#random, this.#repositoryId, this.#master, key);
  }

  /** By id or the first digits of it; STORE_KEY, also for the last one. */
  async remove(prefix: string): Promise<KeyInfo> {
    const key = keyByPrefix(await this.list(), prefix);
    await removeKey(this.#objects, key.id);
    return key;
  }

  /** Opens the repository without any password, for ever: to be printed and locked away. */
  recoveryForm(): string {
    return recoveryForm(this.#master);
  }

  /** For the new password to be proved, before anybody relies on it. */
  async proves(password: string): Promise<string> {
    return (await unlock(this.#objects, this.#repositoryId, password)).keyId;
  }
}

/** What is wrong with the objects under `keys/`, by their names. */
export async function checkKeys(objects: ObjectStore): Promise<Map<string, StoreError>> {
  return (await listKeys(objects)).damaged;
}
