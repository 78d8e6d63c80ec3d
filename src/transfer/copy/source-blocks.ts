/** Cuts a range of a snapshot into aligned blocks: empty ones, and ones with chunks to be read. */
import {
  CANONICAL_BYTES,
  LEAF_BYTES,
  type Leaf,
  PIECE_CHUNK,
  PIECE_HOLE,
  PIECE_ZERO,
  type Repository,
  type Snapshot,
  StoreError,
  type Tree,
  type TreeReader,
} from '../../store/index.ts';

/** A chunk of the source, by its place in the volume; the id is a view of the leaf. */
export type SourceChunk = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly id: Uint8Array;
};

/** Whether ids of the snapshot are hashes of chunks as a repository with `chunkBytes` has them. */
export function bearsHashes(source: Repository, snapshot: Snapshot, chunkBytes: number): boolean {
  const isPlain = source.objects.sealer.chunkSigning === undefined;
  return isPlain && snapshot.chunkBytes === CANONICAL_BYTES && chunkBytes === CANONICAL_BYTES;
}

export type Block = { readonly offsetBytes: number; readonly lengthBytes: number } & (
  | { readonly kind: 'empty'; readonly piece: number }
  | { readonly kind: 'data'; readonly chunks: readonly SourceChunk[] }
);

export type BlockRange = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Divides LEAF_BYTES, and the range begins at a multiple of it. */
  readonly alignBytes: number;
};

/** All of the range, in order; large holes come as one. */
export async function* blocksOf(
  reader: TreeReader,
  tree: Tree,
  { offsetBytes, lengthBytes, alignBytes }: BlockRange,
): AsyncGenerator<Block> {
  const end = offsetBytes + lengthBytes;
  for (let at = offsetBytes; at < end; ) {
    const index = Math.floor(at / LEAF_BYTES);
    const empty = await reader.emptyLeaves(tree, index);
    const stop = Math.min(end, (index + Math.max(1, empty)) * LEAF_BYTES);
    const reference = empty > 0 ? undefined : await reader.nodeReference(tree, 0, index);
    if (reference === undefined) {
      yield { kind: 'empty', piece: PIECE_HOLE, offsetBytes: at, lengthBytes: stop - at };
    } else {
      const leaf = await reader.wholeLeaf(tree, index, reference);
      yield* leafBlocks(leaf, index * LEAF_BYTES, { at, stop, alignBytes });
    }
    at = stop;
  }
}

function* leafBlocks(
  leaf: Leaf,
  leafOffset: number,
  { at: first, stop: end, alignBytes }: { at: number; stop: number; alignBytes: number },
): Generator<Block> {
  let piece = 0;
  let start = leafOffset;
  const name = `leaf ${leafOffset / LEAF_BYTES}`;
  for (let at = first; at < end; at += alignBytes) {
    const stop = Math.min(end, at + alignBytes);
    const chunks: SourceChunk[] = [];
    const empties = new Set<number>();
    for (; piece < leaf.count && start < stop; piece++) {
      const lengthBytes = leaf.lengths[piece]!;
      const kind = leaf.kinds[piece]!;
      if (start + lengthBytes > at) {
        if (kind !== PIECE_CHUNK) empties.add(kind);
        else if (start < at || start + lengthBytes > stop) throw oddPiece(name, start, lengthBytes);
        else chunks.push({ offsetBytes: start, lengthBytes, id: leaf.id(piece) });
        if (start + lengthBytes > stop) break; // The next block has a share in it.
      }
      start += lengthBytes;
    }
    const range = { offsetBytes: at, lengthBytes: stop - at };
    if (chunks.length > 0) yield { kind: 'data', chunks, ...range };
    else {
      const [only = PIECE_ZERO] = empties;
      yield { kind: 'empty', piece: empties.size === 1 ? only : PIECE_ZERO, ...range };
    }
  }
}

/** No writer of this version makes such pieces; a later one that does says so in the superblock. */
function oddPiece(leaf: string, offsetBytes: number, lengthBytes: number): StoreError {
  const what = `${leaf} is damaged: a chunk of ${lengthBytes} bytes at ${offsetBytes}`;
  return new StoreError('STORE_DAMAGED', `${what} lies across the borders of others`, {
    hint: 'Run `ferry check` on the repository that is copied from.',
  });
}
