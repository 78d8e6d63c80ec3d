/** What a repository holds: snapshots, their content, and the room it takes. */
import { s3PutRequests } from '../objects/index.ts';
import {
  eachChunk,
  FANOUT,
  RECORD_CHUNK,
  type Repository,
  type Tree,
  treeHeight,
  treeOf,
} from '../store/index.ts';

export type ObjectCount = { readonly count: number; readonly bytes: number };

export type RepositoryStats = {
  readonly snapshots: number;
  readonly volumes: number;
  /** Sizes of all snapshots' volumes together. */
  readonly logicalBytes: number;
  /** What of that is stored as chunks, counted as often as snapshots hold it. */
  readonly dataBytes: number;
  /** Plain bytes of the chunks that packs hold. */
  readonly uniqueBytes: number;
  readonly uniqueChunks: number;
  /** All objects together. */
  readonly storedBytes: number;
  /** By kind: the folder they lie in. */
  readonly objects: Readonly<Record<string, ObjectCount>>;
  readonly logEntries: number;
  /** In packs that snapshots need; each takes a range read. */
  readonly frames: number;
  /** Packs that no index segment covers. */
  readonly loosePacks: number;
  /** What it takes to put all objects into S3. */
  readonly putRequests: number;
};

/** Reads manifests and chunk tables, no data; nodes that snapshots share are read once. */
export async function repositoryStats(
  repository: Repository,
  signal: AbortSignal,
): Promise<RepositoryStats> {
  const snapshots = repository.snapshots();
  const index = await repository.index();
  const objects: Record<string, ObjectCount> = {};
  const unique = { bytes: 0, chunks: 0 };
  let frames = 0;
  let putRequests = 0;
  for await (const { key, sizeBytes } of repository.objects.list('')) {
    signal.throwIfAborted();
    const kind = key.slice(0, key.indexOf('/'));
    const { count, bytes } = objects[kind] ?? { count: 0, bytes: 0 };
    objects[kind] = { count: count + 1, bytes: bytes + sizeBytes };
    putRequests += s3PutRequests(sizeBytes);
    if (kind !== 'packs') continue;
    const packId = key.slice(key.lastIndexOf('/') + 1);
    if (!index.hasPack(packId)) continue; // Of no snapshot: a run that was cut off left it.
    const table = await index.tableOf(packId);
    frames += table.frameFirst.length;
    for (let ordinal = 0; ordinal < table.count; ordinal++) {
      if (table.kinds[ordinal] !== RECORD_CHUNK) continue;
      unique.bytes += table.rawBytes[ordinal]!;
      unique.chunks++;
    }
  }
  const content = new ContentCounter(repository, signal);
  let dataBytes = 0;
  for (const snapshot of snapshots) dataBytes += await content.bytesOf(treeOf(snapshot));
  return {
    snapshots: snapshots.length,
    volumes: new Set(snapshots.map(({ volume }) => volume)).size,
    logicalBytes: snapshots.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    dataBytes,
    uniqueBytes: unique.bytes,
    uniqueChunks: unique.chunks,
    storedBytes: Object.values(objects).reduce((sum, { bytes }) => sum + bytes, 0),
    objects,
    logEntries: repository.log.state.sequence,
    frames,
    loosePacks: repository.log.state.loosePacks.size,
    putRequests,
  };
}

type Child = Tree['root'];

/** Remembers what lies below a node, so that a node is read once for all snapshots. */
class ContentCounter {
  readonly #repository: Repository;
  readonly #signal: AbortSignal;
  readonly #known = new Map<string, number>();

  constructor(repository: Repository, signal: AbortSignal) {
    this.#repository = repository;
    this.#signal = signal;
  }

  bytesOf(tree: Tree): Promise<number> {
    return this.#below(tree, treeHeight(tree.geometry), 0, tree.root);
  }

  async #below(tree: Tree, level: number, index: number, reference: Child): Promise<number> {
    if (reference === undefined) return 0;
    this.#signal.throwIfAborted();
    const key = `${reference.record}:${reference.ordinal}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const { reader } = this.#repository;
    let bytes = 0;
    if (level === 0) {
      eachChunk(await reader.wholeLeaf(tree, index, reference), index, (_offset, length) => {
        bytes += length;
      });
    } else {
      const { children } = await reader.children(tree, level, index, reference);
      for (const [at, child] of children.entries()) {
        bytes += await this.#below(tree, level - 1, index * FANOUT + at, child);
      }
    }
    this.#known.set(key, bytes);
    return bytes;
  }
}
