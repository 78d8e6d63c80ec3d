/** One moment of a device that goes on being written: what is overwritten is kept aside first. */
import type { Extent, Files } from '../../core/index.ts';
import {
  type Answer,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
} from '../../device/index.ts';
import { TrackError } from '../errors.ts';
import { DirtyMap, PageBudget } from './dirty-map.ts';
import { type Flight, overlapping } from './epochs.ts';
import { KeptBlocks } from './kept-blocks.ts';
import { BLOCK_BYTES, KEEP_BYTES_PER_READ } from './limits.ts';
import type { Shape } from './shape.ts';

export type MomentOptions = {
  readonly base: Device;
  readonly shape: Shape;
  /** Under way when the moment was taken: they belong to it, and must land first. */
  readonly early: Iterable<Flight>;
  readonly files: Files;
  readonly path: string;
  readonly memoryBytesMax: number;
  readonly roomBytesMax: number;
  /** It is not of use any more. */
  readonly onEnd: (moment: Moment) => void;
};

/**
 * A read-only device. Each block can be read once with certainty: what was read, or not asked for
 * (`only`), is not kept when it is overwritten, and fails with TRACK_ROOM after that. The owner of
 * the base asks `keep` before each change. A moment that ran out of room fails all reads.
 */
export class Moment implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly = true;
  readonly durable = true;
  readonly #options: MomentOptions;
  readonly #base: Device;
  readonly #early: Set<Flight>;
  readonly #kept: KeptBlocks;
  /** What is kept, for finding it in ranges. */
  readonly #isKept: DirtyMap;
  readonly #isRead: DirtyMap;
  readonly #isOver: DirtyMap;
  /** Undefined: all of it. */
  #isWanted: DirtyMap | undefined;
  readonly #keeping = new Set<Flight>();
  #scratch: Uint8Array | undefined;
  #failure: Error | undefined;
  #isEnded = false;

  constructor(options: MomentOptions) {
    const { base, shape, early } = options;
    this.name = `moment(${base.name})`;
    this.sizeBytes = base.sizeBytes;
    this.blockSizes = base.blockSizes;
    this.#options = options;
    this.#base = base;
    this.#early = new Set(early);
    for (const flight of this.#early) {
      const gone = () => this.#early.delete(flight);
      flight.landed.then(gone, gone);
    }
    this.#kept = new KeptBlocks(options);
    this.#isKept = unboundedMap(shape);
    this.#isRead = unboundedMap(shape);
    this.#isOver = unboundedMap(shape);
  }

  get hints(): DeviceHints {
    return this.#base.hints;
  }

  /** Why reads fail, if they do. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  get keptBytes(): number {
    return this.#kept.keptBytes;
  }

  /** Only these will be read for certain; the others may be asked for, and be gone. */
  limitTo(ranges: Iterable<Extent>): void {
    const { shape } = this.#options;
    const wanted = unboundedMap(shape);
    for (const { offsetBytes, lengthBytes } of ranges) {
      if (lengthBytes > 0) wanted.mark(...blocksOf(lengthBytes, offsetBytes));
    }
    this.#isWanted = wanted;
  }

  /**
   * Before blocks [first, last] are changed: undefined if that may be done at once, else what to
   * wait for, and then to ask again. Never fails: the moment does, not the write.
   */
  keep(first: number, last: number): Promise<void> | undefined {
    if (this.#failure !== undefined || this.#isEnded) return undefined;
    const busy = overlapping(this.#early, first, last) ?? overlapping(this.#keeping, first, last);
    const needed = this.#firstNeeded(first, last);
    if (needed > last) {
      this.#isOver.mark(first, last);
      return undefined;
    }
    if (busy !== undefined) return busy.landed.then(ignore, ignore);
    const kept = this.#keepRange(needed, last);
    if (kept === undefined) {
      this.#isOver.mark(first, last);
      return undefined;
    }
    const keeping = { first: needed, last, landed: kept };
    this.#keeping.add(keeping);
    return kept.finally(() => this.#keeping.delete(keeping));
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    if (target.byteLength === 0) return undefined;
    return this.#read(target, offsetBytes);
  }

  /** What to wait for before somebody else reads the base there, and then calls `amend`. */
  ready(lengthBytes: number, offsetBytes: number): Answer {
    this.#checkFailure();
    const [first, last] = blocksOf(lengthBytes, offsetBytes);
    if (overlapping(this.#early, first, last) === undefined) return undefined;
    return this.#land(first, last);
  }

  /** Makes what was read of the base since `ready` what `read` would have given. */
  amend(target: Uint8Array, offsetBytes: number): Answer {
    const [first, last] = blocksOf(target.byteLength, offsetBytes);
    const answer = this.#takeKept(target, offsetBytes, first, last);
    if (answer !== undefined) {
      return answer.then(() => this.#wasRead(target.byteLength, offsetBytes));
    }
    this.#wasRead(target.byteLength, offsetBytes);
    return undefined;
  }

  write(source: Uint8Array, offsetBytes: number): Answer {
    return this.#refuse(source.byteLength, offsetBytes);
  }

  flush(): Answer {
    return undefined;
  }

  zero(lengthBytes: number, offsetBytes: number): Answer {
    return this.#refuse(lengthBytes, offsetBytes);
  }

  trim(lengthBytes: number, offsetBytes: number): Answer {
    return this.#refuse(lengthBytes, offsetBytes);
  }

  /** What was kept counts as data. */
  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    this.#checkFailure();
    const [first, last] = blocksOf(Math.max(1, lengthBytes), offsetBytes);
    await overlapping(this.#early, first, last)?.landed.then(ignore, ignore);
    const found = await this.#base.extents(lengthBytes, offsetBytes, limit);
    this.#checkFailure();
    const list: DeviceExtent[] = [];
    for (const extent of found) {
      for (const part of extent.kind === 'data' ? [extent] : this.#withKept(extent)) {
        if (list.length === limit) return list;
        list.push(part);
      }
    }
    return list;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#options.onEnd(this);
    await Promise.allSettled([...this.#keeping].map(({ landed }) => landed));
    await this.#kept.close();
  }

  async #read(target: Uint8Array, offsetBytes: number): Promise<void> {
    await this.ready(target.byteLength, offsetBytes);
    await this.#base.read(target, offsetBytes);
    await this.amend(target, offsetBytes);
  }

  async #land(first: number, last: number): Promise<void> {
    for (;;) {
      const early = overlapping(this.#early, first, last);
      if (early === undefined) return;
      await early.landed.then(ignore, ignore);
    }
  }

  /** Whatever was overwritten meanwhile was kept before that. */
  #takeKept(target: Uint8Array, offsetBytes: number, block: number, last: number): Answer {
    for (let at = block; at <= last; at++) {
      if (this.#isKept.test(at)) {
        const answer = this.#fromKept(target, offsetBytes, at);
        if (answer === undefined) continue;
        return answer.then(() => this.#takeKept(target, offsetBytes, at + 1, last));
      }
      if (this.#isOver.test(at)) throw this.#gone(at);
    }
    return undefined;
  }

  #wasRead(lengthBytes: number, offsetBytes: number): void {
    this.#checkFailure();
    const endBytes = offsetBytes + lengthBytes;
    const from = Math.ceil(offsetBytes / BLOCK_BYTES);
    const isEnd = endBytes === this.sizeBytes;
    const to = isEnd ? Math.ceil(endBytes / BLOCK_BYTES) : Math.floor(endBytes / BLOCK_BYTES);
    if (to > from) this.#isRead.mark(from, to - 1);
  }

  #fromKept(target: Uint8Array, offsetBytes: number, block: number): Answer {
    const start = block * BLOCK_BYTES;
    const from = Math.max(start, offsetBytes);
    const end = Math.min(start + BLOCK_BYTES, offsetBytes + target.byteLength);
    return this.#kept.read(
      target.subarray(from - offsetBytes, end - offsetBytes),
      block,
      from - start,
    );
  }

  #isNeeded(block: number): boolean {
    if (this.#isRead.test(block) || this.#isKept.test(block)) return false;
    return this.#isWanted === undefined || this.#isWanted.test(block);
  }

  #firstNeeded(first: number, last: number): number {
    let block = first;
    while (block <= last && !this.#isNeeded(block)) block++;
    return block;
  }

  /** Undefined if all is kept already when this returns: memory and the page cache are quick. */
  #keepRange(first: number, last: number): Promise<void> | undefined {
    const count = Math.min(last - first + 1, KEEP_BYTES_PER_READ / BLOCK_BYTES);
    const offsetBytes = first * BLOCK_BYTES;
    const lengthBytes = Math.min(count * BLOCK_BYTES, this.sizeBytes - offsetBytes);
    const bytes = this.#scratchOf(lengthBytes);
    try {
      const answer = this.#base.read(bytes, offsetBytes);
      if (answer !== undefined) this.#scratch = undefined; // In use, until that has settled.
      if (answer === undefined && first + count > last) {
        const rest = this.#put(bytes, first, first);
        return rest === undefined ? undefined : rest.catch((error) => this.#fail(error));
      }
      return this.#keepLater(answer, bytes, first).catch((error) => this.#fail(error));
    } catch (error) {
      this.#fail(error);
      return undefined;
    }
  }

  /** What is kept is copied out of it: most writes are of one block, and each made garbage. */
  #scratchOf(lengthBytes: number): Uint8Array {
    if (lengthBytes > BLOCK_BYTES) return new Uint8Array(lengthBytes);
    this.#scratch ??= new Uint8Array(BLOCK_BYTES);
    return this.#scratch.subarray(0, lengthBytes);
  }

  async #keepLater(answer: Answer, bytes: Uint8Array, first: number): Promise<void> {
    await answer;
    await this.#put(bytes, first, first);
  }

  /** Puts the needed blocks of what was read, from `block` on. */
  #put(bytes: Uint8Array, first: number, block: number): Promise<void> | undefined {
    const count = Math.ceil(bytes.byteLength / BLOCK_BYTES);
    for (let at = block; at < first + count; at++) {
      if (!this.#isNeeded(at)) continue;
      const from = (at - first) * BLOCK_BYTES;
      const answer = this.#kept.put(at, bytes.subarray(from, from + BLOCK_BYTES));
      if (answer !== undefined) {
        return answer.then(() => {
          this.#isKept.mark(at, at);
          return this.#put(bytes, first, at + 1);
        });
      }
      this.#isKept.mark(at, at);
    }
    return undefined;
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    this.#options.onEnd(this); // Nothing is kept for it any more.
  }

  #checkFailure(): void {
    const cause = this.#failure;
    if (cause === undefined && !this.#isEnded) return;
    const why = cause?.message ?? 'it was released';
    throw new DeviceError('DEVICE_CLOSED', `${this.name} is lost: ${why}`, {
      hint: cause instanceof TrackError ? cause.hint : 'Begin another backup.',
      cause,
    });
  }

  #gone(block: number): DeviceError {
    const message = `${this.name}: block ${block} was overwritten, and nobody had wanted it kept`;
    return new DeviceError('DEVICE_CLOSED', message, {
      hint: 'What was read once is not kept; begin another backup.',
    });
  }

  #refuse(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  *#withKept({ offsetBytes, lengthBytes, kind }: DeviceExtent): Generator<DeviceExtent> {
    const endBytes = offsetBytes + lengthBytes;
    const end = Math.ceil(endBytes / BLOCK_BYTES);
    for (let at = offsetBytes; at < endBytes; ) {
      const block = Math.floor(at / BLOCK_BYTES);
      const isKept = this.#isKept.test(block);
      const next = Math.min(endBytes, this.#isKept.next(block, end, !isKept) * BLOCK_BYTES);
      yield { offsetBytes: at, lengthBytes: next - at, kind: isKept ? 'data' : kind };
      at = next;
    }
  }
}

/** Bounded by the shape alone: it must be exact. */
function unboundedMap(shape: Shape): DirtyMap {
  return new DirtyMap(shape, new PageBudget(Number.POSITIVE_INFINITY));
}

function blocksOf(lengthBytes: number, offsetBytes: number): [first: number, last: number] {
  return [
    Math.floor(offsetBytes / BLOCK_BYTES),
    Math.floor((offsetBytes + lengthBytes - 1) / BLOCK_BYTES),
  ];
}

function ignore(): void {}
