/** Copy-on-write: changes go to a layer, the base below stays as it is. */

import { Bitmap, type Extent, hasCode } from '../core/index.ts';
import { allOf } from './answers.ts';
import {
  type Answer,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  FAST_ZERO,
  FUA,
} from './device.ts';
import { ExtentList } from './extent-list.ts';
import { COPY_BLOCK_BYTES, RUNS_IN_FLIGHT_MAX } from './limits.ts';

export interface CopyOnWrite extends Device {
  /** Bytes of the blocks that lie in the layer. */
  changedBytes(): number;
  /** The blocks from there on that lie in the layer, merged, ascending, clipped to the size. */
  changedExtents(fromBytes?: number): Generator<Extent>;
}

/** Remembers durably which blocks lie in the layer; without it the process takes them along. */
export type ChangedBlocks = {
  readonly bitmap: Bitmap;
  /** Told after the content of new blocks has reached the layer. */
  marked(block: number, count: number): void;
  /** Makes all durable that was written and marked before: the content first, then the marks. */
  flush(): Promise<void>;
};

export type CopyOnWriteOptions = {
  readonly base: Device;
  /** Writable, at least as large as the base. Its content matters only where blocks are marked. */
  readonly layer: Device;
  readonly changed?: ChangedBlocks;
};

/**
 * Borrows `base` and `layer`. The unit is a block of 4 KiB: the first write to a part of one copies
 * the rest of it up from the base. What changes the set of marked blocks holds a claim on its range
 * until it is done, and whoever touches an unmarked block of that range waits: a block copied up
 * from the base must not overwrite what another has just written.
 */
export function copyOnWrite({ base, layer, changed }: CopyOnWriteOptions): CopyOnWrite {
  if (layer.sizeBytes < base.sizeBytes || layer.readOnly) {
    throw new DeviceError('DEVICE_SIZE', `${layer.name} cannot hold the changes of ${base.name}`, {
      hint: `The layer must be writable and have ${base.sizeBytes} bytes at least.`,
    });
  }
  return new CopyOnWriteDevice(base, layer, changed);
}

/** The size of the bitmap for a base. */
export function blockCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / COPY_BLOCK_BYTES);
}

/** Blocks [first, end) that are about to be marked; `done` resolves whether it worked or not. */
type Claim = { readonly first: number; readonly end: number; readonly done: Promise<void> };

class CopyOnWriteDevice implements CopyOnWrite {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly = false;
  readonly durable: boolean;
  readonly #base: Device;
  readonly #layer: Device;
  readonly #changed: ChangedBlocks | undefined;
  readonly #bitmap: Bitmap;
  readonly #claims = new Set<Claim>();

  constructor(base: Device, layer: Device, changed: ChangedBlocks | undefined) {
    this.name = `copy-on-write(${base.name})`;
    this.sizeBytes = base.sizeBytes;
    this.blockSizes = commonBlockSizes(base.blockSizes, layer.blockSizes);
    this.durable = changed !== undefined && layer.durable;
    this.#base = base;
    this.#layer = layer;
    this.#changed = changed;
    this.#bitmap = changed?.bitmap ?? new Bitmap(blockCount(base.sizeBytes));
  }

  get hints(): DeviceHints {
    return this.#layer.hints;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    const end = offsetBytes + target.byteLength;
    if (this.#runEnd(offsetBytes, end) < end) return this.#readRuns(target, offsetBytes);
    return end === offsetBytes ? undefined : this.#at(offsetBytes).read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
    return this.#change(source.byteLength, offsetBytes, flags, () =>
      this.#layer.write(source, offsetBytes, flags & ~FUA),
    );
  }

  flush(): Answer {
    return this.#changed?.flush();
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
    return this.#change(lengthBytes, offsetBytes, flags, () =>
      this.#layer.zero(lengthBytes, offsetBytes, flags & ~FUA),
    );
  }

  /** Whole blocks become zero, so that what a file system frees is seen as such; the rest stays. */
  async trim(lengthBytes: number, offsetBytes: number, flags: number): Promise<void> {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
    const end = offsetBytes + lengthBytes;
    const from = Math.ceil(offsetBytes / COPY_BLOCK_BYTES) * COPY_BLOCK_BYTES;
    const to = end === this.sizeBytes ? end : end - (end % COPY_BLOCK_BYTES);
    if (from < to) {
      const zero = (): Answer => this.#layer.zero(to - from, from, FAST_ZERO);
      try {
        await this.#change(to - from, from, 0, zero);
      } catch (error) {
        // A layer that would have to write zeroes: keeping what was there is allowed and cheaper.
        if (!hasCode(error, 'DEVICE_UNSUPPORTED')) throw error;
      }
    }
    if ((flags & FUA) !== 0) await this.flush();
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    const end = offsetBytes + lengthBytes;
    // Merged extents do not fill the list: the number of questions is bounded too.
    for (let asked = 0; asked < limit && !list.full; asked++) {
      const at = list.atBytes;
      const length = this.#runEnd(at, end) - at;
      for (const extent of await this.#at(at).extents(length, at, limit)) {
        if (!list.full) list.add(extent.offsetBytes + extent.lengthBytes, extent.kind);
      }
    }
    return list.extents;
  }

  changedBytes(): number {
    const blocks = this.#bitmap.count();
    const tail = this.sizeBytes % COPY_BLOCK_BYTES;
    const tailChanged = tail !== 0 && this.#bitmap.test(this.#bitmap.size - 1);
    return blocks * COPY_BLOCK_BYTES - (tailChanged ? COPY_BLOCK_BYTES - tail : 0);
  }

  *changedExtents(fromBytes = 0): Generator<Extent> {
    const first = Math.min(this.#bitmap.size, Math.ceil(fromBytes / COPY_BLOCK_BYTES));
    for (let block = this.#bitmap.nextSet(first); block < this.#bitmap.size; ) {
      const end = this.#bitmap.nextClear(block);
      const offsetBytes = block * COPY_BLOCK_BYTES;
      const endBytes = Math.min(end * COPY_BLOCK_BYTES, this.sizeBytes);
      yield { offsetBytes, lengthBytes: endBytes - offsetBytes };
      block = this.#bitmap.nextSet(end);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Base and layer belong to whoever opened them.
  }

  /** Who holds the byte at `offsetBytes`. */
  #at(offsetBytes: number): Device {
    return this.#bitmap.test(Math.floor(offsetBytes / COPY_BLOCK_BYTES)) ? this.#layer : this.#base;
  }

  /** Where the bytes from `offsetBytes` on stop being held by one device, at most `endBytes`. */
  #runEnd(offsetBytes: number, endBytes: number): number {
    if (offsetBytes === endBytes) return endBytes;
    const block = Math.floor(offsetBytes / COPY_BLOCK_BYTES);
    const endBlock = blockCount(endBytes);
    const next = this.#bitmap.test(block)
      ? this.#bitmap.nextClear(block, endBlock)
      : this.#bitmap.nextSet(block, endBlock);
    return Math.min(next * COPY_BLOCK_BYTES, endBytes);
  }

  async #readRuns(target: Uint8Array, offsetBytes: number): Promise<void> {
    const end = offsetBytes + target.byteLength;
    for (let at = offsetBytes; at < end; ) {
      const calls: (() => Answer)[] = [];
      while (at < end && calls.length < RUNS_IN_FLIGHT_MAX) {
        const start = at;
        const device = this.#at(start);
        at = this.#runEnd(start, end);
        const part = target.subarray(start - offsetBytes, at - offsetBytes);
        calls.push(() => device.read(part, start));
      }
      await allOf(calls);
    }
  }

  /** Runs `act`, which changes the range in the layer, and marks its blocks. */
  #change(lengthBytes: number, offsetBytes: number, flags: number, act: () => Answer): Answer {
    if (lengthBytes === 0) return undefined;
    const first = Math.floor(offsetBytes / COPY_BLOCK_BYTES);
    const end = blockCount(offsetBytes + lengthBytes);
    const known = this.#bitmap.testRange(first, end - first);
    const answer = known ? act() : this.#claim(first, end, lengthBytes, offsetBytes, act);
    if ((flags & FUA) === 0 || this.#changed === undefined) return answer;
    return this.#then(answer);
  }

  async #then(answer: Answer): Promise<void> {
    await answer;
    await this.flush();
  }

  async #claim(
    first: number,
    end: number,
    lengthBytes: number,
    offsetBytes: number,
    act: () => Answer,
  ): Promise<void> {
    for (;;) {
      const other = this.#claimOn(first, end);
      if (other === undefined) break;
      await other.done;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const claim: Claim = { first, end, done: promise };
    this.#claims.add(claim);
    try {
      await this.#copyUp(first, end, lengthBytes, offsetBytes);
      await act();
      this.#bitmap.setRange(first, end - first);
      this.#changed?.marked(first, end - first);
    } finally {
      this.#claims.delete(claim);
      resolve();
    }
  }

  #claimOn(first: number, end: number): Claim | undefined {
    for (const claim of this.#claims) if (claim.first < end && first < claim.end) return claim;
    return undefined;
  }

  /** Copies the first and the last block to the layer where the range covers a part of them. */
  #copyUp(first: number, end: number, lengthBytes: number, offsetBytes: number): Answer {
    const last = end - 1;
    const endBytes = offsetBytes + lengthBytes;
    const cutsFirst = offsetBytes > first * COPY_BLOCK_BYTES;
    const cutsLast = endBytes < Math.min(end * COPY_BLOCK_BYTES, this.sizeBytes);
    const blocks: number[] = [];
    if (cutsFirst || (cutsLast && first === last)) blocks.push(first);
    if (cutsLast && first !== last) blocks.push(last);
    const unmarked = blocks.filter((block) => !this.#bitmap.test(block));
    return allOf(unmarked.map((block) => () => this.#copyBlock(block)));
  }

  async #copyBlock(block: number): Promise<void> {
    const offsetBytes = block * COPY_BLOCK_BYTES;
    const bytes = new Uint8Array(Math.min(COPY_BLOCK_BYTES, this.sizeBytes - offsetBytes));
    await this.#base.read(bytes, offsetBytes);
    await this.#layer.write(bytes, offsetBytes, 0);
  }
}

function commonBlockSizes(base: BlockSizes, layer: BlockSizes): BlockSizes {
  const minimumBytes = Math.max(base.minimumBytes, layer.minimumBytes);
  if (minimumBytes > COPY_BLOCK_BYTES) {
    throw new DeviceError('DEVICE_ALIGNMENT', `blocks of ${minimumBytes} bytes are too large`, {
      hint: `Copy-on-write needs devices that take requests of ${COPY_BLOCK_BYTES} bytes.`,
    });
  }
  return {
    minimumBytes,
    preferredBytes: Math.max(base.preferredBytes, layer.preferredBytes, COPY_BLOCK_BYTES),
    maximumBytes: Math.min(base.maximumBytes, layer.maximumBytes),
  };
}
