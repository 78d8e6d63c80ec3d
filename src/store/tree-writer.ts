/**
 * Writes a manifest: only what differs from the parent's, as patches of its nodes where that pays.
 */
import assert from 'node:assert/strict';
import type { Signing } from '../codec/index.ts';
import { SHA256_BYTES, toHex } from '../core/index.ts';
import { childCount, type Geometry, nodeCount, treeHeight } from './geometry.ts';
import { type Leaf, PIECE_CHUNK } from './leaf.ts';
import { FANOUT, NODE_DEPTH_MAX, TREE_RECORD_TARGET } from './limits.ts';
import type { Child, Inner, Tree, TreeReader } from './tree-reader.ts';
import {
  type ChildRun,
  type Edit,
  type NodeReference,
  type PieceRun,
  type TreeRecord,
  TreeRecordBuilder,
  treeSignatures,
} from './tree-record.ts';
import {
  leafDigest,
  nodeDigest,
  volumeDigest,
  zeroDigest,
  zeroRootDigest,
} from './volume-digest.ts';

/** A node of the new tree: in a record that was emitted, in the one being built, or inherited. */
type Placed =
  | { readonly kind: 'empty'; readonly digest: Uint8Array }
  | { readonly kind: 'old'; readonly reference: NodeReference; readonly digest: Uint8Array }
  | {
      readonly kind: 'new';
      readonly record: number;
      readonly ordinal: number;
      readonly digest: Uint8Array;
    };

/** A patch must be at most this share of the whole node. */
const PATCH_WORTH = 0.6;

export type TreeWriterOptions = {
  readonly geometry: Geometry;
  /** The manifest that most of the new one is like. */
  readonly parent: Tree | undefined;
  readonly reader: TreeReader;
  /** The keys of tree record ids, in an encrypted repository. */
  readonly signing: Signing | undefined;
  /** Takes a finished record; it must be stored before the root is used. */
  emit(record: TreeRecord, id: Uint8Array, checksum: number): Promise<void>;
};

export class TreeWriter {
  readonly #options: TreeWriterOptions;
  #builder = new TreeRecordBuilder();
  /** Ids of the records that were emitted. */
  readonly #emitted: string[] = [];
  /** Changed nodes of the level that is being written, ascending. */
  #changed = new Map<number, Placed>();

  constructor(options: TreeWriterOptions) {
    this.#options = options;
  }

  /**
   * Adds leaf `index`, which differs from the parent's; ascending. `digest` is needed where pieces
   * are not canonical chunks.
   */
  async put(index: number, leaf: Leaf, digest?: Uint8Array): Promise<void> {
    // Where ids are no hashes, the digest does not follow from them.
    const own = this.#options.signing === undefined ? leafDigest(leaf) : undefined;
    const known = own ?? digest;
    assert(known !== undefined, 'a leaf of unusual pieces needs its digest');
    if (leaf.isAllHole) {
      this.#changed.set(index, { kind: 'empty', digest: known });
      return;
    }
    const ordinal = await this.#addLeaf(index, leaf, own === undefined ? known : undefined);
    this.#changed.set(index, {
      kind: 'new',
      record: this.#emitted.length,
      ordinal,
      digest: known,
    });
    if (this.#builder.sizeBytes >= TREE_RECORD_TARGET) await this.flush();
  }

  /** Emits what is collected: called before a pack is closed, so that ids there are shared. */
  async flush(): Promise<void> {
    if (this.#builder.nodeCount === 0) return;
    const record = this.#builder.finish();
    const { id, checksum } = treeSignatures(record, this.#options.signing);
    this.#builder = new TreeRecordBuilder();
    this.#emitted.push(toHex(id));
    await this.#options.emit(record, id, checksum);
  }

  async #addLeaf(index: number, leaf: Leaf, digest: Uint8Array | undefined): Promise<number> {
    const { geometry } = this.#options;
    const whole = { skip: 0, drop: 0, runs: pieceRuns(leaf, 0, leaf.count, geometry.chunkBytes) };
    const patch = await this.#leafPatch(index, leaf);
    const edits = patch?.edits ?? [whole];
    return this.#builder.addLeaf(
      { base: patch?.base, hasDigest: digest !== undefined, pieces: edits },
      joined(digest, leafValues(leaf, patch?.edits)),
    );
  }

  /** The better of two patches, or none if the leaf differs too much from both. */
  async #leafPatch(index: number, leaf: Leaf): Promise<Patch<PieceRun> | undefined> {
    const { parent, reader, geometry } = this.#options;
    if (parent === undefined) return undefined;
    const reference = await reader.nodeReference(parent, 0, index);
    if (reference === undefined) return undefined;
    const candidates: Candidate[] = [];
    for (const base of await this.#bases(reference)) {
      const old = await reader.leaf(base, geometry.chunkBytes);
      if (old.count !== leaf.count) continue;
      const ranges = differences(leaf.count, (piece) => leaf.samePiece(piece, old, piece));
      candidates.push({ base, ranges, fresh: lengthOf(ranges) });
    }
    const best = choose(candidates);
    if (best === undefined || best.fresh > leaf.count * PATCH_WORTH) return undefined;
    let kept = 0;
    const edits = best.ranges.map(({ from, to }) => {
      const runs = pieceRuns(leaf, from, to, geometry.chunkBytes);
      const edit = { skip: from - kept, drop: to - from, runs };
      kept = to;
      return edit;
    });
    return { base: this.#pointer(best.base), edits };
  }

  /** What a patch may stand on: the base of the chain, and the newest version if it is not deep. */
  async #bases(reference: NodeReference): Promise<NodeReference[]> {
    const { base, depth } = await this.#options.reader.chain(reference);
    return depth === 0 || depth >= NODE_DEPTH_MAX ? [base] : [base, reference];
  }

  #pointer(reference: NodeReference): { source: number; ordinal: number } {
    return { source: this.#builder.source(reference.record), ordinal: reference.ordinal };
  }

  /** Writes the inner nodes; returns the root and the volume's digest. Nothing may follow. */
  async finish(): Promise<{ root: Child; digest: Uint8Array }> {
    const { geometry } = this.#options;
    if (geometry.sizeBytes === 0) {
      return { root: undefined, digest: volumeDigest(geometry, zeroRootDigest(geometry)) };
    }
    const height = treeHeight(geometry);
    for (let level = 1; level <= height; level++) await this.#level(level);
    const top = this.#changed.get(0) ?? (await this.#inherited(height, 0));
    await this.flush();
    return { root: this.#reference(top), digest: volumeDigest(geometry, top.digest) };
  }

  #reference(placed: Placed): Child {
    if (placed.kind === 'empty') return undefined;
    if (placed.kind === 'old') return placed.reference;
    return { record: this.#emitted[placed.record]!, ordinal: placed.ordinal };
  }

  /** The parent's node at this place; an empty one where the parent has none. */
  async #inherited(level: number, index: number): Promise<Placed> {
    const { parent, reader, geometry } = this.#options;
    const reference = parent && (await reader.nodeReference(parent, level, index));
    if (parent === undefined || reference === undefined) {
      return { kind: 'empty', digest: zeroDigest(geometry, level, index) };
    }
    return {
      kind: 'old',
      reference,
      digest: await reader.digest(parent, level, index, reference),
    };
  }

  /** Turns changed nodes of the level below into changed nodes of this one. */
  async #level(level: number): Promise<void> {
    const below = this.#changed;
    this.#changed = new Map();
    const touched = new Set<number>();
    for (const index of below.keys()) touched.add(Math.floor(index / FANOUT));
    await this.#addReshaped(level, touched);
    for (const index of [...touched].sort((a, b) => a - b)) {
      this.#changed.set(index, await this.#addInner(level, index, below));
      if (this.#builder.sizeBytes >= TREE_RECORD_TARGET) await this.flush();
    }
  }

  /** A resized volume has inner nodes with other children although no leaf was put. */
  async #addReshaped(level: number, touched: Set<number>): Promise<void> {
    const { parent, geometry } = this.#options;
    if (parent === undefined || parent.geometry.sizeBytes === geometry.sizeBytes) return;
    const count = nodeCount(geometry, level);
    touched.add(count - 1);
    const old = Math.max(0, Math.min(count - 1, nodeCount(parent.geometry, level) - 1));
    touched.add(old);
    if (level > treeHeight(parent.geometry)) touched.add(0);
  }

  async #addInner(level: number, index: number, below: Map<number, Placed>): Promise<Placed> {
    const { geometry, parent, reader } = this.#options;
    const count = childCount(geometry, level, index);
    const old = parent && (await reader.nodeReference(parent, level, index));
    const inherited = old && (await reader.inner(old));
    const children: Placed[] = [];
    for (let at = 0; at < count; at++) {
      const child = index * FANOUT + at;
      children.push(below.get(child) ?? (await this.#childOf(inherited, level - 1, child, at)));
    }
    const digests = new Uint8Array(count * SHA256_BYTES);
    for (const [at, child] of children.entries()) digests.set(child.digest, at * SHA256_BYTES);
    const digest = nodeDigest(level, digests);
    if (children.every((child) => child.kind === 'empty')) return { kind: 'empty', digest };
    const ordinal = await this.#writeInner(old, children);
    return { kind: 'new', record: this.#emitted.length, ordinal, digest };
  }

  async #childOf(
    inherited: Inner | undefined,
    level: number,
    index: number,
    at: number,
  ): Promise<Placed> {
    const reference = inherited?.children[at];
    const digest = inherited?.digests[at];
    if (reference === undefined || digest === undefined) return this.#inherited(level, index);
    return { kind: 'old', reference, digest };
  }

  async #writeInner(old: Child, children: readonly Placed[]): Promise<number> {
    const { reader } = this.#options;
    const candidates: (Candidate & { count: number })[] = [];
    for (const base of old === undefined ? [] : await this.#bases(old)) {
      const like = await reader.inner(base);
      const count = like.children.length;
      if (count > children.length) continue;
      const same = (at: number) => at < count && sameChild(children[at]!, like.children[at]);
      const ranges = differences(children.length, same);
      candidates.push({ base, ranges, fresh: lengthOf(ranges), count });
    }
    const best = choose(candidates);
    const patch = best !== undefined && best.fresh <= children.length * PATCH_WORTH;
    const ranges = patch ? best.ranges : [{ from: 0, to: children.length }];
    const base = patch ? this.#pointer(best.base) : undefined;
    const edits = this.#spell(ranges, children, patch ? best.count : 0);
    const values = this.#innerValues(ranges, children);
    return this.#builder.addInner({ base, hasDigest: false, children: edits }, values);
  }

  #spell(
    ranges: readonly Range[],
    children: readonly Placed[],
    baseCount: number,
  ): Edit<ChildRun>[] {
    let kept = 0;
    return ranges.map(({ from, to }) => {
      const runs = this.#childRuns(children, from, to);
      const edit = { skip: from - kept, drop: Math.max(0, Math.min(to, baseCount) - from), runs };
      kept = to;
      return edit;
    });
  }

  #childRuns(children: readonly Placed[], from: number, to: number): ChildRun[] {
    const runs: { count: number; source: number | undefined; ordinal: number }[] = [];
    for (let at = from; at < to; at++) {
      const { source, ordinal } = this.#spot(children[at]!);
      const last = runs.at(-1);
      if (last !== undefined && last.source === source) {
        if (source === undefined || ordinal === last.ordinal + last.count) {
          last.count++;
          continue;
        }
      }
      runs.push({ count: 1, source, ordinal });
    }
    return runs;
  }

  /** Where a child lies, seen from the record being built. */
  #spot(child: Placed): { source: number | undefined; ordinal: number } {
    if (child.kind === 'empty') return { source: undefined, ordinal: 0 };
    if (child.kind === 'new' && child.record === this.#emitted.length) {
      return { source: 0, ordinal: child.ordinal };
    }
    return this.#pointer(this.#reference(child)!);
  }

  /** Digests of the children that lie in other records, in the order in which runs name them. */
  #innerValues(ranges: readonly Range[], children: readonly Placed[]): Uint8Array {
    const values: Uint8Array[] = [];
    for (const { from, to } of ranges) {
      for (let at = from; at < to; at++) {
        const child = children[at]!;
        const own = child.kind === 'new' && child.record === this.#emitted.length;
        if (child.kind !== 'empty' && !own) values.push(child.digest);
      }
    }
    return new Uint8Array(Buffer.concat(values));
  }
}

/** The base that keeps chains flat is taken while it costs at most this much more. */
const BASE_PREFERENCE = 1.5;

/** A node that a patch may stand on, and where the new one differs from it. */
type Candidate = {
  readonly base: NodeReference;
  readonly ranges: readonly Range[];
  readonly fresh: number;
};

/** Of the chain's base and the newest version, in this order. */
function choose<C extends Candidate>([base, newest]: readonly C[]): C | undefined {
  if (base === undefined || newest === undefined) return base;
  return base.fresh <= newest.fresh * BASE_PREFERENCE ? base : newest;
}

function differences(count: number, same: (at: number) => boolean): Range[] {
  const ranges: Range[] = [];
  for (let at = 0; at < count; at++) {
    if (same(at)) continue;
    const last = ranges.at(-1);
    if (last?.to === at) last.to = at + 1;
    else ranges.push({ from: at, to: at + 1 });
  }
  return ranges;
}

function lengthOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { from, to }) => sum + to - from, 0);
}

function sameChild(child: Placed, reference: Child): boolean {
  if (child.kind === 'empty') return reference === undefined;
  if (child.kind === 'new' || reference === undefined) return false;
  const own = child.reference;
  return own.record === reference.record && own.ordinal === reference.ordinal;
}

type Range = { readonly from: number; to: number };
type Patch<Run> = {
  readonly base: { source: number; ordinal: number };
  readonly edits: readonly Edit<Run>[];
};

function pieceRuns(leaf: Leaf, from: number, to: number, chunkBytes: number): PieceRun[] {
  const runs: { kind: number; lengthBytes: number; count: number }[] = [];
  for (let piece = from; piece < to; piece++) {
    const kind = leaf.kinds[piece]!;
    const length = leaf.lengths[piece]!;
    const lengthBytes = length === chunkBytes ? 0 : length;
    const last = runs.at(-1);
    if (last?.kind === kind && last.lengthBytes === lengthBytes) last.count++;
    else runs.push({ kind, lengthBytes, count: 1 });
  }
  return runs;
}

/** Ids of the chunks that the edits (or, without edits, the whole leaf) bring. */
function leafValues(leaf: Leaf, edits: readonly Edit<PieceRun>[] | undefined): Uint8Array {
  const values: Uint8Array[] = [];
  const take = (from: number, to: number) => {
    for (let piece = from; piece < to; piece++) {
      if (leaf.kinds[piece] === PIECE_CHUNK) values.push(leaf.id(piece));
    }
  };
  if (edits === undefined) take(0, leaf.count);
  let at = 0;
  for (const edit of edits ?? []) {
    take(at + edit.skip, at + edit.skip + edit.drop);
    at += edit.skip + edit.drop;
  }
  return new Uint8Array(Buffer.concat(values));
}

function joined(digest: Uint8Array | undefined, values: Uint8Array): Uint8Array {
  return digest === undefined ? values : new Uint8Array(Buffer.concat([digest, values]));
}
