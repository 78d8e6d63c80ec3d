/** Memory device: sparse, answers at once, forgets everything when the process ends. */
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

/** Reads as zero at first; takes memory only for what is written, so it may be far larger. */
export function memory(name: string, sizeBytes: number): Device {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0) {
    throw new DeviceError('DEVICE_SIZE', `memory:${name} cannot have ${sizeBytes} bytes`, {
      hint: 'Sizes are whole numbers of bytes below 2^53 (8 PiB).',
    });
  }
  return new MemoryDevice(name, sizeBytes);
}

class MemoryDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = anyBlockSizes;
  readonly readOnly = false;
  readonly hints: DeviceHints = { rotational: false, fastZero: true };
  readonly durable = false;
  readonly settlesAtOnce = true;
  /** Absent slabs are zero; the last one ends where the device does. */
  readonly #slabs = new Map<number, Uint8Array>();
  #closed = false;

  constructor(name: string, sizeBytes: number) {
    this.name = `memory:${name}`;
    this.sizeBytes = sizeBytes;
  }

  read(target: Uint8Array, offsetBytes: number): void {
    this.#check(target.byteLength, offsetBytes);
    for (let at = 0; at < target.byteLength; ) {
      const index = Math.floor((offsetBytes + at) / MEMORY_SLAB_BYTES);
      const from = offsetBytes + at - index * MEMORY_SLAB_BYTES;
      const length = Math.min(MEMORY_SLAB_BYTES - from, target.byteLength - at);
      const slab = this.#slabs.get(index);
      if (slab === undefined) target.fill(0, at, at + length);
      else target.set(slab.subarray(from, from + length), at);
      at += length;
    }
  }

  write(source: Uint8Array, offsetBytes: number): void {
    this.#check(source.byteLength, offsetBytes);
    for (let at = 0; at < source.byteLength; ) {
      const index = Math.floor((offsetBytes + at) / MEMORY_SLAB_BYTES);
      const from = offsetBytes + at - index * MEMORY_SLAB_BYTES;
      const length = Math.min(MEMORY_SLAB_BYTES - from, source.byteLength - at);
      const whole = length === source.byteLength;
      const slab = this.#slabs.get(index) ?? this.#allocate(index);
      slab.set(whole ? source : source.subarray(at, at + length), from);
      at += length;
    }
  }

  flush(): void {
    if (this.#closed) throw closedError(this.name);
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): void {
    this.#check(lengthBytes, offsetBytes);
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
    // One step per slab, and no more steps than twice the slabs there are: gaps are skipped whole.
    const indexes = this.#indexesBetween(offsetBytes, end);
    for (const index of indexes) {
      if (list.full) break;
      list.add(index * MEMORY_SLAB_BYTES, 'hole');
      if (!list.full) list.add((index + 1) * MEMORY_SLAB_BYTES, 'data');
    }
    if (!list.full) list.add(end, 'hole');
    return list.extents;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#slabs.clear();
  }

  #check(lengthBytes: number, offsetBytes: number): void {
    if (this.#closed) throw closedError(this.name);
    checkRange(this, lengthBytes, offsetBytes);
  }

  #allocate(index: number): Uint8Array {
    try {
      const leftBytes = this.sizeBytes - index * MEMORY_SLAB_BYTES;
      const slab = new Uint8Array(Math.min(MEMORY_SLAB_BYTES, leftBytes));
      this.#slabs.set(index, slab);
      return slab;
    } catch (error) {
      throw new DeviceError('DEVICE_NO_SPACE', `${this.name}: the host has no memory left`, {
        hint: 'Write less to it, or use a file.',
        cause: error,
      });
    }
  }

  /** Slabs that lie wholly in the range are given back, unless they are to stay allocated. */
  #clear(lengthBytes: number, offsetBytes: number, keep: boolean): void {
    const end = offsetBytes + lengthBytes;
    for (const index of this.#indexesBetween(offsetBytes, end)) {
      const start = index * MEMORY_SLAB_BYTES;
      const from = Math.max(0, offsetBytes - start);
      const slab = this.#slabs.get(index)!;
      if (from === 0 && end - start >= slab.byteLength && !keep) this.#slabs.delete(index);
      else slab.fill(0, from, end - start);
    }
  }

  /** The slabs that are there and touch the range, ascending. */
  #indexesBetween(startBytes: number, endBytes: number): number[] {
    if (startBytes === endBytes) return [];
    const first = Math.floor(startBytes / MEMORY_SLAB_BYTES);
    const last = Math.floor((endBytes - 1) / MEMORY_SLAB_BYTES);
    const found: number[] = [];
    if (last - first < this.#slabs.size) {
      for (let index = first; index <= last; index++) if (this.#slabs.has(index)) found.push(index);
      return found;
    }
    for (const index of this.#slabs.keys()) if (index >= first && index <= last) found.push(index);
    return found.sort((a, b) => a - b);
  }
}
