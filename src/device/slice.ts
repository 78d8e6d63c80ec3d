/** Slice: a part of a device as a device of its own, for partitions and ranges. */
import {
  type Answer,
  type BlockSizes,
  checkRange,
  type Device,
  type DeviceExtent,
  type DeviceHints,
} from './device.ts';
import { prefetch } from './prefetch.ts';

export type SliceOptions = { readonly offsetBytes: number; readonly lengthBytes: number };

/** Borrows `base`: disposing the slice leaves it open. */
export function slice(base: Device, { offsetBytes, lengthBytes }: SliceOptions): Device {
  checkRange(base, lengthBytes, offsetBytes);
  return new SliceDevice(base, offsetBytes, lengthBytes);
}

class SliceDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly #base: Device;
  readonly #startBytes: number;

  constructor(base: Device, startBytes: number, sizeBytes: number) {
    this.name = `slice(${base.name},${startBytes})`;
    this.sizeBytes = sizeBytes;
    this.#base = base;
    this.#startBytes = startBytes;
  }

  get blockSizes(): BlockSizes {
    return this.#base.blockSizes;
  }

  get readOnly(): boolean {
    return this.#base.readOnly;
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

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    return this.#base.read(target, this.#startBytes + offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    return this.#base.write(source, this.#startBytes + offsetBytes, flags);
  }

  flush(): Answer {
    return this.#base.flush();
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    return this.#base.zero(lengthBytes, this.#startBytes + offsetBytes, flags);
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    return this.#base.trim(lengthBytes, this.#startBytes + offsetBytes, flags);
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]> {
    checkRange(this, lengthBytes, offsetBytes);
    const answer = this.#base.extents(lengthBytes, this.#startBytes + offsetBytes, limit);
    return answer instanceof Promise
      ? answer.then((extents) => this.#shifted(extents))
      : this.#shifted(answer);
  }

  cache(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    return prefetch(this.#base, lengthBytes, this.#startBytes + offsetBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The base belongs to whoever opened it.
  }

  #shifted(extents: readonly DeviceExtent[]): DeviceExtent[] {
    return extents.map((extent) => ({
      ...extent,
      offsetBytes: extent.offsetBytes - this.#startBytes,
    }));
  }
}
