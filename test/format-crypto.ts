/** Decryption for the reader made from docs/format.md: keys, sealed frames, tables and fields. */
import assert from 'node:assert/strict';
import { createDecipheriv, createHmac, scryptSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cursor, decompress, payload, sha256 } from './format-bytes.ts';

const hmac = (key: Uint8Array, ...parts: Uint8Array[]) =>
  createHmac('sha256', key).update(Buffer.concat(parts)).digest();

/** RFC 5869 for one block of output. */
function derive(key: Uint8Array, salt: Uint8Array, purpose: string): Buffer {
  const info = Buffer.from(`blockferry 1 ${purpose}`);
  return hmac(hmac(salt, key), info, Uint8Array.of(1));
}

function decrypt(key: Uint8Array, nonce: Uint8Array, bound: Uint8Array, sealed: Buffer): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAAD(bound);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

function nonce(domain: number, number: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32LE(domain);
  bytes.writeBigUInt64LE(BigInt(number), 4);
  return bytes;
}

const ZEROES = Buffer.alloc(12);

// biome-ignore lint/suspicious/noExplicitAny: a reader of JSON has its fields from the document
type Json = any;

export class Keys {
  readonly #repository: Buffer;
  readonly #key: (purpose: string) => Buffer;

  constructor(root: string, superblock: Json, password: string) {
    this.#repository = Buffer.from(superblock.repositoryId, 'hex');
    const master = masterKey(root, superblock.repositoryId, password);
    this.#key = (purpose) => derive(master, this.#repository, purpose);
    const { repositoryId, chunkBytes, created, features } = superblock;
    const facts = [
      repositoryId,
      chunkBytes,
      created,
      features.reader,
      features.writer,
      features.gc,
    ];
    const mac = hmac(this.#key('superblock'), Buffer.from(JSON.stringify(facts)));
    assert.equal(mac.toString('hex'), superblock.encryption.mac);
  }

  /** The payload without its MAC. */
  authentic(name: string, kind: number, content: Buffer): Buffer {
    const head = Buffer.from([kind, name.length & 255, name.length >> 8]);
    const bytes = content.subarray(0, -32);
    const label = Buffer.from('blockferry 1 object\n');
    const mac = hmac(this.#key('objects'), label, this.#repository, head, Buffer.from(name), bytes);
    assert(mac.equals(content.subarray(-32)), `the MAC of ${name}`);
    return bytes;
  }

  fields(place: string, { sealed, ...visible }: Json): Json {
    const hidden = this.hidden(place, Buffer.from(sealed, 'base64'));
    return { ...visible, ...JSON.parse(hidden.toString()) };
  }

  hidden(place: string, sealed: Buffer): Buffer {
    const key = derive(this.#key('fields'), sealed.subarray(0, 32), `fields of ${place}`);
    return decrypt(key, ZEROES, Buffer.alloc(0), sealed.subarray(32));
  }

  #pack(pack: string): Buffer {
    return derive(this.#key('packs'), Buffer.from(pack, 'hex'), 'pack');
  }

  /** Both parts of a frame. */
  frame(pack: string, number: number, frame: Buffer): { clear: Buffer; secret: Buffer } {
    const cursor = new Cursor(frame);
    assert.equal(cursor.take(4).toString(), 'FRSL');
    assert.equal(cursor.u32(), frame.length);
    const clear = cursor.take(cursor.u32());
    const bound = Buffer.concat([Buffer.from(pack, 'hex'), frame.subarray(0, cursor.at)]);
    const sealed = cursor.take(cursor.left);
    return { clear, secret: decrypt(this.#pack(pack), nonce(0, number), bound, sealed) };
  }

  /** The visible columns of a table, and the lengths. */
  table(pack: string, framesEnd: number, stored: Buffer, rawBytes: number) {
    const cursor = new Cursor(stored);
    assert.equal(cursor.u8(), 0x80);
    const algorithm = cursor.u8();
    const visible = decompress(algorithm, cursor.take(cursor.u32()), rawBytes);
    const end = Buffer.alloc(8);
    end.writeBigUInt64LE(BigInt(framesEnd));
    const bound = Buffer.concat([Buffer.from(pack, 'hex'), end, stored.subarray(0, cursor.at)]);
    const sealed = cursor.take(cursor.left);
    const secret = new Cursor(decrypt(this.#pack(pack), nonce(1, 0), bound, sealed));
    const how = secret.u8();
    const lengths = decompress(how, secret.take(secret.left).subarray(4), lengthOf(secret.bytes));
    return { visible: new Cursor(visible), lengths: new Cursor(lengths) };
  }

  /** The id of a record of this kind (0 chunk, 1 tree record). */
  id(kind: number, bytes: Buffer): Buffer {
    return hmac(this.#key(kind === 0 ? 'chunk id' : 'tree id'), sha256(bytes));
  }

  /** What a stored checksum is XORed with. */
  mask(id: Buffer): number {
    return hmac(this.#key('checksum'), id).readUInt32LE();
  }
}

function lengthOf(secret: Buffer): number {
  return secret.readUInt32LE(1);
}

function masterKey(root: string, repositoryId: string, password: string): Buffer {
  const folder = join(root, 'keys');
  assert(existsSync(folder));
  for (const id of readdirSync(folder)) {
    const json = JSON.parse(payload(readFileSync(join(folder, id)), 7).toString());
    const { logN, r, p, salt } = json.kdf;
    assert.equal(json.kdf.name, 'scrypt');
    const facts = [repositoryId, id, json.created, json.label ?? null, logN, r, p, salt];
    const bound = Buffer.from(`blockferry 1 key\n${JSON.stringify(facts)}`);
    const options = { N: 2 ** logN, r, p, maxmem: 2 ** 28 };
    const secret = password.normalize('NFC');
    const key = scryptSync(secret, Buffer.from(salt, 'hex'), 32, options);
    try {
      return decrypt(key, ZEROES, bound, Buffer.from(json.wrapped, 'hex'));
    } catch {
      // Another password's.
    }
  }
  assert.fail('no key has this password');
}
