/** Restores a snapshot to a device: chunks are decoded in jobs, verified, and written in place. */
import { CodecError, type CodecPool, codecPool } from '../../codec/index.ts';
import type { Env } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import {
  Arena,
  type ChunkIndex,
  ChunkReader,
  FramePlan,
  LEAF_BYTES,
  type Location,
  leaves,
  type Repository,
  Slots,
  type Snapshot,
  treeOf,
} from '../../store/index.ts';
import { checkInterrupted, TransferError } from '../errors.ts';
import type { OnProgress } from '../progress.ts';
import { chunksOf, findChunk, type NamedChunk } from './prepare-restore.ts';

export type RestoreOptions = {
  /** The target reads as zero everywhere: holes need not be written. */
  readonly blank: boolean;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
};

export type RestoreResult = { readonly writtenBytes: number; readonly zeroBytes: number };

/** Plain bytes of one job. */
const JOB_BYTES = 2 * 1024 * 1024;

/** From here on a job ends where a frame does, so that no frame is decoded twice. */
const JOB_ENOUGH_BYTES = 1.5 * 1024 * 1024;

const ARENA_KEEP_BYTES = 2 * 1024 * 1024;

type JobMemory = { readonly target: SharedArrayBuffer; readonly arena: Arena };
type Wanted = { readonly offsetBytes: number; readonly lengthBytes: number; readonly at: Location };

export async function restore(
  env: Env,
  repository: Repository,
  snapshot: Snapshot,
  device: Device,
  options: RestoreOptions,
): Promise<RestoreResult> {
  checkTarget(device, snapshot);
  await using pool = codecPool(env, env.workers.parallelism);
  const run = new RestoreRun(repository, await repository.index(), pool, device, snapshot, options);
  await run.all();
  await device.flush();
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
  readonly #memories: Slots<JobMemory>;
  readonly #running = new Set<Promise<void>>();
  #failure: unknown;
  #wanted: Wanted[] = [];
  #wantedBytes = 0;
  /** Everything before is written or being written. */
  #doneBytes = 0;
  writtenBytes = 0;
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
    const memories = Array.from({ length: pool.threads + 2 }, () => ({
      target: new SharedArrayBuffer(JOB_BYTES),
      arena: new Arena(),
    }));
    this.#memories = new Slots(memories);
  }

  async all(): Promise<void> {
    const tree = treeOf(this.#snapshot);
    try {
      for await (const { index, leaf } of leaves(this.#repository.reader, tree)) {
        for (const chunk of chunksOf(leaf, index)) await this.#want(chunk);
        this.#report(index * LEAF_BYTES);
      }
      await this.#start();
      await this.#zeroUpTo(this.#snapshot.sizeBytes);
    } finally {
      await Promise.all(this.#running);
    }
    this.#check();
    this.#report(this.#snapshot.sizeBytes);
  }

  #report(doneBytes: number): void {
    this.#options.onProgress?.({ doneBytes, totalBytes: this.#snapshot.sizeBytes });
  }

  #check(): void {
    checkInterrupted(this.#options.signal);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #want(chunk: NamedChunk): Promise<void> {
    const found = findChunk(this.#index, chunk);
    const at = found instanceof Promise ? await found : found;
    const last = this.#wanted.at(-1);
    if (last !== undefined) {
      const full = this.#wantedBytes + chunk.lengthBytes > JOB_BYTES;
      if (full || (this.#wantedBytes >= JOB_ENOUGH_BYTES && !sameFrame(last.at, at))) {
        await this.#start();
      }
    }
    await this.#zeroUpTo(chunk.offsetBytes);
    this.#doneBytes = chunk.offsetBytes + chunk.lengthBytes;
    this.#wanted.push({ offsetBytes: chunk.offsetBytes, lengthBytes: chunk.lengthBytes, at });
    this.#wantedBytes += chunk.lengthBytes;
  }

  /** Holes must read as zeroes, whatever was there. */
  async #zeroUpTo(offsetBytes: number): Promise<void> {
    const lengthBytes = offsetBytes - this.#doneBytes;
    if (lengthBytes <= 0) return;
    this.zeroBytes += lengthBytes;
    if (!this.#options.blank) await this.#device.zero(lengthBytes, this.#doneBytes, 0);
    this.#doneBytes = offsetBytes;
  }

  /** Hands the collected chunks to the pool. */
  async #start(): Promise<void> {
    this.#check();
    const wanted = this.#wanted;
    if (wanted.length === 0) return;
    this.#wanted = [];
    this.#wantedBytes = 0;
    const memory = await this.#memories.take();
    const job = this.#run(wanted, memory)
      .catch((error) => {
        this.#failure ??= error;
      })
      .finally(() => {
        memory.arena.reset(ARENA_KEEP_BYTES);
        this.#memories.give(memory);
        this.#running.delete(job);
      });
    this.#running.add(job);
    this.#check();
  }

  async #run(wanted: readonly Wanted[], { target, arena }: JobMemory): Promise<void> {
    const plan = new FramePlan(this.#repository.objects, this.#index, arena);
    const steps = await Promise.all(wanted.map(({ at }) => plan.add(at)));
    const outputs: { step: number; at: number; lengthBytes: number }[] = [];
    let used = 0;
    for (const [position, { lengthBytes }] of wanted.entries()) {
      outputs.push({ step: steps[position]!, at: used, lengthBytes });
      used += lengthBytes;
    }
    const range = { memory: target, at: 0, lengthBytes: used };
    const job = { kind: 'decode', plan: plan.finish(), outputs, target: range } as const;
    try {
      await this.#pool.run<'decode'>(job);
    } catch (error) {
      if (error instanceof CodecError) await this.#blame(wanted);
      throw error;
    }
    await this.#write(wanted, new Uint8Array(target, 0, used));
    this.writtenBytes += used;
  }

  /** A job that fails does not say which pack is damaged; reading chunk by chunk does. */
  async #blame(wanted: readonly Wanted[]): Promise<void> {
    const chunks = new ChunkReader(this.#repository.objects, this.#index);
    for (const { at } of wanted) await chunks.bytes(at);
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

function sameFrame(a: Location, b: Location): boolean {
  return a.pack === b.pack && a.table.frameOf(a.ordinal) === b.table.frameOf(b.ordinal);
}
