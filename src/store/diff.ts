/** The difference between two manifests: a walk that skips whatever is equal. */
import { equalBytes } from '../core/index.ts';
import { coveredBytes, leafCount, nodeCount, treeHeight } from './geometry.ts';
import { holeLeaf, type Leaf, PIECE_CHUNK } from './leaf.ts';
import { FANOUT, LEAF_BYTES } from './limits.ts';
import type { Child, Tree, TreeReader } from './tree-reader.ts';

/** A range whose content differs; `kind` is what the second snapshot has there. */
export type ChangedExtent = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: 'data' | 'zero';
};

/** Where the older manifest is, if it is in another repository than the newer one. */
export type OtherRepository = {
  readonly reader: TreeReader;
  /** Both name chunks by their plain content. Without it leaves that differ are told as a whole. */
  readonly hasSameIds: boolean;
};

type Side = { readonly reader: TreeReader; readonly tree: Tree; readonly reference: Child };

type Walk = { readonly fromBytes: number; readonly hasSameIds: boolean };

/**
 * Ranges of `newer` whose content is not that of `older`, ascending, adjacent ones joined; what
 * only the older one has (it was larger) is not told. Ranges that end at `fromBytes` or before are
 * left out, and not looked for. Cost: O(changed x log size), also between repositories, as digests
 * of subtrees are of plain content everywhere.
 */
export async function* diffTrees(
  reader: TreeReader,
  older: Tree,
  newer: Tree,
  fromBytes = 0,
  other?: OtherRepository,
): AsyncGenerator<ChangedExtent> {
  let pending: { offsetBytes: number; lengthBytes: number; kind: 'data' | 'zero' } | undefined;
  const height = Math.max(treeHeight(older.geometry), treeHeight(newer.geometry));
  const top = async (from: TreeReader, tree: Tree): Promise<Side> => ({
    reader: from,
    tree,
    reference: await from.nodeReference(tree, treeHeight(tree.geometry), 0),
  });
  const sides = [await top(other?.reader ?? reader, older), await top(reader, newer)] as const;
  const walking = { fromBytes, hasSameIds: other?.hasSameIds ?? true };
  for await (const extent of walk(walking, height, 0, ...sides)) {
    if (extent.offsetBytes + extent.lengthBytes <= fromBytes) continue;
    if (
      pending !== undefined &&
      pending.kind === extent.kind &&
      pending.offsetBytes + pending.lengthBytes === extent.offsetBytes
    ) {
      pending.lengthBytes += extent.lengthBytes;
      continue;
    }
    if (pending !== undefined) yield pending;
    pending = { ...extent };
  }
  if (pending !== undefined) yield pending;
}

async function* walk(
  walking: Walk,
  level: number,
  index: number,
  older: Side,
  newer: Side,
): AsyncGenerator<ChangedExtent> {
  const { fromBytes, hasSameIds } = walking;
  if (index >= nodeCount(newer.tree.geometry, level)) return;
  if ((index + 1) * LEAF_BYTES * FANOUT ** level <= fromBytes) return;
  if (await same(level, index, older, newer)) return;
  if (level === 0) {
    yield* leafDifference(index, older, newer, hasSameIds);
    return;
  }
  const before = await childrenOf(level, index, older);
  const after = await childrenOf(level, index, newer);
  for (const [at, child] of after.entries()) {
    const position = index * FANOUT + at;
    const left = { ...older, reference: before[at] };
    yield* walk(walking, level - 1, position, left, { ...newer, reference: child });
  }
}

/** A tree that is not as high as the other one stands as the first child of what lies above. */
async function childrenOf(
  level: number,
  index: number,
  { reader, tree, reference }: Side,
): Promise<readonly Child[]> {
  if (level > treeHeight(tree.geometry)) return [reference];
  if (index >= nodeCount(tree.geometry, level)) return [];
  return (await reader.children(tree, level, index, reference)).children;
}

async function same(level: number, index: number, older: Side, newer: Side): Promise<boolean> {
  const covered = coveredBytes(newer.tree.geometry, level, index);
  if (level > treeHeight(older.tree.geometry) || level > treeHeight(newer.tree.geometry)) {
    return false;
  }
  if (coveredBytes(older.tree.geometry, level, index) !== covered) return false;
  const a = older.reference;
  const b = newer.reference;
  if (a === undefined && b === undefined) return true;
  if (a !== undefined && b !== undefined && older.reader === newer.reader) {
    if (a.record === b.record && a.ordinal === b.ordinal) return true;
  }
  const digests = await Promise.all([
    older.reader.digest(older.tree, level, index, a),
    newer.reader.digest(newer.tree, level, index, b),
  ]);
  return equalBytes(digests[0], digests[1]);
}

async function wholeLeaf(
  index: number,
  { reader, tree, reference }: Side,
): Promise<Leaf | undefined> {
  if (index >= leafCount(tree.geometry)) return undefined;
  if (reference !== undefined) return reader.wholeLeaf(tree, index, reference);
  return holeLeaf(coveredBytes(tree.geometry, 0, index), tree.geometry.chunkBytes);
}

async function* leafDifference(
  index: number,
  older: Side,
  newer: Side,
  hasSameIds: boolean,
): AsyncGenerator<ChangedExtent> {
  const before = await wholeLeaf(index, older);
  const after = await wholeLeaf(index, newer);
  if (after === undefined) return;
  const starts = new Map<number, number>();
  let at = 0;
  for (let piece = 0; before !== undefined && piece < before.count; piece++) {
    starts.set(at, piece);
    at += before.lengths[piece]!;
  }
  at = 0;
  for (let piece = 0; piece < after.count; piece++) {
    const lengthBytes = after.lengths[piece]!;
    const from = starts.get(at);
    if (from === undefined || !sameContent(before!, from, after, piece, hasSameIds)) {
      const kind = after.kinds[piece] === PIECE_CHUNK ? 'data' : 'zero';
      yield { offsetBytes: index * LEAF_BYTES + at, lengthBytes, kind };
    }
    at += lengthBytes;
  }
}

/** Holes, zeroes and discarded ranges read alike. */
function sameContent(
  before: Leaf,
  from: number,
  after: Leaf,
  to: number,
  hasSameIds: boolean,
): boolean {
  if (before.lengths[from] !== after.lengths[to]) return false;
  const chunk = before.kinds[from] === PIECE_CHUNK;
  if (chunk !== (after.kinds[to] === PIECE_CHUNK)) return false;
  return !chunk || (hasSameIds && equalBytes(before.id(from), after.id(to)));
}
