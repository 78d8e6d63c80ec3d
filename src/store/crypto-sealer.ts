/** Sealers of encrypted repositories: one with the keys, and one for a host that has none. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import {
  equalBytes,
  equalSecrets,
  fromHex,
  hmac,
  type Random,
  SHA256_BYTES,
} from '../core/index.ts';
import { fieldsKeyOf, type RepositoryKeys } from './crypto-keys.ts';
import { blindPack, sealedPack } from './crypto-pack.ts';
import { type ObjectKind, objectKinds, parseJson } from './envelope.ts';
import { damagedObject, noPassword } from './errors.ts';
import { JsonFields } from './json.ts';
import { type PlainFields, type Sealer, withFields } from './sealer.ts';

const MAC_BYTES = SHA256_BYTES;
const SALT_BYTES = 32;
const TAG_BYTES = 16;

/** Every key that it seals with is used once, so the nonce may be the same. */
const NONCE = new Uint8Array(12);

/** Stands where a host without the key has nothing to prove. */
const HOST_MAC = new Uint8Array(MAC_BYTES);

const MAC_LABEL = new TextEncoder().encode('blockferry 1 object\n');

/** The field that holds what `hide` has sealed, in base64. */
const SEALED_FIELD = 'sealed';

export function keyedSealer(keys: RepositoryKeys, repositoryId: string, random: Random): Sealer {
  const repository = fromHex(repositoryId, 16)!;
  const chunkSigning = { idKey: keys.chunkId, checksumKey: keys.checksum };
  const treeSigning = { idKey: keys.treeId, checksumKey: keys.checksum };
  const macOf = (kind: ObjectKind, key: string, payload: Uint8Array) =>
    hmac(keys.objects, MAC_LABEL, repository, nameOf(kind, key), payload);
  return {
    mode: 'keyed',
    chunkSigning,
    treeSigning,
    pack: (packId) => sealedPack(keys, packId, { chunkSigning, treeSigning }),
    wrap(kind, key, payload) {
      return new Uint8Array(Buffer.concat([payload, macOf(kind, key, payload)]));
    },
    unwrap(kind, key, payload) {
      const { content, mac } = splitMac(key, payload);
      if (equalBytes(mac, HOST_MAC) && isHosts(kind, key, content)) return content;
      if (equalSecrets(mac, macOf(kind, key, content))) return content;
      throw damagedObject(key, 'nobody with the key of this repository has written it there');
    },
    hide(place, fields, clear) {
      const shown: Record<string, unknown> = {};
      const hidden: Record<string, unknown> = {};
      for (const [name, value] of Object.entries(fields)) {
        (clear.includes(name) ? shown : hidden)[name] = value;
      }
      const sealed = sealBytes(keys, random, place, Buffer.from(JSON.stringify(hidden)));
      return { ...shown, [SEALED_FIELD]: sealed.toString('base64') };
    },
    reveal: (place, fields) => withFields(fields, openFields(keys, place, fields), place),
    hideBytes: (place, bytes) => sealBytes(keys, random, place, bytes),
    revealBytes: (place, stored) => openBytes(keys, place, stored),
  };
}

/**
 * What a host may say without the key: it can delete anything anyway, so it may say in the log that
 * it deletes, and make an index without what is gone. It adds nothing, neither snapshot nor pack.
 */
function isHosts(kind: ObjectKind, key: string, content: Uint8Array): boolean {
  if (kind === 'segment') return true;
  if (kind !== 'log') return false;
  const entry = new JsonFields(parseJson(content, key), key);
  const type = entry.text('type');
  if (type === 'generation') return !entry.object('index').has('packs');
  return type === 'fence';
}

/** Kind, length of the name, name: no two places are spelled alike. */
function nameOf(kind: ObjectKind, key: string): Uint8Array {
  const name = new TextEncoder().encode(key);
  return Uint8Array.of(objectKinds[kind], name.byteLength & 0xff, name.byteLength >> 8, ...name);
}

function splitMac(key: string, payload: Uint8Array): { content: Uint8Array; mac: Uint8Array } {
  if (payload.byteLength < MAC_BYTES) throw damagedObject(key, 'it is not authenticated');
  return { content: payload.subarray(0, -MAC_BYTES), mac: payload.subarray(-MAC_BYTES) };
}

/** The salt that the key is derived from, the ciphertext, the tag. */
function sealBytes(keys: RepositoryKeys, random: Random, place: string, bytes: Uint8Array): Buffer {
  const salt = new Uint8Array(SALT_BYTES);
  random.fill(salt);
  const cipher = createCipheriv('aes-256-gcm', fieldsKeyOf(keys, salt, place), NONCE);
  const ciphertext = cipher.update(bytes);
  cipher.final();
  return Buffer.concat([salt, ciphertext, cipher.getAuthTag()]);
}

function openBytes(keys: RepositoryKeys, place: string, stored: Uint8Array): Uint8Array {
  if (stored.byteLength < SALT_BYTES + TAG_BYTES) throw damagedObject(place, 'nothing is sealed');
  const key = fieldsKeyOf(keys, stored.subarray(0, SALT_BYTES), place);
  const decipher = createDecipheriv('aes-256-gcm', key, NONCE);
  decipher.setAuthTag(stored.subarray(-TAG_BYTES));
  const plain = decipher.update(stored.subarray(SALT_BYTES, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    throw damagedObject(place, 'what is sealed there was not sealed for it');
  }
  return plain;
}

function openFields(keys: RepositoryKeys, place: string, fields: JsonFields): PlainFields {
  const plain = openBytes(keys, place, Buffer.from(fields.text(SEALED_FIELD), 'base64'));
  return new JsonFields(parseJson(plain, place), place).values;
}

/** A host without the key: it reads what is in clear, and tells what it drops. */
export const blindSealer: Sealer = {
  mode: 'blind',
  chunkSigning: undefined,
  treeSigning: undefined,
  pack: (packId) => blindPack(packId),
  wrap(kind, key, payload) {
    if (!isHosts(kind, key, payload)) throw noPassword(`writing ${key}`);
    return new Uint8Array(Buffer.concat([payload, HOST_MAC]));
  },
  unwrap: (_kind, key, payload) => splitMac(key, payload).content,
  hide(place) {
    throw noPassword(`writing ${place}`);
  },
  reveal: (place, fields, unknown) => withFields(fields, unknown, place),
  hideBytes(place) {
    throw noPassword(`writing ${place}`);
  },
  revealBytes: () => undefined,
};
