/** Finds the chunks that a snapshot names: all of them beforehand, without reading any data. */
import { toHex } from '../../core/index.ts';
import {
  type ChunkIndex,
  eachChunk,
  type Leaf,
  type Location,
  leaves,
  type Repository,
  type Snapshot,
  StoreError,
  treeOf,
} from '../../store/index.ts';
import { checkInterrupted } from '../errors.ts';

/** A chunk of the manifest; the id is a view of the leaf. */
export type NamedChunk = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly id: Uint8Array;
};

/**
 * Throws what a restore would meet, as far as manifests, index and chunk tables tell: to be called
 * before the target loses what it holds. Damage inside a frame shows only when that is read.
 */
export async function prepareRestore(
  repository: Repository,
  snapshot: Snapshot,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const index = await repository.index();
  for await (const { index: number, leaf } of leaves(repository.reader, treeOf(snapshot))) {
    checkInterrupted(signal);
    for (const chunk of chunksOf(leaf, number)) {
      const found = findChunk(index, chunk);
      if (found instanceof Promise) await found;
    }
  }
}

export function chunksOf(leaf: Leaf, index: number): NamedChunk[] {
  const chunks: NamedChunk[] = [];
  eachChunk(leaf, index, (offsetBytes, lengthBytes, id) => {
    chunks.push({ offsetBytes, lengthBytes, id });
  });
  return chunks;
}

/** The copy to read; STORE_MISSING, or STORE_DAMAGED if it is not as long as the manifest says. */
export function findChunk(index: ChunkIndex, chunk: NamedChunk): Location | Promise<Location> {
  const found = index.find(chunk.id);
  if (found instanceof Promise) return found.then((location) => fitting(index, chunk, location));
  return fitting(index, chunk, found);
}

function fitting(index: ChunkIndex, chunk: NamedChunk, at: Location | undefined): Location {
  const { id, lengthBytes, offsetBytes } = chunk;
  if (at === undefined) {
    throw index.absent(`chunk ${toHex(id).slice(0, 16)}, wanted at ${offsetBytes},`);
  }
  const found = at.table.rawBytes[at.ordinal];
  if (found === lengthBytes) return at;
  const what = `the manifest wants ${lengthBytes} bytes at ${offsetBytes}, its chunk has ${found}`;
  throw new StoreError('STORE_DAMAGED', what, {
    hint: 'Run `ferry check --read-data` to see what is affected.',
  });
}
