/** The live replica: a read-only Device whose every call sees one epoch, the newest then. */
import {
  type Answer,
  anyBlockSizes,
  checkRange,
  checkWritable,
  type Device,
  type DeviceExtent,
  type DeviceHints,
} from '../../../device/index.ts';
import type { Viewed } from './layers.ts';

export class LiveDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes = anyBlockSizes;
  readonly readOnly = true;
  readonly durable = true;
  readonly hints: DeviceHints = { rotational: false, fastZero: false };
  readonly #view: () => Viewed;

  constructor(name: string, sizeBytes: number, view: () => Viewed) {
    this.name = name;
    this.sizeBytes = sizeBytes;
    this.#view = view;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, target.byteLength, offsetBytes);
    return this.#read(target, offsetBytes);
  }

  async #read(target: Uint8Array, offsetBytes: number): Promise<void> {
    using view = this.#view();
    await view.device.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number): Answer {
    checkRange(this, source.byteLength, offsetBytes);
    checkWritable(this);
  }

  flush(): Answer {
    // Whatever can be read is durable.
  }

  zero(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  trim(lengthBytes: number, offsetBytes: number): Answer {
    checkRange(this, lengthBytes, offsetBytes);
    checkWritable(this);
  }

  async extents(lengthBytes: number, offsetBytes: number, limit: number): Promise<DeviceExtent[]> {
    using view = this.#view();
    return await view.device.extents(lengthBytes, offsetBytes, limit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The replica belongs to whoever opened it.
  }
}
