/** Backs a device up: finds what changed since the newest snapshot, stores that, commits. */
import { type CodecPool, type Compression, codecPool, worthThreads } from '../../codec/index.ts';
import { type Env, type Extent, type FerryError, hasCode, mapOrdered } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import {
  BATCH_BYTES,
  type Batch,
  CANONICAL_BYTES,
  checkTag,
  LEAF_BYTES,
  PIECE_HOLE,
  PIECE_ZERO,
  type Repository,
  type Snapshot,
  type SnapshotWriter,
  type UnreadableExtent,
  type WriterStats,
} from '../../store/index.ts';
import { checkInterrupted, TransferError } from '../errors.ts';
import type { OnProgress } from '../progress.ts';
import { alignedRuns, changedRuns, type Keep, type Run, withoutHoles } from '../runs.ts';

export type Since = {
  readonly parent: Snapshot;
  /** Ascending; may touch and overlap. */
  readonly changed: AsyncIterable<Extent> | Iterable<Extent>;
};

export type BackupRequest = {
  readonly volume: string;
  /** Tells this source from others of the same volume; see `Snapshot.origin`. */
  readonly origin: string;
  /** How the changes are found, as the snapshot records it. */
  readonly changeSource: string;
  /** Only these ranges may differ from that snapshot; without this everything is compared. */
  readonly since?: Since;
  /** False: nothing is compared with, as if the volume had no snapshot. */
  readonly compare?: boolean;
  /**
   * The SHA-256 of the whole canonical chunk that begins there, where that is known. What the
   * repository has by that name is not read.
   */
  readonly hashAt?: ((offsetBytes: number) => Uint8Array | undefined) | undefined;
  /** Called when everything is read, while it is stored; if it throws, nothing is committed. */
  readonly beforeCommit?: () => Promise<void>;
  readonly tags?: readonly string[];
  /** The volume digest that the content must have: STORE_DIGEST otherwise. */
  readonly expectedDigest?: string | undefined;
  /** How what is new is stored; zstd 3 by default. */
  readonly compression?: Compression | undefined;
  /** Threads that were started early, and stay the caller's; otherwise it starts its own. */
  readonly pool?: CodecPool;
  /** Tests make packs small. */
  readonly packTargetBytes?: number;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
};

export type BackupResult = {
  readonly snapshot: Snapshot;
  readonly parent: Snapshot | undefined;
  /** The newest snapshot, if its manifest could not be read and so was not compared with. */
  readonly damagedParent?: Snapshot;
  readonly stats: WriterStats;
  readonly readBytes: number;
  /** Ranges that the source said are empty, so that they were not read. */
  readonly skippedBytes: number;
  /** Packs of an earlier run that was cut off. */
  readonly adoptedPacks: number;
  /** Why its packs have no parity yet, although they should. */
  readonly parityTrouble?: FerryError | undefined;
};

/** Batches that are being read at the same time. */
const READS_IN_FLIGHT = 4;

/** What a read error costs at most: a sector of today's disks. */
const RESCUE_BYTES = 4096;

/** More than this, and the disk needs a rescue, not a backup. */
const UNREADABLE_EXTENTS_MAX = 1000;

/** Nor may more than this be lost in all, or this share of what was read, whichever is more. */
const UNREADABLE_BYTES_MAX = 16 * 1024 * 1024;
const UNREADABLE_SHARE_MAX = 1 / 100;

/** So many blocks without one that can be read: the disk is gone, it has no bad places. */
const FAILURES_IN_A_ROW_MAX = 1024;

/**
 * Everything is compared with the newest snapshot, or only `since.changed` with `since.parent`. If
 * the manifest to compare with is damaged, the snapshot is made without it: it takes longer, and
 * heals what the source still has. TRANSFER_*, DEVICE_* and what the store says; nothing is
 * committed then.
 */
export async function backup(
  env: Env,
  repository: Repository,
  device: Device,
  request: BackupRequest,
): Promise<BackupResult> {
  const newest = request.compare === false ? undefined : repository.latest(request.volume);
  const parent = request.since?.parent ?? newest;
  try {
    return await backupSince(env, repository, device, request, parent);
  } catch (error) {
    if (parent === undefined || request.since !== undefined || !isDamage(error)) throw error;
    const result = await backupSince(env, repository, device, request, undefined);
    return { ...result, damagedParent: parent };
  }
}

/** How many threads a backup of that device is worth. */
export function backupThreads(env: Env, { sizeBytes }: Device): number {
  return worthThreads(sizeBytes) ? env.workers.parallelism : 0;
}

/** What is read around a change: chunks, or leaves where a digest needs all of their content. */
export function readUnitBytes({ superblock, objects }: Repository): number {
  const isPlain = objects.sealer.chunkSigning === undefined;
  return isPlain && superblock.chunkBytes === CANONICAL_BYTES ? CANONICAL_BYTES : LEAF_BYTES;
}

/** What the manifest of the parent lacks, a backup without it does not need. */
export function isDamage(error: unknown): boolean {
  return hasCode(error, 'STORE_DAMAGED') || hasCode(error, 'STORE_MISSING');
}

async function backupSince(
  env: Env,
  repository: Repository,
  device: Device,
  request: BackupRequest,
  parent: Snapshot | undefined,
): Promise<BackupResult> {
  await using own = request.pool === undefined ? codecPool(env, backupThreads(env, device)) : null;
  const pool = request.pool ?? own!;
  const { sizeBytes } = device;
  for (const tag of request.tags ?? []) checkTag(tag); // Before anything is read.
  await using session = await repository.beginBackup({
    volume: request.volume,
    sizeBytes,
    parent,
    pool,
    isWhole: request.since === undefined,
    ...(request.compression !== undefined && { compression: request.compression }),
    ...(request.packTargetBytes !== undefined && { packTargetBytes: request.packTargetBytes }),
  });
  const { writer } = session;
  const run = new BackupRun(device, writer, repository.superblock.chunkBytes, request);
  try {
    await run.all(pool);
    // Threads are at what waits while others look at the source once more.
    const both = await Promise.allSettled([writer.storeWaiting(), request.beforeCommit?.()]);
    for (const each of both) if (each.status === 'rejected') throw each.reason;
  } catch (error) {
    if (hasCode(error, 'TRANSFER_INTERRUPTED')) await session.keep();
    throw error;
  }
  const snapshot = await session.commit({
    source: request.changeSource,
    origin: request.origin,
    expectedDigest: request.expectedDigest,
    ...(request.tags !== undefined && { tags: request.tags }),
    readBytes: run.readBytes,
    unreadable: run.unreadable.toSorted((a, b) => a.offsetBytes - b.offsetBytes),
  });
  return {
    snapshot,
    parent,
    stats: writer.stats,
    readBytes: run.readBytes,
    skippedBytes: run.skippedBytes,
    adoptedPacks: session.adoptedPacks,
    parityTrouble: session.parityTrouble,
  };
}

/** Whole canonical chunks that the repository has, by their hashes one after the other. */
type Known = Extent & { readonly kind: 'known'; readonly hashes: Uint8Array };
type Piece = (Extent & { readonly batch: Batch }) | Run | Keep | Known;

/** Of one piece: a leaf. */
const KNOWN_BYTES_MAX = LEAF_BYTES;

class BackupRun {
  readonly #device: Device;
  readonly #writer: SnapshotWriter;
  readonly #chunkBytes: number;
  readonly #request: BackupRequest;
  readBytes = 0;
  skippedBytes = 0;
  /** In the order in which reads end, which is not always that of the volume. */
  readonly unreadable: UnreadableExtent[] = [];
  #unreadableBytes = 0;
  #failuresInARow = 0;

  constructor(device: Device, writer: SnapshotWriter, chunkBytes: number, request: BackupRequest) {
    this.#device = device;
    this.#writer = writer;
    this.#chunkBytes = chunkBytes;
    this.#request = request;
  }

  /** Reads ahead, puts in order. */
  async all({ threads }: CodecPool): Promise<void> {
    const { signal, onProgress } = this.#request;
    const totalBytes = this.#device.sizeBytes;
    const ahead = threads === 0 ? 1 : READS_IN_FLIGHT;
    for await (const piece of mapOrdered(this.#pieces(), ahead, (item) => this.#read(item))) {
      checkInterrupted(signal);
      const { offsetBytes, lengthBytes } = piece;
      if ('batch' in piece) this.#writer.putData(piece.batch, offsetBytes, lengthBytes);
      else if (piece.kind === 'keep') this.#writer.keep(offsetBytes, lengthBytes);
      else if (piece.kind === 'known')
        this.#writer.putKnown(piece.hashes, offsetBytes, lengthBytes);
      else {
        this.skippedBytes += lengthBytes;
        const kind = piece.kind === 'hole' ? PIECE_HOLE : PIECE_ZERO;
        this.#writer.putEmpty(kind, offsetBytes, lengthBytes);
      }
      onProgress?.({ doneBytes: offsetBytes + lengthBytes, totalBytes });
    }
    await this.#writer.settled();
  }

  #runs(): AsyncIterable<Run | Keep> {
    const { since } = this.#request;
    const align = Math.max(this.#chunkBytes, CANONICAL_BYTES);
    if (since === undefined) return alignedRuns(this.#device, align);
    // Leaves of other chunks carry a digest that only a whole leaf's content gives.
    const step = this.#writer.hasPlainIds ? align : LEAF_BYTES;
    const { sizeBytes } = this.#device;
    const before = since.parent.sizeBytes;
    // Where sizes differ, the last chunk of the shorter one is not that of the longer one.
    const border = Math.floor(Math.min(sizeBytes, before) / step) * step;
    const stableBytes = sizeBytes === before ? sizeBytes : border;
    const runs = changedRuns(since.changed, { sizeBytes, stableBytes, alignBytes: step });
    return withoutHoles(runs, this.#device, align);
  }

  /** Data in batches, all else in runs. */
  async *#pieces(): AsyncGenerator<Run | Keep | Known> {
    for await (const run of this.#runs()) {
      if (run.kind !== 'data') {
        yield run;
        continue;
      }
      const end = run.offsetBytes + run.lengthBytes;
      for (let at = run.offsetBytes; at < end; ) {
        const piece = (await this.#known(at, end)) ?? this.#unknown(at, end);
        yield piece;
        at += piece.lengthBytes;
      }
    }
  }

  /** Undefined if the first chunk is not known, or not in the repository. */
  async #known(from: number, end: number): Promise<Known | undefined> {
    const hashes: Uint8Array[] = [];
    const stop = Math.min(end, from + KNOWN_BYTES_MAX);
    for (let at = from; at + CANONICAL_BYTES <= stop; at += CANONICAL_BYTES) {
      const hash = this.#hashAt(at);
      if (hash === undefined || !(await this.#writer.holds(hash))) break;
      hashes.push(hash);
    }
    if (hashes.length === 0) return undefined;
    const lengthBytes = hashes.length * CANONICAL_BYTES;
    return { kind: 'known', hashes: Buffer.concat(hashes), offsetBytes: from, lengthBytes };
  }

  #unknown(from: number, end: number): Run {
    const stop = Math.min(end, from + BATCH_BYTES);
    let at = Math.min(stop, from + CANONICAL_BYTES);
    while (at < stop && this.#hashAt(at) === undefined) at = Math.min(stop, at + CANONICAL_BYTES);
    return { kind: 'data', offsetBytes: from, lengthBytes: at - from };
  }

  #hashAt(offsetBytes: number): Uint8Array | undefined {
    return this.#chunkBytes === CANONICAL_BYTES ? this.#request.hashAt?.(offsetBytes) : undefined;
  }

  async #read(piece: Run | Keep | Known): Promise<Piece> {
    if (piece.kind !== 'data') return piece;
    const { offsetBytes, lengthBytes } = piece;
    const batch = await this.#writer.batch();
    const target = batch.bytes.subarray(0, lengthBytes);
    try {
      await this.#device.read(target, offsetBytes);
      this.#failuresInARow = 0;
    } catch (error) {
      if (!hasCode(error, 'DEVICE_IO')) throw error;
      await this.#rescue(target, offsetBytes);
    }
    this.readBytes += lengthBytes;
    return { batch, offsetBytes, lengthBytes };
  }

  /** Reads block by block around a bad place; what stays unreadable is zeroes, and is told. */
  async #rescue(target: Uint8Array, offsetBytes: number): Promise<void> {
    const step = Math.max(RESCUE_BYTES, this.#device.blockSizes.minimumBytes);
    for (let at = 0; at < target.byteLength; at += step) {
      const part = target.subarray(at, Math.min(target.byteLength, at + step));
      try {
        await this.#device.read(part, offsetBytes + at);
        this.#failuresInARow = 0;
      } catch (error) {
        if (!hasCode(error, 'DEVICE_IO')) throw error;
        part.fill(0);
        this.#note(offsetBytes + at, part.byteLength, error);
      }
    }
  }

  #note(offsetBytes: number, lengthBytes: number, cause: unknown): void {
    this.#unreadableBytes += lengthBytes;
    this.#failuresInARow++;
    const last = this.unreadable.at(-1);
    if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes) {
      const joined = { ...last, lengthBytes: last.lengthBytes + lengthBytes };
      this.unreadable[this.unreadable.length - 1] = joined;
    } else this.unreadable.push({ offsetBytes, lengthBytes });
    this.#checkLoss(cause);
  }

  /** A disk that dies must not become a snapshot of zeroes, which the next ones build upon. */
  #checkLoss(cause: unknown): void {
    const lost = this.#unreadableBytes;
    if (this.#failuresInARow >= FAILURES_IN_A_ROW_MAX) {
      const what = `${this.#failuresInARow} reads in a row failed`;
      throw this.#unusable(what, 'Look whether it is still connected; if it fails, ', cause);
    }
    if (lost > Math.max(UNREADABLE_BYTES_MAX, this.readBytes * UNREADABLE_SHARE_MAX)) {
      throw this.#unusable(`${lost} of its bytes cannot be read`, '', cause);
    }
    if (this.unreadable.length > UNREADABLE_EXTENTS_MAX) {
      const what = `more than ${UNREADABLE_EXTENTS_MAX} places cannot be read`;
      throw this.#unusable(what, '', cause);
    }
  }

  #unusable(what: string, first: string, cause: unknown): TransferError {
    const rescue = 'rescue the disk first (ddrescue), then back the copy up.';
    const hint = first === '' ? `R${rescue.slice(1)}` : first + rescue;
    const message = `${this.#device.name}: ${what}; nothing was committed`;
    return new TransferError('TRANSFER_UNREADABLE', message, { hint, cause });
  }
}
