/**
 * The keys of an encrypted repository: one master key, and from it, by HKDF (RFC 5869), a key for
 * each purpose, so that nothing made for one purpose means anything for another.
 */
import { hkdfSync } from 'node:crypto';
import { fromHex } from '../core/index.ts';

export const MASTER_KEY_BYTES = 32;

export type RepositoryKeys = {
  readonly chunkId: Uint8Array;
  readonly treeId: Uint8Array;
  readonly checksum: Uint8Array;
  /** Pack keys are derived from this one. */
  readonly packs: Uint8Array;
  /** Authenticates small objects under their names. */
  readonly objects: Uint8Array;
  /** Keys for sealed fields are derived from this one. */
  readonly fields: Uint8Array;
  readonly superblock: Uint8Array;
};

/** What every text that goes into a derivation begins with. */
const PREFIX = 'blockferry 1 ';

export function repositoryKeys(master: Uint8Array, repositoryId: string): RepositoryKeys {
  const salt = fromHex(repositoryId, 16)!;
  const key = (purpose: string) => derive(master, salt, purpose);
  return {
    chunkId: key('chunk id'),
    treeId: key('tree id'),
    checksum: key('checksum'),
    packs: key('packs'),
    objects: key('objects'),
    fields: key('fields'),
    superblock: key('superblock'),
  };
}

/** The key under which one pack is sealed. */
export function packKeyOf(keys: RepositoryKeys, packId: Uint8Array): Uint8Array {
  return derive(keys.packs, packId, 'pack');
}

/** The key for one sealing of fields: `salt` is random, `place` says whose fields they are. */
export function fieldsKeyOf(keys: RepositoryKeys, salt: Uint8Array, place: string): Uint8Array {
  return derive(keys.fields, salt, `fields of ${place}`);
}

function derive(key: Uint8Array, salt: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key, salt, PREFIX + purpose, MASTER_KEY_BYTES));
}
