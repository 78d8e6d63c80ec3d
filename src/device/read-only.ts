/** Read-only: a device that nobody can change through this view of it. */
import {
  type Answer,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  type DeviceExtent,
  type DeviceHints,
} from './device.ts';
import { prefetch } from './prefetch.ts';
import type { Tracking } from './tracking.ts';

/** Borrows `base`: disposing the view leaves it open. */
export function readOnly(base: Device): Device {
  return new ReadOnlyDevice(base);
}

class ReadOnlyDevice implements Device {
  readonly readOnly = true;
  readonly #base: Device;

  constructor(base: Device) {
    this.#base = base;
  }

  /** That of the base: for who reads, it is the same thing. */
  get name(): string {
    return this.#base.name;
  }

  get sizeBytes(): number {
    return this.#base.sizeBytes;
  }

  get blockSizes(): BlockSizes {
    return this.#base.blockSizes;
  }

  get hints(): DeviceHints {
    return this.#base.hints;
  }

  get durable(): boolean {
    return this.#base.durable;
  }

  get settlesAtOnce(): boolean {
    return this.#base.settlesAtOnce === true;
  }

  get tracking(): Tracking | undefined {
    return this.#base.tracking;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    return this.#base.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
  }

  flush(): Answer {
    // Nothing was written through this view; flushing the base is its owner's business.
  }

  zero(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  trim(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]> {
    return this.#base.extents(lengthBytes, offsetBytes, limit);
  }

  cache(lengthBytes: number, offsetBytes: number): Answer {
    return prefetch(this.#base, lengthBytes, offsetBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The base belongs to whoever opened it.
  }
}
