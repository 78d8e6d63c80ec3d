/** Copies one snapshot; nothing is committed unless its content is that of its digest. */
import { type CodecPool, type Compression, codecPool } from '../../codec/index.ts';
import { type Env, hasCode } from '../../core/index.ts';
import { originalId, type Repository, type Snapshot } from '../../store/index.ts';
import type { OnProgress } from '../progress.ts';
import { CopyRun } from './copy-run.ts';
import { isDamage } from './damage.ts';
import type { History } from './history.ts';

export type CopySettings = {
  /** How what is new is stored; zstd 3 by default. */
  readonly compression?: Compression | undefined;
  /** Tests make packs small. */
  readonly packTargetBytes?: number;
  readonly onProgress?: ((snapshot: Snapshot) => OnProgress) | undefined;
  readonly signal?: AbortSignal | undefined;
};

export type SnapshotCopy = {
  readonly snapshot: Snapshot;
  readonly copy: Snapshot;
  /** Compared with this one, which both have. */
  readonly base: Snapshot | undefined;
  /** Plain bytes that were read, and of those what the destination did not have. */
  readonly readBytes: number;
  readonly newBytes: number;
  /** What was found at the destination unread, by its hashes. */
  readonly foundBytes: number;
  /** Packs of an earlier run that was cut off. */
  readonly adoptedPacks: number;
};

/** The snapshot cannot be copied as it is damaged where it comes from. */
export class SourceDamage {
  readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }
}

/** Below this much data threads cost more time than they save. */
const THREADS_FROM_BYTES = 8 * 1024 * 1024;

export type CopyPlaces = {
  readonly source: Repository;
  readonly destination: Repository;
  /** Of the snapshot's volume. */
  readonly history: History;
};

/** Answers SourceDamage if that is why it cannot be done; all other errors are thrown. */
export async function copySnapshot(
  env: Env,
  { source, destination, history }: CopyPlaces,
  snapshot: Snapshot,
  settings: CopySettings,
): Promise<SnapshotCopy | SourceDamage> {
  const pair = history.baseOf(snapshot);
  const threads = snapshot.sizeBytes < THREADS_FROM_BYTES ? 0 : env.workers.parallelism;
  await using pool = codecPool(env, threads);
  const copying = { source, destination, snapshot, pool, settings };
  const parent = pair?.copy ?? history.newest;
  const first = await attempt(copying, pair?.base, parent);
  if (!(first instanceof Failure)) return first;
  // Without the manifests of older snapshots, if it is one of those that is damaged.
  const isLast = parent === undefined || first.inContent;
  const last = isLast ? first : await attempt(copying, undefined, undefined);
  if (!(last instanceof Failure)) return last;
  if (last.inSource) return new SourceDamage(last.error);
  throw last.error;
}

class Failure {
  readonly error: unknown;
  readonly inSource: boolean;
  readonly inContent: boolean;

  constructor(error: unknown, damage: CopyRun['sourceDamage']) {
    this.error = error;
    this.inSource = damage !== undefined;
    this.inContent = damage?.inContent ?? false;
  }
}

type Copying = {
  readonly source: Repository;
  readonly destination: Repository;
  readonly snapshot: Snapshot;
  readonly pool: CodecPool;
  readonly settings: CopySettings;
};

async function attempt(
  { source, destination, snapshot, pool, settings }: Copying,
  base: Snapshot | undefined,
  parent: Snapshot | undefined,
): Promise<SnapshotCopy | Failure> {
  await using _pin = await source.pin(base === undefined ? [snapshot] : [snapshot, base]);
  const { compression, packTargetBytes, signal } = settings;
  const { volume, sizeBytes, tags, unreadable, readBytes } = snapshot;
  const { chunkBytes } = destination.superblock;
  await using session = await destination.beginBackup({
    volume,
    sizeBytes,
    parent,
    pool,
    ...(compression !== undefined && { compression }),
    ...(packTargetBytes !== undefined && { packTargetBytes }),
  });
  const { writer } = session;
  const onProgress = settings.onProgress?.(snapshot);
  const options = { source, snapshot, base, writer, chunkBytes, pool, onProgress, signal };
  const run = new CopyRun(options, await source.index());
  try {
    await run.all();
    const { time, held, digest, source: changeSource, origin } = snapshot;
    const original = { copyOf: originalId(snapshot), time, held, digest };
    const copy = await session.commit({
      ...{ source: changeSource, origin, readBytes, unreadable, tags, original },
    });
    const { newBytes } = writer.stats;
    const { foundBytes } = run;
    const { adoptedPacks } = session;
    return { snapshot, copy, base, readBytes: run.readBytes, newBytes, foundBytes, adoptedPacks };
  } catch (error) {
    if (hasCode(error, 'TRANSFER_INTERRUPTED')) await session.keep();
    if (hasCode(error, 'STORE_DIGEST'))
      run.sourceDamage ??= { error, inContent: base === undefined };
    if (!isDamage(error)) throw error;
    return new Failure(error, run.sourceDamage);
  }
}
