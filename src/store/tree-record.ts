/**
 * Tree records: the stored form of manifest nodes. One record holds many nodes, children before
 * parents; a node is named by its record and its number in it. docs/format.md has the bytes.
 */
import { type Signing, signer } from '../codec/index.ts';
import { ByteReader, ByteWriter, FormatError, SHA256_BYTES, toHex } from '../core/index.ts';
import { FANOUT, TREE_RECORD_BYTES_MAX } from './limits.ts';
import type { PackTable } from './pack-table.ts';

/** Names a node: the tree record's id in hexadecimal, and the node's number in it. */
export type NodeReference = { readonly record: string; readonly ordinal: number };

const VERSION = 1;

/** Bits of a node's tag. */
export const NODE_INNER = 1;
export const NODE_PATCH = 2;
export const NODE_DIGEST = 4;

/** What a tree record says before its place in a pack is known. */
export type TreeRecord = {
  /** Header and nodes, without the 32-byte values they use. */
  readonly structure: Uint8Array;
  /** The 32-byte values, in the order of their use: sources, then ids and digests. */
  readonly values: Uint8Array;
};

/** Both signatures of the canonical form, in which every value is spelled out. */
export function treeSignatures(
  record: TreeRecord,
  signing: Signing | undefined,
): { id: Uint8Array; checksum: number } {
  const canonical = new ByteWriter(record.structure.byteLength + record.values.byteLength + 8);
  canonical.varint(record.structure.byteLength);
  canonical.put(record.structure);
  canonical.put(record.values);
  return signer(signing).sign(canonical.view());
}

/** Finds the record of the same pack that has this id. */
export type OrdinalOf = (id: Uint8Array) => number | undefined;

/**
 * The stored form: values that are ids of the pack's own records become runs of their numbers, so
 * that an id stands in a pack only once.
 */
export function packTreeRecord(record: TreeRecord, ordinalOf: OrdinalOf): Uint8Array {
  const writer = new ByteWriter(record.structure.byteLength + record.values.byteLength + 64);
  writer.varint(record.structure.byteLength);
  writer.put(record.structure);
  const count = record.values.byteLength / SHA256_BYTES;
  const valueAt = (at: number) =>
    record.values.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES);
  for (let at = 0; at < count; ) {
    const first = ordinalOf(valueAt(at));
    let end = at + 1;
    if (first === undefined) {
      while (end < count && ordinalOf(valueAt(end)) === undefined) end++;
      writer.varint((end - at) * 2);
      writer.put(record.values.subarray(at * SHA256_BYTES, end * SHA256_BYTES));
    } else {
      while (end < count && ordinalOf(valueAt(end)) === first + end - at) end++;
      writer.varint((end - at) * 2 + 1);
      writer.varint(first);
    }
    at = end;
  }
  return writer.view();
}

/** Undoes `packTreeRecord`; FormatError. */
export function unpackTreeRecord(stored: Uint8Array, table: PackTable): TreeRecord {
  const reader = new ByteReader(stored);
  const structure = reader.take(reader.count(stored.byteLength, 'the structure'));
  const values = new ByteWriter(stored.byteLength);
  while (reader.remaining > 0) {
    const run = reader.count(TREE_RECORD_BYTES_MAX / 16, 'a run of values');
    const count = Math.floor(run / 2);
    if (count * SHA256_BYTES + values.length > TREE_RECORD_BYTES_MAX) {
      throw new FormatError('a tree record has too many values');
    }
    if (run % 2 === 0) {
      values.put(reader.take(count * SHA256_BYTES));
      continue;
    }
    const first = reader.varint();
    if (first + count > table.count) throw new FormatError('a tree record names no record');
    values.put(table.ids.subarray(first * SHA256_BYTES, (first + count) * SHA256_BYTES));
  }
  return { structure, values: values.view() };
}

/** A run of equal pieces; `lengthBytes` 0 stands for the repository's chunk size. */
export type PieceRun = {
  readonly kind: number;
  readonly lengthBytes: number;
  readonly count: number;
};

/** Consecutive children: a hole, or nodes with consecutive numbers in one record. */
export type ChildRun = {
  readonly count: number;
  /** Undefined: empty. 0: this record. Else the source with this number, less one. */
  readonly source: number | undefined;
  readonly ordinal: number;
};

/** Replaces `drop` entries of the base, after `skip` that stay. */
export type Edit<Run> = {
  readonly skip: number;
  readonly drop: number;
  readonly runs: readonly Run[];
};

/** A node as its record spells it; `value` counts where its own 32-byte values begin. */
export type StoredNode = {
  readonly inner: boolean;
  readonly base: { readonly source: number; readonly ordinal: number } | undefined;
  readonly hasDigest: boolean;
  readonly valueAt: number;
  readonly pieces: readonly Edit<PieceRun>[];
  readonly children: readonly Edit<ChildRun>[];
};

/** A parsed record: nodes still refer to their bases and sources by number. */
export class ParsedTree {
  readonly id: string;
  readonly sources: readonly string[];
  readonly nodes: readonly StoredNode[];
  readonly values: Uint8Array;

  constructor(id: string, record: TreeRecord) {
    this.id = id;
    this.values = record.values;
    const reader = new ByteReader(record.structure);
    const version = reader.u8();
    if (version !== VERSION) throw new FormatError(`tree version ${version} is not known`);
    const sourceCount = reader.count(record.values.byteLength / SHA256_BYTES, 'the sources');
    const nodeCount = reader.count(NODES_MAX, 'the number of nodes');
    const sources: string[] = [];
    for (let at = 0; at < sourceCount; at++) sources.push(toHex(this.value(at)));
    this.sources = sources;
    const parser = new NodeParser(reader, sourceCount);
    const nodes: StoredNode[] = [];
    for (let at = 0; at < nodeCount; at++) nodes.push(parser.node(at));
    this.nodes = nodes;
    reader.end();
    if (parser.valueAt * SHA256_BYTES !== record.values.byteLength) {
      throw new FormatError('a tree record has values that no node uses');
    }
  }

  /** A view of value number `at`. */
  value(at: number): Uint8Array {
    return this.values.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES);
  }

  /** About what it holds in memory. */
  get sizeBytes(): number {
    return this.values.byteLength + this.nodes.length * 400 + 512;
  }

  reference(source: number, ordinal: number): NodeReference {
    return { record: source === 0 ? this.id : this.sources[source - 1]!, ordinal };
  }
}

/**
 * By the structure alone: which of a record's values are digests of nodes (1); the others are ids
 * of records (0).
 */
export function digestValues(structure: Uint8Array): Uint8Array {
  const reader = new ByteReader(structure);
  if (reader.u8() !== VERSION) throw new FormatError('a tree record of a version not known');
  const sourceCount = reader.count(TREE_RECORD_BYTES_MAX / SHA256_BYTES, 'the sources');
  const nodeCount = reader.count(NODES_MAX, 'the number of nodes');
  const parser = new NodeParser(reader, sourceCount);
  const digests: number[] = [];
  for (let at = 0; at < nodeCount; at++) {
    const node = parser.node(at);
    if (parser.valueAt * SHA256_BYTES > TREE_RECORD_BYTES_MAX) {
      throw new FormatError('a tree record has too many values');
    }
    const first = node.valueAt + (node.hasDigest ? 1 : 0);
    if (node.hasDigest) digests.push(node.valueAt);
    for (let value = first; node.inner && value < parser.valueAt; value++) digests.push(value);
  }
  reader.end();
  const flags = new Uint8Array(parser.valueAt);
  for (const at of digests) flags[at] = 1;
  return flags;
}

/** Nodes of one record: even small patches fill the target of a record long before. */
const NODES_MAX = 65_536;

/** A leaf of 4 KiB pieces has this many. */
const PIECES_MAX = 2048;

class NodeParser {
  readonly #reader: ByteReader;
  readonly #sourceCount: number;
  #own = 0;
  valueAt: number;

  constructor(reader: ByteReader, sourceCount: number) {
    this.#reader = reader;
    this.#sourceCount = sourceCount;
    this.valueAt = sourceCount;
  }

  node(own: number): StoredNode {
    const reader = this.#reader;
    this.#own = own;
    const tag = reader.u8();
    if (tag > 7) throw new FormatError(`node tag ${tag} is not known`);
    const inner = (tag & NODE_INNER) !== 0;
    const base = (tag & NODE_PATCH) !== 0 ? this.#pointer() : undefined;
    const hasDigest = (tag & NODE_DIGEST) !== 0;
    const valueAt = this.valueAt;
    if (hasDigest) this.valueAt++;
    return {
      inner,
      base,
      hasDigest,
      valueAt,
      pieces: inner ? [] : this.#edits(base !== undefined, PIECES_MAX, () => this.#pieceRun()),
      children: inner ? this.#edits(base !== undefined, FANOUT, () => this.#childRun()) : [],
    };
  }

  #pointer(): { source: number; ordinal: number } {
    const source = this.#reader.count(this.#sourceCount, 'a source');
    const ordinal = this.#reader.count(TREE_RECORD_BYTES_MAX, "a node's number");
    // Only backwards, so that following references always ends.
    if (source === 0 && ordinal >= this.#own) throw new FormatError('a node refers forward');
    return { source, ordinal };
  }

  /** A whole node is one edit of nothing. */
  #edits<Run>(patch: boolean, max: number, run: () => Run): Edit<Run>[] {
    const reader = this.#reader;
    const editCount = patch ? reader.count(max, 'the edits') : 1;
    const edits: Edit<Run>[] = [];
    for (let at = 0; at < editCount; at++) {
      const skip = patch ? reader.count(max, 'a skip') : 0;
      const drop = patch ? reader.count(max, 'a drop') : 0;
      const runCount = reader.count(max, 'the runs');
      const runs: Run[] = [];
      for (let index = 0; index < runCount; index++) runs.push(run());
      if (patch && drop === 0 && runCount === 0) throw new FormatError('an edit changes nothing');
      edits.push({ skip, drop, runs });
    }
    return edits;
  }

  #pieceRun(): PieceRun {
    const reader = this.#reader;
    const kind = reader.u8();
    if (kind > 3) throw new FormatError(`piece kind ${kind} is not known`);
    const lengthBytes = reader.count(2 ** 23, 'a piece');
    const count = reader.count(PIECES_MAX, 'a run of pieces');
    if (kind === 3) this.valueAt += count;
    return { kind, lengthBytes, count };
  }

  #childRun(): ChildRun {
    const reader = this.#reader;
    const count = reader.count(FANOUT, 'a run of children');
    const code = reader.count(this.#sourceCount + 1, 'a source');
    if (code === 0) return { count, source: undefined, ordinal: 0 };
    const ordinal = reader.count(TREE_RECORD_BYTES_MAX, "a node's number");
    const source = code - 1;
    if (source === 0 && ordinal + count > this.#own) throw new FormatError('a node refers forward');
    if (source !== 0) this.valueAt += count;
    return { count, source, ordinal };
  }
}

/** Collects nodes into a record. */
export class TreeRecordBuilder {
  readonly #sources = new Map<string, number>();
  readonly #body = new ByteWriter(4096);
  readonly #values = new ByteWriter(4096);
  nodeCount = 0;

  get sizeBytes(): number {
    return this.#body.length + this.#values.length;
  }

  /** The number of a source, counting from 1; 0 is this record itself. */
  source(record: string): number {
    let number = this.#sources.get(record);
    if (number === undefined) {
      number = this.#sources.size + 1;
      this.#sources.set(record, number);
    }
    return number;
  }

  /** Adds a leaf; values are the digest, if it has one, then the ids of its runs. */
  addLeaf(node: Omit<StoredNode, 'inner' | 'valueAt' | 'children'>, values: Uint8Array): number {
    this.#head(0, node);
    this.#edits(node.base !== undefined, node.pieces, (run) => {
      this.#body.u8(run.kind);
      this.#body.varint(run.lengthBytes);
      this.#body.varint(run.count);
    });
    this.#values.put(values);
    return this.nodeCount++;
  }

  /** Adds an inner node; values are the digests of the children that lie in other records. */
  addInner(node: Omit<StoredNode, 'inner' | 'valueAt' | 'pieces'>, values: Uint8Array): number {
    this.#head(NODE_INNER, node);
    this.#edits(node.base !== undefined, node.children, (run) => {
      this.#body.varint(run.count);
      this.#body.varint(run.source === undefined ? 0 : run.source + 1);
      if (run.source !== undefined) this.#body.varint(run.ordinal);
    });
    this.#values.put(values);
    return this.nodeCount++;
  }

  #head(tag: number, { base, hasDigest }: Pick<StoredNode, 'base' | 'hasDigest'>): void {
    this.#body.u8(tag | (base === undefined ? 0 : NODE_PATCH) | (hasDigest ? NODE_DIGEST : 0));
    if (base === undefined) return;
    this.#body.varint(base.source);
    this.#body.varint(base.ordinal);
  }

  #edits<Run>(patch: boolean, edits: readonly Edit<Run>[], put: (run: Run) => void): void {
    if (patch) this.#body.varint(edits.length);
    for (const edit of edits) {
      if (patch) {
        this.#body.varint(edit.skip);
        this.#body.varint(edit.drop);
      }
      this.#body.varint(edit.runs.length);
      for (const run of edit.runs) put(run);
    }
  }

  finish(): TreeRecord {
    const structure = new ByteWriter(this.#body.length + 16);
    structure.u8(VERSION);
    structure.varint(this.#sources.size);
    structure.varint(this.nodeCount);
    structure.put(this.#body.view());
    const values = new ByteWriter(this.#values.length + this.#sources.size * SHA256_BYTES);
    for (const record of this.#sources.keys()) values.put(Buffer.from(record, 'hex'));
    values.put(this.#values.view());
    return { structure: structure.view(), values: values.view() };
  }
}
