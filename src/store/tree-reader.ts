/**
 * Reads manifest nodes: follows records, bases and children, and gives whole leaves and digests.
 */
import { SHA256_BYTES } from '../core/index.ts';
import { ByteCache } from './byte-cache.ts';
import { damagedObject, type StoreError } from './errors.ts';
import { childCount, coveredBytes, type Geometry, nodeCount, treeHeight } from './geometry.ts';
import { Leaf, PIECE_CHUNK } from './leaf.ts';
import { FANOUT, NODE_CACHE_BYTES, NODE_DEPTH_MAX, TREE_CACHE_BYTES } from './limits.ts';
import type {
  ChildRun,
  Edit,
  NodeReference,
  ParsedTree,
  PieceRun,
  StoredNode,
} from './tree-record.ts';
import {
  leafDigest,
  nodeDigest,
  volumeDigest,
  zeroDigest,
  zeroRootDigest,
} from './volume-digest.ts';

/** Empty subtrees have no node. */
export type Child = NodeReference | undefined;

/** A manifest: the shape of the volume, and its root. */
export type Tree = { readonly geometry: Geometry; readonly root: Child };

/** An inner node with its base applied; a digest is undefined where it must be computed. */
export type Inner = {
  readonly children: readonly Child[];
  readonly digests: readonly (Uint8Array | undefined)[];
};

export type LoadRecord = (id: string) => Promise<ParsedTree>;

export class TreeReader {
  readonly #load: LoadRecord;
  readonly #records = new ByteCache<string, ParsedTree>(TREE_CACHE_BYTES);
  readonly #inners = new ByteCache<string, Inner>(NODE_CACHE_BYTES);
  readonly #leaves = new ByteCache<string, Leaf>(NODE_CACHE_BYTES);
  readonly #digests = new ByteCache<string, Uint8Array>(NODE_CACHE_BYTES);

  constructor(load: LoadRecord) {
    this.#load = load;
  }

  async #record(id: string): Promise<ParsedTree> {
    const known = this.#records.get(id);
    if (known !== undefined) return known;
    const record = await this.#load(id);
    this.#records.set(id, record, record.sizeBytes);
    return record;
  }

  async #node(reference: NodeReference): Promise<{ record: ParsedTree; node: StoredNode }> {
    const record = await this.#record(reference.record);
    const node = record.nodes[reference.ordinal];
    if (node === undefined) throw damagedTree(record.id, `it has no node ${reference.ordinal}`);
    return { record, node };
  }

  /** The whole leaf, shared, not to be changed; `chunkBytes` is the repository's. */
  async leaf(reference: NodeReference, chunkBytes: number, depth = 0): Promise<Leaf> {
    const key = keyOf(reference);
    const known = this.#leaves.get(key);
    if (known !== undefined) return known;
    const leaf = await this.#resolveLeaf(reference, chunkBytes, depth);
    this.#leaves.set(key, leaf, leaf.ids.byteLength + leaf.count * 5 + 200);
    return leaf;
  }

  async #resolveLeaf(reference: NodeReference, chunkBytes: number, depth: number): Promise<Leaf> {
    const { record, node } = await this.#node(reference);
    if (node.inner) throw damagedTree(record.id, 'an inner node stands where a leaf belongs');
    if (depth > NODE_DEPTH_MAX) throw damagedTree(record.id, 'its chain of bases is too long');
    const base =
      node.base &&
      (await this.leaf(
        record.reference(node.base.source, node.base.ordinal),
        chunkBytes,
        depth + 1,
      ));
    return applyPieces(record, node, base, chunkBytes);
  }

  /** The node at the end of a chain of patches, and how many patches the chain has. */
  async chain(reference: NodeReference): Promise<{ base: NodeReference; depth: number }> {
    let base = reference;
    for (let depth = 0; depth <= NODE_DEPTH_MAX; depth++) {
      const { record, node } = await this.#node(base);
      if (node.base === undefined) return { base, depth };
      base = record.reference(node.base.source, node.base.ordinal);
    }
    throw damagedTree(reference.record, 'its chain of bases is too long');
  }

  /** The node and all that it stands on, one upon the other. */
  async line(reference: NodeReference): Promise<NodeReference[]> {
    const line = [reference];
    for (let at = reference; ; ) {
      const { record, node } = await this.#node(at);
      if (node.base === undefined) return line;
      at = record.reference(node.base.source, node.base.ordinal);
      line.push(at);
      if (line.length > NODE_DEPTH_MAX + 1) {
        throw damagedTree(record.id, 'its chain of bases is too long');
      }
    }
  }

  async inner(reference: NodeReference, depth = 0): Promise<Inner> {
    const key = keyOf(reference);
    const known = this.#inners.get(key);
    if (known !== undefined) return known;
    const inner = await this.#resolveInner(reference, depth);
    this.#inners.set(key, inner, inner.children.length * INNER_CHILD_BYTES);
    return inner;
  }

  async #resolveInner(reference: NodeReference, depth: number): Promise<Inner> {
    const { record, node } = await this.#node(reference);
    if (!node.inner) throw damagedTree(record.id, 'a leaf stands where an inner node belongs');
    if (depth > NODE_DEPTH_MAX) throw damagedTree(record.id, 'its chain of bases is too long');
    const base =
      node.base &&
      (await this.inner(record.reference(node.base.source, node.base.ordinal), depth + 1));
    return applyChildren(record, node, base);
  }

  /** Children of a node of the tree, as many as its geometry asks for. */
  async children(tree: Tree, level: number, index: number, reference: Child): Promise<Inner> {
    const count = childCount(tree.geometry, level, index);
    if (reference === undefined) {
      const none = new Array<undefined>(count).fill(undefined);
      return { children: none, digests: none };
    }
    const inner = await this.inner(reference);
    if (inner.children.length !== count) {
      throw damagedTree(reference.record, `a node has ${inner.children.length} children`);
    }
    return inner;
  }

  /** The digest of a subtree, from what is stored where it is, computed where it is not. */
  async digest(tree: Tree, level: number, index: number, reference: Child): Promise<Uint8Array> {
    if (reference === undefined) return zeroDigest(tree.geometry, level, index);
    const { record, node } = await this.#node(reference);
    // An edge of the volume covers less: the same node then has another digest.
    const key = `${keyOf(reference)}:${coveredBytes(tree.geometry, level, index)}`;
    const known = node.hasDigest ? record.value(node.valueAt) : this.#digests.get(key);
    if (known !== undefined) return known;
    const digest =
      level === 0
        ? await this.#leafDigest(tree, reference)
        : await this.#innerDigest(tree, level, index, reference);
    this.#digests.set(key, digest, DIGEST_ENTRY_BYTES);
    return digest;
  }

  async #leafDigest(tree: Tree, reference: NodeReference): Promise<Uint8Array> {
    const digest = leafDigest(await this.leaf(reference, tree.geometry.chunkBytes));
    if (digest !== undefined) return digest;
    throw damagedTree(reference.record, 'a leaf of unusual pieces carries no digest');
  }

  async #innerDigest(
    tree: Tree,
    level: number,
    index: number,
    reference: NodeReference,
  ): Promise<Uint8Array> {
    const inner = await this.children(tree, level, index, reference);
    const digests = new Uint8Array(inner.children.length * SHA256_BYTES);
    for (const [at, child] of inner.children.entries()) {
      const digest =
        inner.digests[at] ?? (await this.digest(tree, level - 1, index * FANOUT + at, child));
      digests.set(digest, at * SHA256_BYTES);
    }
    return nodeDigest(level, digests);
  }

  /** The digest of the whole volume. */
  async volumeDigest(tree: Tree): Promise<Uint8Array> {
    const root =
      tree.root === undefined
        ? zeroRootDigest(tree.geometry)
        : await this.digest(tree, treeHeight(tree.geometry), 0, tree.root);
    return volumeDigest(tree.geometry, root);
  }

  /** The node of the tree at (level, index), or undefined if empty, above the root or outside. */
  async nodeReference(tree: Tree, level: number, index: number): Promise<Child> {
    const height = treeHeight(tree.geometry);
    if (level > height || index >= nodeCount(tree.geometry, level)) return undefined;
    let reference = tree.root;
    for (let at = height; at > level && reference !== undefined; at--) {
      const position = Math.floor(index / FANOUT ** (at - 1 - level));
      const inner = await this.children(tree, at, Math.floor(position / FANOUT), reference);
      reference = inner.children[position % FANOUT];
    }
    return reference;
  }

  /**
   * How many leaves from `index` on are empty because one node above all of them is; 0 if this leaf
   * has a node. Cheap however large the hole is.
   */
  async emptyLeaves(tree: Tree, index: number): Promise<number> {
    for (let level = treeHeight(tree.geometry); level >= 0; level--) {
      const span = FANOUT ** level;
      const at = Math.floor(index / span);
      if ((await this.nodeReference(tree, level, at)) === undefined) {
        return Math.min((at + 1) * span, nodeCount(tree.geometry, 0)) - index;
      }
    }
    return 0;
  }

  /** Leaf `index` with the size that the geometry gives it. */
  async wholeLeaf(tree: Tree, index: number, reference: NodeReference): Promise<Leaf> {
    const leaf = await this.leaf(reference, tree.geometry.chunkBytes);
    const wanted = coveredBytes(tree.geometry, 0, index);
    if (leaf.sizeBytes !== wanted) {
      throw damagedTree(reference.record, `leaf ${index} covers ${leaf.sizeBytes} bytes`);
    }
    return leaf;
  }
}

function keyOf({ record, ordinal }: NodeReference): string {
  return `${record}:${ordinal}`;
}

/** A digest and its key. */
const DIGEST_ENTRY_BYTES = 400;

/** A reference and a digest, as objects. */
const INNER_CHILD_BYTES = 200;

function damagedTree(record: string, what: string): StoreError {
  return damagedObject(`tree record ${record.slice(0, 16)}`, what);
}

function applyPieces(
  record: ParsedTree,
  node: StoredNode,
  base: Leaf | undefined,
  chunkBytes: number,
): Leaf {
  const leaf = new Leaf(resultCount(record, node.pieces, base?.count ?? 0));
  let value = node.valueAt + (node.hasDigest ? 1 : 0);
  let from = 0;
  let to = 0;
  for (const edit of node.pieces) {
    for (let at = 0; at < edit.skip; at++) leaf.copyFrom(to++, base!, from++);
    from += edit.drop;
    for (const run of edit.runs) {
      const length = run.lengthBytes === 0 ? chunkBytes : run.lengthBytes;
      for (let at = 0; at < run.count; at++) {
        if (run.kind === PIECE_CHUNK) leaf.setChunk(to++, length, record.value(value++));
        else leaf.setEmpty(to++, run.kind, length);
      }
    }
  }
  while (base !== undefined && from < base.count) leaf.copyFrom(to++, base, from++);
  return leaf;
}

/** Entries after the edits; checks that they fit the base. */
function resultCount(
  record: ParsedTree,
  edits: readonly Edit<PieceRun | ChildRun>[],
  baseCount: number,
): number {
  let used = 0;
  let added = 0;
  for (const edit of edits) {
    used += edit.skip + edit.drop;
    added -= edit.drop;
    for (const run of edit.runs) added += run.count;
  }
  if (used > baseCount) throw damagedTree(record.id, 'an edit passes the end of its base');
  if (baseCount + added > 2048) throw damagedTree(record.id, 'a node has too many entries');
  return baseCount + added;
}

function applyChildren(record: ParsedTree, node: StoredNode, base: Inner | undefined): Inner {
  resultCount(record, node.children, base?.children.length ?? 0);
  const children: Child[] = [];
  const digests: (Uint8Array | undefined)[] = [];
  let value = node.valueAt + (node.hasDigest ? 1 : 0);
  let from = 0;
  const keep = (count: number) => {
    for (let at = 0; at < count; at++, from++) {
      children.push(base!.children[from]);
      digests.push(base!.digests[from]);
    }
  };
  for (const edit of node.children) {
    keep(edit.skip);
    from += edit.drop;
    for (const run of edit.runs) {
      for (let at = 0; at < run.count; at++) {
        const { source } = run;
        children.push(
          source === undefined ? undefined : record.reference(source, run.ordinal + at),
        );
        digests.push(source === undefined || source === 0 ? undefined : record.value(value++));
      }
    }
  }
  if (base !== undefined) keep(base.children.length - from);
  return { children, digests };
}
