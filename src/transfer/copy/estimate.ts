/** Tells what copying snapshots would take, by manifests and indexes only. */
import { signer } from '../../codec/index.ts';
import type { Extent } from '../../core/index.ts';
import { diffTrees, type Repository, type Snapshot, treeOf } from '../../store/index.ts';
import { checkInterrupted } from '../errors.ts';
import { History } from './history.ts';
import { bearsHashes, blocksOf } from './source-blocks.ts';

export type Estimate = {
  readonly snapshot: Snapshot;
  /** Plain bytes that would be read, at most: equal chunks are counted as often as they occur. */
  readonly missingBytes: number;
};

/** For `wanted` snapshots, oldest first, each as if those before it had been copied. */
export async function* estimates(
  source: Repository,
  destination: Repository,
  wanted: readonly Snapshot[],
  { signal }: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<Estimate> {
  const histories = new Map<string, History>();
  await source.index();
  const index = await destination.index();
  const { idOf } = signer(destination.objects.sealer.chunkSigning);
  for (const snapshot of wanted) {
    const { volume, chunkBytes } = snapshot;
    const history = histories.get(volume) ?? new History(source, destination, volume);
    histories.set(volume, history);
    const comparable = bearsHashes(source, snapshot, destination.superblock.chunkBytes);
    let missingBytes = 0;
    for await (const extent of changedExtents(source, snapshot, history)) {
      checkInterrupted(signal);
      const range = { ...extent, alignBytes: chunkBytes };
      for await (const block of blocksOf(source.reader, treeOf(snapshot), range)) {
        if (block.kind === 'empty') continue;
        const isThere = comparable && (await index.find(idOf(block.chunks[0]!.id))) !== undefined;
        if (!isThere) missingBytes += block.lengthBytes;
      }
    }
    history.add(snapshot);
    yield { snapshot, missingBytes };
  }
}

async function* changedExtents(
  { reader }: Repository,
  snapshot: Snapshot,
  history: History,
): AsyncGenerator<Extent> {
  const pair = history.baseOf(snapshot);
  if (pair === undefined) {
    if (snapshot.sizeBytes > 0) yield { offsetBytes: 0, lengthBytes: snapshot.sizeBytes };
    return;
  }
  for await (const extent of diffTrees(reader, treeOf(pair.base), treeOf(snapshot))) {
    if (extent.kind === 'data') yield extent;
  }
}
