/** Walks the pieces of a snapshot in order, page by page, without touching chunks. */
import { leafCount, treeHeight } from './geometry.ts';
import { type Leaf, PIECE_CHUNK } from './leaf.ts';
import { FANOUT, LEAF_BYTES } from './limits.ts';
import type { Child, Tree, TreeReader } from './tree-reader.ts';

/** Every leaf from `firstLeaf` up to `endLeaf`; runs of empty ones are passed over quickly. */
export async function* leaves(
  reader: TreeReader,
  tree: Tree,
  firstLeaf = 0,
  endLeaf = leafCount(tree.geometry),
): AsyncGenerator<{ index: number; leaf: Leaf }> {
  yield* below(treeHeight(tree.geometry), 0, tree.root);

  async function* below(
    level: number,
    index: number,
    reference: Child,
  ): AsyncGenerator<{ index: number; leaf: Leaf }> {
    const span = FANOUT ** level;
    if (reference === undefined || (index + 1) * span <= firstLeaf || index * span >= endLeaf) {
      return;
    }
    if (level === 0) {
      yield { index, leaf: await reader.wholeLeaf(tree, index, reference) };
      return;
    }
    const inner = await reader.children(tree, level, index, reference);
    for (const [at, child] of inner.children.entries()) {
      yield* below(level - 1, index * FANOUT + at, child);
    }
  }
}

/** Calls `visit` for each chunk of a leaf with its place in the volume. */
export function eachChunk(
  leaf: Leaf,
  index: number,
  visit: (offsetBytes: number, lengthBytes: number, id: Uint8Array) => void,
): void {
  let offset = index * LEAF_BYTES;
  for (let piece = 0; piece < leaf.count; piece++) {
    const length = leaf.lengths[piece]!;
    if (leaf.kinds[piece] === PIECE_CHUNK) visit(offset, length, leaf.id(piece));
    offset += length;
  }
}
