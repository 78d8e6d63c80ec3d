/**
 * Where bytes meet the object store: a Sealer says what of them goes there in clear, and proves
 * what comes back. Without encryption everything is in clear and proves itself by checksums.
 */
import type { Signing } from '../codec/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import { type ObjectKind, parseJson, seal, unseal } from './envelope.ts';
import { JsonFields } from './json.ts';
import { type PackSeal, plainPack } from './pack-seal.ts';

export type SealerMode =
  /** Nothing is encrypted. */
  | 'plain'
  /** Encrypted, and the keys are here. */
  | 'keyed'
  /** Encrypted, without keys: what is in clear can be read, nothing proved, garbage dropped. */
  | 'blind';

export interface Sealer {
  readonly mode: SealerMode;
  /** The keys of chunk ids and of tree record ids; undefined where ids are plain hashes. */
  readonly chunkSigning: Signing | undefined;
  readonly treeSigning: Signing | undefined;
  /** How the pack with this id is written and read. */
  pack(packId: string): PackSeal;
  /** What stands in the envelope of the object `key`; STORE_NO_PASSWORD when blind. */
  wrap(kind: ObjectKind, key: string, payload: Uint8Array): Uint8Array;
  /** Undoes `wrap`; STORE_DAMAGED if it was not made for this very place. */
  unwrap(kind: ObjectKind, key: string, payload: Uint8Array): Uint8Array;
  /** Fields as they are stored: only those named in `clear` can be read without the key. */
  hide(place: string, fields: PlainFields, clear: readonly string[]): PlainFields;
  /** Undoes `hide`; when blind, `unknown` stands for what cannot be read. */
  reveal(place: string, fields: JsonFields, unknown: PlainFields): JsonFields;
  /** Bytes that only the key shows, as they are stored; and back, undefined when blind. */
  hideBytes(place: string, bytes: Uint8Array): Uint8Array;
  revealBytes(place: string, stored: Uint8Array): Uint8Array | undefined;
}

export type PlainFields = Readonly<Record<string, unknown>>;

/** The repository is not encrypted. */
export const plainSealer: Sealer = {
  mode: 'plain',
  chunkSigning: undefined,
  treeSigning: undefined,
  pack: () => plainPack,
  wrap: (_kind, _key, payload) => payload,
  unwrap: (_kind, _key, payload) => payload,
  hide: (_place, fields) => fields,
  reveal: (_place, fields) => fields,
  hideBytes: (_place, bytes) => bytes,
  revealBytes: (_place, stored) => stored,
};

/** An object store, with what is needed to make sense of the bytes in it. */
export interface SealedObjects extends ObjectStore {
  readonly sealer: Sealer;
}

/** Takes over `objects`, to be disposed with the answer. */
export function sealedObjects(objects: ObjectStore, sealer: Sealer): SealedObjects {
  return {
    sealer,
    name: objects.name,
    ...(objects.readsInFlight !== undefined && { readsInFlight: objects.readsInFlight }),
    get: (key, bytesMax) => objects.get(key, bytesMax),
    getRange: (key, target, offsetBytes, use) => objects.getRange(key, target, offsetBytes, use),
    size: (key) => objects.size(key),
    putIfAbsent: (key, bytes) => objects.putIfAbsent(key, bytes),
    create: (key) => objects.create(key),
    list: (prefix, after) => objects.list(prefix, after),
    ...(objects.settle !== undefined && { settle: (key: string) => objects.settle!(key) }),
    remove: (key) => objects.remove(key),
    ...(objects.locks !== undefined && { locks: objects.locks }),
    ...(objects.heal !== undefined && { heal: objects.heal }),
    async [Symbol.asyncDispose]() {
      await objects[Symbol.asyncDispose]();
    },
  };
}

/** The bytes of the object `key` with this payload. */
export function sealObject(
  sealer: Sealer,
  kind: ObjectKind,
  key: string,
  payload: Uint8Array,
  version?: number,
): Uint8Array {
  return seal(kind, sealer.wrap(kind, key, payload), version);
}

/** The payload; STORE_DAMAGED names `key`. */
export function unsealObject(
  sealer: Sealer,
  kind: ObjectKind,
  key: string,
  bytes: Uint8Array,
): Uint8Array {
  return sealer.unwrap(kind, key, unseal(kind, bytes, key));
}

export function sealJsonObject(
  sealer: Sealer,
  kind: ObjectKind,
  key: string,
  value: unknown,
  version?: number,
): Uint8Array {
  return sealObject(sealer, kind, key, new TextEncoder().encode(JSON.stringify(value)), version);
}

export function unsealJsonObject(
  sealer: Sealer,
  kind: ObjectKind,
  key: string,
  bytes: Uint8Array,
): unknown {
  return parseJson(unsealObject(sealer, kind, key, bytes), key);
}

/** `fields` with `more` added. */
export function withFields(fields: JsonFields, more: PlainFields, key: string): JsonFields {
  return new JsonFields({ ...fields.values, ...more }, key);
}
