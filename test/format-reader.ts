/**
 * A reader of repositories that was written from docs/format.md and imports nothing of Blockferry.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, zstdDecompressSync } from 'node:zlib';
import { Cursor, decompress, hex, MAGIC, payload, sha256 } from './format-bytes.ts';

type StoredRecord = {
  pack: string;
  number: number;
  kind: number;
  depth: number;
  length: number;
  checksum: number;
  id: Buffer;
  frameAt: number;
  frameBytes: number;
  inFrame: number;
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
};

type Piece = { kind: number; length: number; id?: Buffer };
type Node = { inner: boolean; digest: Buffer | undefined; pieces: Piece[]; children: ChildOf[] };
type ChildOf = { record: string; ordinal: number; digest?: Buffer } | undefined;

export class Reader {
  /** What of the format was met, to show that the test repositories have all of it. */
  readonly met = new Set<string>();
  readonly #root: string;
  readonly snapshots: JsonSnapshot[] = [];
  #head = '0'.repeat(64);
  readonly #tables = new Map<string, StoredRecord[]>();
  /** By the hex of the id. */
  readonly #records = new Map<string, StoredRecord[]>();
  readonly #trees = new Map<string, Node[]>();

  constructor(root: string, fromCheckpoint = 0) {
    this.#root = root;
    const superblock = this.#json('superblock/0', 1);
    assert.deepEqual(superblock.features.reader, []);
    const loose = new Set<string>();
    const segments = new Set<string>();
    let sequence = 0;
    if (fromCheckpoint > 0) {
      const state = this.#json(`checkpoints/${String(fromCheckpoint).padStart(16, '0')}`, 4);
      assert.equal(state.sequence, fromCheckpoint);
      sequence = state.sequence;
      this.#head = state.head;
      this.snapshots.push(...state.snapshots);
      for (const id of state.loosePacks) loose.add(id);
      for (const { id } of state.segments) segments.add(id);
      this.met.add('checkpoint');
    }
    for (sequence++; ; sequence++) {
      const key = `log/${String(sequence).padStart(16, '0')}`;
      if (!existsSync(join(root, key))) break;
      const entry = this.#json(key, 2);
      assert.equal(entry.type, 'snapshot');
      assert.equal(entry.sequence, sequence);
      assert.equal(entry.previous, this.#head);
      this.#head = hex(sha256(this.#object(key)));
      this.snapshots.push(entry.snapshot);
      const { index } = entry;
      for (const id of index.packs ?? []) loose.add(id);
      for (const id of index.packsDropped ?? []) loose.delete(id);
      for (const { id } of index.segments ?? []) segments.add(id);
      for (const id of index.segmentsDropped ?? []) segments.delete(id);
    }
    if (segments.size > 0) this.met.add('segment');
    for (const id of loose) this.#readTable(id);
    for (const id of segments) this.#readSegment(id);
  }

  #object(key: string): Buffer {
    return readFileSync(join(this.#root, key));
  }

  // biome-ignore lint/suspicious/noExplicitAny: a reader of JSON has its fields from the document
  #json(key: string, kind: number): any {
    return JSON.parse(payload(this.#object(key), kind).toString());
  }

  #readSegment(id: string): void {
    const cursor = new Cursor(payload(this.#object(`index/${id}`), 5));
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
    const cursor = new Cursor(decompress(stored[0]!, stored.subarray(1), rawBytes));
    const count = cursor.varint();
    const frameCount = cursor.varint();
    const places: { frameAt: number; frameBytes: number; inFrame: number }[] = [];
    let frameAt = 44;
    for (let frame = 0; frame < frameCount; frame++) {
      const records = cursor.varint();
      const frameBytes = cursor.varint();
      for (let inFrame = 0; inFrame < records; inFrame++) {
        places.push({ frameAt, frameBytes, inFrame });
      }
      frameAt += frameBytes;
    }
    assert.equal(frameAt, framesEnd);
    assert.equal(places.length, count);
    const kinds = cursor.take(count);
    const depths = cursor.take(count);
    cursor.take(count); // Frames touched: only a promise about work.
    const lengths = places.map(() => cursor.varint());
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
  #stored({ pack, frameAt, frameBytes, inFrame, depth }: StoredRecord): Buffer {
    const frame = this.#object(`packs/${pack.slice(0, 2)}/${pack}`).subarray(
      frameAt,
      frameAt + frameBytes,
    );
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
    assert.equal(crc32(bytes), record.checksum);
    assert(sha256(bytes).equals(record.id));
    return bytes;
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
    const canonical = Buffer.concat([Buffer.from(lengthBytes), structure, ...values]);
    assert.equal(hex(sha256(canonical)), id);
    assert.equal(crc32(canonical), record.checksum);
    const nodes = this.#nodes(id, new Cursor(structure), values);
    this.#trees.set(id, nodes);
    return nodes;
  }

  #nodes(id: string, cursor: Cursor, values: Buffer[]): Node[] {
    assert.equal(cursor.u8(), 1);
    const sourceCount = cursor.varint();
    const nodeCount = cursor.varint();
    const sources = values.splice(0, sourceCount).map(hex);
    const nodes: Node[] = [];
    for (let own = 0; own < nodeCount; own++) {
      const tag = cursor.u8();
      const inner = (tag & 1) !== 0;
      let base: Node | undefined;
      if ((tag & 2) !== 0) {
        const source = cursor.varint();
        const ordinal = cursor.varint();
        this.met.add(`${inner ? 'inner' : 'leaf'} with a base`);
        base = source === 0 ? nodes[ordinal]! : this.#tree(sources[source - 1]!)[ordinal]!;
      }
      const digest = (tag & 4) !== 0 ? values.shift() : undefined;
      if (digest !== undefined) this.met.add('digest');
      if (inner) this.met.add('inner');
      const node: Node = { inner, digest, pieces: [], children: [] };
      let from = 0;
      const editCount = base === undefined ? 1 : cursor.varint();
      for (let edit = 0; edit < editCount; edit++) {
        const skip = base === undefined ? 0 : cursor.varint();
        const drop = base === undefined ? 0 : cursor.varint();
        node.pieces.push(...(base?.pieces.slice(from, from + skip) ?? []));
        node.children.push(...(base?.children.slice(from, from + skip) ?? []));
        from += skip + drop;
        for (let runs = cursor.varint(); runs > 0; runs--) {
          if (inner) node.children.push(...childRun(cursor, values, id, sources));
          else node.pieces.push(...pieceRun(cursor, values));
        }
      }
      node.pieces.push(...(base?.pieces.slice(from) ?? []));
      node.children.push(...(base?.children.slice(from) ?? []));
      nodes.push(node);
    }
    assert.equal(cursor.left, 0);
    assert.equal(values.length, 0);
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

function pieceRun(cursor: Cursor, values: Buffer[]): Piece[] {
  const kind = cursor.u8();
  const length = cursor.varint();
  return Array.from({ length: cursor.varint() }, (): Piece => {
    return kind === 3 ? { kind, length, id: values.shift()! } : { kind, length };
  });
}

function childRun(cursor: Cursor, values: Buffer[], own: string, sources: string[]): ChildOf[] {
  const count = cursor.varint();
  const code = cursor.varint();
  if (code === 0) return new Array<ChildOf>(count).fill(undefined);
  const first = cursor.varint();
  const record = code === 1 ? own : sources[code - 2]!;
  return Array.from({ length: count }, (_, at): ChildOf => {
    const ordinal = first + at;
    return code === 1 ? { record, ordinal } : { record, ordinal, digest: values.shift()! };
  });
}
