/** Memory device that several threads of this process open at once: one region for all of them. */
import {
  anyBlockSizes,
  checkRange,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  NO_HOLE,
} from './device.ts';
import { closedError } from './device-error.ts';
import { ExtentList } from './extent-list.ts';
import { MEMORY_SLAB_BYTES } from './limits.ts';

/** Sent to another thread it stays the same memory. */
export type MemoryRegion = {
  readonly sizeBytes: number;
  readonly content: SharedArrayBuffer;
  /** A word per slab: 1 if something was written to it since it was a hole. */
  readonly marks: SharedArrayBuffer;
};

/** Reads as zero. The host gives memory as it is written, but must be able to give all of it. */
export function memoryRegion(name: string, sizeBytes: number): MemoryRegion {
  try {
    const slabs = Math.ceil(sizeBytes / MEMORY_SLAB_BYTES);
    return {
      sizeBytes,
      content: new SharedArrayBuffer(sizeBytes),
      marks: new SharedArrayBuffer(slabs * Int32Array.BYTES_PER_ELEMENT),
    };
  } catch (cause) {
    throw new DeviceError('DEVICE_SIZE', `memory:${name} cannot have ${sizeBytes} bytes at once`, {
      hint: 'Memory for several threads must fit into this host; take less, or one thread.',
      cause,
    });
  }
}

/**
 * The region as a device of this thread. Calls that overlap on different threads are the callers'
 * to keep apart; with that, what one has written all read.
 */
export function sharedMemory(name: string, region: MemoryRegion): Device {
  return new SharedMemoryDevice(name, region);
}

class SharedMemoryDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = anyBlockSizes;
  readonly readOnly = false;
  readonly hints: DeviceHints = { rotational: false, fastZero: true };
  readonly durable = false;
  readonly settlesAtOnce = true;
  /** A Buffer: its `copy` moves shared memory twice as fast as `set` does. */
  readonly #content: Buffer;
  readonly #marks: Int32Array;
  #closed = false;

  constructor(name: string, { sizeBytes, content, marks }: MemoryRegion) {
    this.name = `memory:${name}`;
    this.sizeBytes = sizeBytes;
    this.#content = Buffer.from(content);
    this.#marks = new Int32Array(marks);
  }

  read(target: Uint8Array, offsetBytes: number): void {
    this.#check(target.byteLength, offsetBytes);
    this.#content.copy(target, 0, offsetBytes, offsetBytes + target.byteLength);
  }

  write(source: Uint8Array, offsetBytes: number): void {
    this.#check(source.byteLength, offsetBytes);
    if (source.byteLength === 0) return;
    this.#content.set(source, offsetBytes);
    this.#mark(source.byteLength, offsetBytes, 1);
  }

  flush(): void {
    if (this.#closed) throw closedError(this.name);
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): void {
    this.#check(lengthBytes, offsetBytes);
    if (lengthBytes === 0) return;
    if ((flags & NO_HOLE) !== 0) this.#mark(lengthBytes, offsetBytes, 1);
    this.#clear(lengthBytes, offsetBytes, (flags & NO_HOLE) !== 0);
  }

  trim(lengthBytes: number, offsetBytes: number): void {
    this.#check(lengthBytes, offsetBytes);
    this.#clear(lengthBytes, offsetBytes, false);
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): DeviceExtent[] {
    this.#check(lengthBytes, offsetBytes);
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    const end = offsetBytes + lengthBytes;
    while (!list.full && list.atBytes < end) {
      const index = Math.floor(list.atBytes / MEMORY_SLAB_BYTES);
      const isHole = Atomics.load(this.#marks, index) === 0;
      list.add(Math.min((index + 1) * MEMORY_SLAB_BYTES, end), isHole ? 'hole' : 'data');
    }
    return list.extents;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }

  #check(lengthBytes: number, offsetBytes: number): void {
    if (this.#closed) throw closedError(this.name);
    checkRange(this, lengthBytes, offsetBytes);
  }

  #mark(lengthBytes: number, offsetBytes: number, value: 0 | 1): void {
    const last = Math.floor((offsetBytes + lengthBytes - 1) / MEMORY_SLAB_BYTES);
    for (let at = Math.floor(offsetBytes / MEMORY_SLAB_BYTES); at <= last; at += 1) {
      if (Atomics.load(this.#marks, at) !== value) Atomics.store(this.#marks, at, value);
    }
  }

  /** Slabs that lie wholly in the range become holes, unless they are to stay allocated. */
  #clear(lengthBytes: number, offsetBytes: number, keep: boolean): void {
    const end = offsetBytes + lengthBytes;
    for (let at = offsetBytes; at < end; ) {
      const index = Math.floor(at / MEMORY_SLAB_BYTES);
      const start = index * MEMORY_SLAB_BYTES;
      const to = Math.min(start + MEMORY_SLAB_BYTES, end);
      const isWhole = at === start && to === Math.min(start + MEMORY_SLAB_BYTES, this.sizeBytes);
      if (Atomics.load(this.#marks, index) !== 0) {
        this.#content.fill(0, at, to);
        if (isWhole && !keep) Atomics.store(this.#marks, index, 0);
      }
      at = to;
    }
  }
}
