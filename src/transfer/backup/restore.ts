/** Restores a snapshot to a device: chunks are decoded in jobs, verified, and written in place. */
import { type CodecPool, codecPool } from '../../codec/index.ts';
import type { Env } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import {
  type ChunkIndex,
  FrameCache,
  leaves,
  type Repository,
  Slots,
  type Snapshot,
  treeOf,
} from '../../store/index.ts';
import { decodeChunks, type WantedChunk } from '../decode-chunks.ts';
import { checkInterrupted, TransferError } from '../errors.ts';
import type { OnProgress } from '../progress.ts';
import { chunksOf, findChunk, type NamedChunk } from './prepare-restore.ts';
import { verifyRestored } from './verify.ts';

export type RestoreOptions = {
  /** The target reads as zero everywhere: holes need not be written. */
  readonly blank: boolean;
  /** Threads that were started early, and stay the caller's; otherwise it starts its own. */
  readonly pool?: CodecPool;
  /** Afterwards everything is read again and compared: TRANSFER_VERIFY. */
  readonly verify?: { readonly onProgress?: OnProgress } | undefined;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
};

export type RestoreResult = { readonly writtenBytes: number; readonly zeroBytes: number };

/** A flush that has this much to do begins beside the decoding. */
const FLUSH_AHEAD_BYTES = 64 * 1024 * 1024;

/** Plain bytes of one job. */
const JOB_BYTES = 2 * 1024 * 1024;

/** From here on a job ends where a frame does, so that no frame is decoded twice. */
const JOB_ENOUGH_BYTES = 1536 * 1024;

/**
 * So many chunks at a time are sorted by where they are stored: frames are then decoded once, in
 * whichever order the volume has them. 4 GiB of 64 KiB each, in some 8 MiB of memory.
 */
const WINDOW_CHUNKS_MAX = 1 << 16;

/** Frames of one job: a MiB of data that does not hang together is in two. */
const READS_PER_JOB = 2;

/** Without its table: a window may touch more packs than there is room for tables. */
type Wanted = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly pack: number;
  readonly packId: string;
  readonly ordinal: number;
  readonly frame: number;
};

/**
 * Writes all of the snapshot, holes as zeroes, and flushes; what lies behind its end stays. Every
 * chunk is verified before it is written. TRANSFER_TARGET_SIZE before anything is, then STORE_*,
 * DEVICE_* and TRANSFER_INTERRUPTED: the target is then in between.
 */
export async function restore(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
  device: Device,
  options: RestoreOptions,
): Promise<RestoreResult> {
  checkTarget(device, snapshot);
  repository.checkReadable(`the content of ${snapshot.id.slice(0, 8)}`);
  await using own = options.pool === undefined ? codecPool(env, env.workers.parallelism) : null;
  const pool = options.pool ?? own!;
  const result = await written(repository, snapshot, device, options, pool);
  const { verify, signal } = options;
  // On the same threads: others would need as much memory again.
  if (verify !== undefined) {
    await verifyRestored(snapshot, device, pool, { ...verify, ...(signal && { signal }) });
  }
  return result;
}

async function written(
  repository: Repository,
  snapshot: Snapshot,
  device: Device,
  options: RestoreOptions,
  pool: CodecPool,
): Promise<RestoreResult> {
  await using _pin = await repository.pin([snapshot]);
  const run = new RestoreRun(repository, await repository.index(), pool, device, snapshot, options);
  await run.all();
  await run.flushed();
  return { writtenBytes: run.writtenBytes, zeroBytes: run.zeroBytes };
}

function checkTarget(device: Device, snapshot: Snapshot): void {
  if (device.sizeBytes >= snapshot.sizeBytes) return;
  throw new TransferError(
    'TRANSFER_TARGET_SIZE',
    `${device.name} has ${device.sizeBytes} bytes, the snapshot ${snapshot.sizeBytes}`,
    { hint: 'Restore to a file or to a device that is large enough.' },
  );
}

class RestoreRun {
  readonly #repository: Repository;
  readonly #index: ChunkIndex;
  readonly #pool: CodecPool;
  readonly #device: Device;
  readonly #snapshot: Snapshot;
  readonly #options: RestoreOptions;
  readonly #frames: FrameCache;
  readonly #targets: Slots<SharedArrayBuffer>;
  readonly #running = new Set<Promise<void>>();
  #failure: unknown;
  #wanted: Wanted[] = [];
  /** Everything before is written or being written. */
  #doneBytes = 0;
  writtenBytes = 0;
  #flushing: Promise<void> | undefined;
  /** What had been written when the last flush began. */
  #flushedBytes = 0;
  zeroBytes = 0;

  constructor(
    repository: Repository,
    index: ChunkIndex,
    pool: CodecPool,
    device: Device,
    snapshot: Snapshot,
    options: RestoreOptions,
  ) {
    this.#repository = repository;
    this.#index = index;
    this.#pool = pool;
    this.#device = device;
    this.#snapshot = snapshot;
    this.#options = options;
    // A job reads a few frames at once, and most of the time it waits for a store far away.
    const readers = Math.ceil((repository.objects.readsInFlight ?? 0) / READS_PER_JOB);
    const length = Math.max(pool.threads + 3, readers);
    const targetBytes = Math.min(JOB_BYTES, snapshot.sizeBytes);
    this.#targets = new Slots(Array.from({ length }, () => new SharedArrayBuffer(targetBytes)));
    this.#frames = new FrameCache(repository.objects);
  }

  async all(): Promise<void> {
    const tree = treeOf(this.#snapshot);
    try {
      for await (const { index, leaf } of leaves(this.#repository.reader, tree)) {
        for (const chunk of chunksOf(leaf, index)) await this.#want(chunk);
        this.#check();
      }
      await this.#startWindow();
      await this.#zeroUpTo(this.#snapshot.sizeBytes);
    } finally {
      await Promise.all(this.#running);
    }
    this.#check();
  }

  /** Lets the disk begin while chunks are still being decoded. */
  #flushAhead(): void {
    const unflushedBytes = this.writtenBytes - this.#flushedBytes;
    if (this.#flushing !== undefined || unflushedBytes < FLUSH_AHEAD_BYTES) return;
    this.#flushedBytes = this.writtenBytes;
    this.#flushing = this.#flush().finally(() => {
      this.#flushing = undefined;
    });
    this.#flushing.catch((error) => {
      this.#failure ??= error;
    });
  }

  async #flush(): Promise<void> {
    await this.#device.flush();
  }

  /** Everything written survives a power cut. */
  async flushed(): Promise<void> {
    await this.#flushing;
    await this.#flush();
  }

  #report(): void {
    const doneBytes = this.writtenBytes + this.zeroBytes;
    this.#options.onProgress?.({ doneBytes, totalBytes: this.#snapshot.sizeBytes });
  }

  #check(): void {
    checkInterrupted(this.#options.signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #want(chunk: NamedChunk): Promise<void> {
    const found = findChunk(this.#index, chunk);
    const at = found instanceof Promise ? await found : found;
    const { pack, packId, ordinal, table } = at;
    const { offsetBytes, lengthBytes } = chunk;
    const frame = table.frameOf(ordinal);
    await this.#zeroUpTo(offsetBytes);
    this.#doneBytes = offsetBytes + lengthBytes;
    this.#wanted.push({ offsetBytes, lengthBytes, pack, packId, ordinal, frame });
    if (this.#wanted.length >= WINDOW_CHUNKS_MAX) await this.#startWindow();
  }

  /** Hands out what was collected in jobs, by where it is stored. */
  async #startWindow(): Promise<void> {
    const window = this.#wanted;
    this.#wanted = [];
    window.sort(
      (a, b) => a.pack - b.pack || a.ordinal - b.ordinal || a.offsetBytes - b.offsetBytes,
    );
    let job: Wanted[] = [];
    let jobBytes = 0;
    for (const wanted of window) {
      const last = job.at(-1);
      const enough = jobBytes >= JOB_ENOUGH_BYTES && last !== undefined && !sameFrame(last, wanted);
      if (enough || jobBytes + wanted.lengthBytes > JOB_BYTES) {
        await this.#start(job);
        job = [];
        jobBytes = 0;
      }
      job.push(wanted);
      jobBytes += wanted.lengthBytes;
    }
    await this.#start(job);
  }

  /** Holes must read as zeroes, whatever was there. */
  async #zeroUpTo(offsetBytes: number): Promise<void> {
    const lengthBytes = offsetBytes - this.#doneBytes;
    if (lengthBytes <= 0) return;
    this.zeroBytes += lengthBytes;
    if (!this.#options.blank) await this.#device.zero(lengthBytes, this.#doneBytes, 0);
    this.#doneBytes = offsetBytes;
    this.#report();
  }

  /** Hands one job's chunks to the pool. */
  async #start(wanted: readonly Wanted[]): Promise<void> {
    this.#check();
    if (wanted.length === 0) return;
    const target = await this.#targets.take();
    const job = this.#run(wanted, target)
      .catch((error) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#targets.give(target);
        this.#running.delete(job);
      });
    this.#running.add(job);
    this.#check();
  }

  async #run(wanted: readonly Wanted[], target: SharedArrayBuffer): Promise<void> {
    // In the order of the volume, so that neighbours go in one write.
    const places = placesOf(wanted);
    const { lengthBytes } = places;
    const chunks = await this.#locate(wanted, places.at);
    const { objects } = this.#repository;
    const context = { objects, index: this.#index, pool: this.#pool, frames: this.#frames };
    await decodeChunks(context, chunks, { memory: target, at: 0, lengthBytes });
    await this.#write(places.ordered, new Uint8Array(target, 0, lengthBytes));
    this.writtenBytes += lengthBytes;
    this.#report();
    this.#flushAhead();
  }

  async #locate(wanted: readonly Wanted[], at: readonly number[]): Promise<WantedChunk[]> {
    const chunks: WantedChunk[] = [];
    for (const [position, { pack, packId, ordinal, lengthBytes }] of wanted.entries()) {
      const location = { pack, packId, ordinal, table: await this.#index.table(pack) };
      chunks.push({ location, at: at[position]!, lengthBytes });
    }
    return chunks;
  }

  /** Neighbours go in one write. */
  async #write(wanted: readonly Wanted[], bytes: Uint8Array): Promise<void> {
    let from = 0;
    let length = 0;
    let offset = wanted[0]!.offsetBytes;
    for (const { offsetBytes, lengthBytes } of wanted) {
      if (offsetBytes !== offset + length) {
        await this.#device.write(bytes.subarray(from, from + length), offset, 0);
        from += length;
        length = 0;
        offset = offsetBytes;
      }
      length += lengthBytes;
    }
    await this.#device.write(bytes.subarray(from, from + length), offset, 0);
  }
}

function sameFrame(a: Wanted, b: Wanted): boolean {
  return a.pack === b.pack && a.frame === b.frame;
}

/** Where each chunk lies in the job's memory if they lie there as in the volume. */
function placesOf(wanted: readonly Wanted[]) {
  const order = wanted.map((_, position) => position);
  order.sort((a, b) => wanted[a]!.offsetBytes - wanted[b]!.offsetBytes);
  const at: number[] = [];
  let lengthBytes = 0;
  for (const position of order) {
    at[position] = lengthBytes;
    lengthBytes += wanted[position]!.lengthBytes;
  }
  return { at, lengthBytes, ordered: order.map((position) => wanted[position]!) };
}
