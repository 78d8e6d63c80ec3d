/**
 * A reader of repositories that was written from docs/format.md and imports nothing of Blockferry.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, zstdDecompressSync } from 'node:zlib';
import { Cursor, decompress, hex, MAGIC, payload, sha256 } from './format-bytes.ts';
import { checkpointOf } from './format-checkpoint.ts';
import { Keys } from './format-crypto.ts';
import { type LogAccess, LogContent } from './format-log.ts';
import { checkParity } from './format-parity.ts';
import { type ChildOf, type Node, nodesOf } from './format-tree.ts';

// biome-ignore lint/suspicious/noExplicitAny: a reader of JSON has its fields from the document
type Json = any;

type Place = { frame: number; frameAt: number; frameBytes: number; inFrame: number };

type StoredRecord = Place & {
  pack: string;
  number: number;
  kind: number;
  depth: number;
  length: number;
  checksum: number;
  id: Buffer;
};

type Head = {
  length: number;
  kind: number;
  at: number;
  stored: number;
  skip: number;
  parents: Buffer[];
};

export type JsonSnapshot = {
  id: string;
  volume: string;
  sizeBytes: number;
  chunkBytes: number;
  root: { record: string; ordinal: number } | null;
  digest: string;
  tags?: string[];
  held?: boolean;
};

export class Reader {
  /** What of the format was met, to show that the test repositories have all of it. */
  readonly met = new Set<string>();
  readonly #root: string;
  readonly snapshots: JsonSnapshot[] = [];
  #keys: Keys | undefined;
  /** Of the tree record that was decrypted last. */
  #digests: Cursor | undefined;
  readonly #tables = new Map<string, StoredRecord[]>();
  /** By the hex of the id. */
  readonly #records = new Map<string, StoredRecord[]>();
  readonly #trees = new Map<string, Node[]>();
  readonly #patchesMax: number;

  constructor(root: string, { fromCheckpoint = 0, password = '' } = {}) {
    this.#root = root;
    const superblock = this.#json('superblock/0', 1);
    const known = password === '' ? ['large-patches'] : ['encryption', 'large-patches'];
    for (const feature of superblock.features.reader) assert(known.includes(feature), feature);
    this.#patchesMax = superblock.features.reader.includes('large-patches') ? 8 : 4;
    if (password !== '') this.#keys = new Keys(root, superblock, password);
    const log = new LogContent(this.#logAccess(), fromCheckpoint);
    this.snapshots.push(...log.snapshots.values());
    const { loose, segments } = log;
    if (segments.size > 0) this.met.add('segment');
    for (const id of loose) this.#readTable(id);
    for (const id of segments) this.#readSegment(id);
  }

  #logAccess(): LogAccess {
    return {
      entry: (key) => {
        if (!existsSync(join(this.#root, key))) return undefined;
        return { json: this.#json(key, 2), hash: hex(sha256(this.#object(key))) };
      },
      checkpoint: (key) => this.#checkpoint(key),
      snapshot: (stored) => this.#snapshot(stored),
      tags: (entry) => this.#keys?.fields(`tags of entry ${entry.nonce}`, entry) ?? entry,
      met: (part) => this.met.add(part),
    };
  }

  #object(key: string): Buffer {
    return readFileSync(join(this.#root, key));
  }

  #payload(key: string, kind: number): Buffer {
    const content = payload(this.#object(key), kind);
    return this.#keys === undefined ? content : this.#keys.authentic(key, kind, content);
  }

  #json(key: string, kind: number): Json {
    return JSON.parse(this.#payload(key, kind).toString());
  }

  #checkpoint(key: string): Json {
    if (this.#object(key)[5]! < 3) {
      const state = this.#json(key, 4);
      return { ...state, snapshots: state.snapshots.map((each: Json) => this.#snapshot(each)) };
    }
    this.met.add('table of snapshots');
    const open = (hidden: Buffer) => this.#keys?.hidden(key, hidden) ?? hidden;
    return checkpointOf(this.#payload(key, 4), open);
  }

  #snapshot(snapshot: Json): JsonSnapshot {
    if (this.#keys === undefined) return snapshot;
    this.met.add('sealed fields');
    return this.#keys.fields(`snapshot ${snapshot.id}`, snapshot);
  }

  #readSegment(id: string): void {
    const cursor = new Cursor(this.#payload(`index/${id}`, 5));
    const packs: { id: string; count: number }[] = [];
    for (let left = cursor.varint(); left > 0; left--) {
      packs.push({ id: hex(cursor.take(32)), count: cursor.varint() });
    }
    for (const pack of packs) {
      this.#readTable(pack.id);
      const table = this.#tables.get(pack.id)!;
      assert.equal(table.length, pack.count);
      for (const record of table) {
        assert(cursor.take(4).equals(record.id.subarray(0, 4)));
        assert.equal(cursor.u32(), record.checksum);
      }
    }
    assert.equal(cursor.left, 0);
  }

  #readTable(pack: string): void {
    if (this.#tables.has(pack)) return;
    const object = this.#object(`packs/${pack.slice(0, 2)}/${pack}`);
    const parity = `parity/${pack.slice(0, 2)}/${pack}`;
    if (existsSync(join(this.#root, parity))) {
      checkParity(this.#object(parity), pack, object);
      this.met.add('parity');
    }
    const header = new Cursor(object);
    assert.equal(header.take(4).toString(), MAGIC);
    assert.deepEqual([header.u8(), header.u8(), header.u8(), header.u8()], [6, 1, 0, 0]);
    assert.equal(hex(header.take(32)), pack);
    assert.equal(header.u32(), crc32(object.subarray(0, 40)));
    const footer = new Cursor(object.subarray(-28));
    const framesEnd = footer.u64();
    const storedBytes = footer.u32();
    const rawBytes = footer.u32();
    const tableSum = footer.u32();
    assert.equal(footer.u32(), crc32(object.subarray(-28, -8)));
    assert.equal(footer.take(4).toString(), MAGIC);
    const stored = object.subarray(framesEnd, framesEnd + storedBytes);
    assert.equal(object.length, framesEnd + storedBytes + 28);
    assert.equal(crc32(stored), tableSum);
    const sealed = this.#keys?.table(pack, framesEnd, stored, rawBytes);
    const cursor =
      sealed?.visible ?? new Cursor(decompress(stored[0]!, stored.subarray(1), rawBytes));
    const count = cursor.varint();
    const frameCount = cursor.varint();
    const places: Place[] = [];
    let frameAt = 44;
    for (let frame = 0; frame < frameCount; frame++) {
      const records = cursor.varint();
      const frameBytes = cursor.varint();
      const bytes = object.subarray(frameAt, frameAt + frameBytes);
      if (sealed !== undefined) assert(cursor.take(32).equals(sha256(bytes)));
      for (let inFrame = 0; inFrame < records; inFrame++) {
        places.push({ frame, frameAt, frameBytes, inFrame });
      }
      frameAt += frameBytes;
    }
    assert.equal(frameAt, framesEnd);
    assert.equal(places.length, count);
    const kinds = cursor.take(count);
    const depths = cursor.take(count);
    cursor.take(count); // Frames touched: only a promise about work.
    const lengths = places.map(() => (sealed?.lengths ?? cursor).varint());
    const checksums = places.map(() => cursor.u32());
    const table = places.map((place, number): StoredRecord => {
      const id = cursor.take(32);
      return {
        ...place,
        pack,
        number,
        kind: kinds[number]!,
        depth: depths[number]!,
        length: lengths[number]!,
        checksum: checksums[number]!,
        id,
      };
    });
    if (sealed !== undefined) {
      assert.equal(sealed.lengths.left, 0);
      for (const { depth } of table) if (depth > 0) cursor.take(12 * cursor.u8());
    }
    assert.equal(cursor.left, 0);
    this.#tables.set(pack, table);
    for (const record of table) {
      const name = hex(record.id);
      this.#records.set(name, [...(this.#records.get(name) ?? []), record]);
    }
  }

  #find(id: Buffer, kind: number): StoredRecord {
    const copies = (this.#records.get(hex(id)) ?? []).filter((copy) => copy.kind === kind);
    copies.sort((a, b) => a.depth - b.depth);
    assert(copies[0] !== undefined, `no record ${hex(id)}`);
    return copies[0];
  }

  /** The stored bytes of a record, patches applied. */
  #stored({
    pack,
    frame: number,
    frameAt,
    frameBytes,
    inFrame,
    depth,
    kind,
  }: StoredRecord): Buffer {
    let frame = this.#object(`packs/${pack.slice(0, 2)}/${pack}`).subarray(
      frameAt,
      frameAt + frameBytes,
    );
    if (this.#keys !== undefined) {
      const { clear, secret } = this.#keys.frame(pack, number, frame);
      this.met.add(kind === 0 ? 'sealed frame' : 'sealed tree');
      if (kind === 0) assert.equal(clear.length, 0);
      else this.#digests = new Cursor(secret);
      frame = kind === 0 ? secret : clear;
    }
    const cursor = new Cursor(frame);
    assert.equal(cursor.take(4).toString(), 'FRAM');
    assert.equal(cursor.u32(), crc32(frame.subarray(8)));
    assert.equal(cursor.u32(), frame.length);
    assert.equal(cursor.u8(), 1);
    const algorithm = cursor.u8();
    const [count, plainRaw, plainStored] = [cursor.varint(), cursor.varint(), cursor.varint()];
    const heads = this.#heads(cursor, count);
    const plain = decompress(algorithm, cursor.take(plainStored), plainRaw);
    const patchesAt = cursor.at;
    const head = heads[inFrame]!;
    this.met.add(['plain', 'patch', 'run'][head.kind]!);
    if (algorithm === 0 && plainRaw > 0) this.met.add('raw');
    if (head.kind === 1) {
      const parents = head.parents.map((reference) => this.#parent(reference, depth));
      assert(depth > 0 && depth <= this.#patchesMax && parents.length <= this.#patchesMax);
      if (parents.length > 1) this.met.add('several parents');
      if (parents.length > 4) this.met.add('many parents');
      if (depth > 4) this.met.add('long chain');
      const dictionary = Buffer.concat([Buffer.alloc(1), ...parents]);
      const from = patchesAt + head.at;
      return zstdDecompressSync(frame.subarray(from, from + head.stored), { dictionary });
    }
    const bytes = Buffer.alloc(head.length);
    plain.copy(bytes, head.skip, head.at, head.at + head.stored);
    return bytes;
  }

  #heads(cursor: Cursor, count: number): Head[] {
    const heads: Head[] = [];
    let length = -1;
    let plainAt = 0;
    let patchAt = 0;
    for (let record = 0; record < count; record++) {
      const byte = cursor.u8();
      if (byte < 128) length = cursor.varint();
      const kind = byte & 127;
      const head: Head = { length, kind, at: plainAt, stored: length, skip: 0, parents: [] };
      if (kind === 2) {
        head.skip = cursor.varint();
        head.stored = cursor.varint();
      }
      if (kind === 1) {
        head.at = patchAt;
        head.stored = cursor.varint();
        for (let left = cursor.u8(); left > 0; left--) head.parents.push(cursor.take(12));
        patchAt += head.stored;
      } else plainAt += head.stored;
      heads.push(head);
    }
    return heads;
  }

  #parent(reference: Buffer, depth: number): Buffer {
    for (const copies of this.#records.values()) {
      for (const copy of copies) {
        if (copy.kind !== 0 || copy.depth >= depth) continue;
        if (copy.checksum !== reference.readUInt32LE()) continue;
        if (copy.id.subarray(0, 8).equals(reference.subarray(4))) return this.#verified(copy);
      }
    }
    assert.fail('a patch has no parent');
  }

  #verified(record: StoredRecord): Buffer {
    const bytes = this.#stored(record);
    assert.equal(bytes.length, record.length);
    this.#check(bytes, record);
    return bytes;
  }

  /** Both signatures. */
  #check(bytes: Buffer, { kind, id, checksum }: StoredRecord): void {
    const mask = this.#keys?.mask(id) ?? 0;
    assert.equal((crc32(bytes) ^ mask) >>> 0, checksum);
    assert((this.#keys?.id(kind, bytes) ?? sha256(bytes)).equals(id));
  }

  /** The nodes of a tree record, bases applied. */
  #tree(id: string): Node[] {
    const known = this.#trees.get(id);
    if (known !== undefined) return known;
    const record = this.#find(Buffer.from(id, 'hex'), 1);
    const stored = new Cursor(this.#stored(record));
    const length = stored.varint();
    const structure = stored.take(length);
    const values: Buffer[] = [];
    const table = this.#tables.get(record.pack)!;
    while (stored.left > 0) {
      const run = stored.varint();
      const first = run % 2 === 1 ? stored.varint() : -1;
      for (let at = 0; at < Math.floor(run / 2); at++) {
        values.push(first < 0 ? stored.take(32) : table[first + at]!.id);
      }
    }
    const lengthBytes: number[] = [];
    for (let rest = length; ; rest = Math.floor(rest / 128)) {
      lengthBytes.push(rest < 128 ? rest : (rest % 128) + 128);
      if (rest < 128) break;
    }
    const digests = this.#keys && this.#digests;
    const taken: Buffer[] = [];
    const next = (isDigest: boolean): Buffer => {
      const value = isDigest && digests !== undefined ? digests.take(32) : values.shift()!;
      taken.push(value);
      return value;
    };
    const nodes = nodesOf(id, new Cursor(structure), next, {
      met: this.met,
      tree: (other) => this.#tree(other),
    });
    assert.equal(values.length + (digests?.left ?? 0), 0);
    const canonical = Buffer.concat([Buffer.from(lengthBytes), structure, ...taken]);
    this.#check(canonical, record);
    this.#trees.set(id, nodes);
    return nodes;
  }

  /** The whole volume. */
  restore({ sizeBytes, chunkBytes, root }: JsonSnapshot): Buffer {
    const volume = Buffer.alloc(sizeBytes);
    const leaves = Math.ceil(sizeBytes / 2 ** 23);
    let height = 0;
    for (let nodes = leaves; nodes > 1; nodes = Math.ceil(nodes / 256)) height++;
    const walk = (child: ChildOf, level: number, index: number): void => {
      if (child === undefined) return;
      const node = this.#tree(child.record)[child.ordinal]!;
      assert.equal(node.inner, level > 0);
      for (const [at, below] of node.children.entries()) walk(below, level - 1, index * 256 + at);
      let offset = index * 2 ** 23;
      for (const { kind, length, id } of node.pieces) {
        const lengthBytes = length === 0 ? chunkBytes : length;
        if (kind === 3) {
          const bytes = this.#verified(this.#find(id!, 0));
          assert.equal(bytes.length, lengthBytes);
          bytes.copy(volume, offset);
        }
        offset += lengthBytes;
      }
      if (level === 0) assert.equal(offset, Math.min(sizeBytes, (index + 1) * 2 ** 23));
    };
    walk(root ?? undefined, height, 0);
    return volume;
  }
}
