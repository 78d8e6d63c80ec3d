/** Confirmed: a flush settles when somebody else has confirmed what was written before it, too. */
import {
  type Answer,
  type BlockSizes,
  type Device,
  type DeviceExtent,
  type DeviceHints,
  FUA,
} from './device.ts';
import { prefetch } from './prefetch.ts';
import type { Tracking } from './tracking.ts';

/** Settles when what was written before the call is confirmed; rejects with a DeviceError. */
export type Confirm = () => Promise<void>;

/** Borrows `base`. A write with FUA is confirmed as well. */
export function confirmed(base: Device, confirm: Confirm): Device {
  return new ConfirmedDevice(base, confirm);
}

class ConfirmedDevice implements Device {
  readonly settlesAtOnce = false;
  readonly writeAtOnce?: (source: Uint8Array, offsetBytes: number) => boolean;
  readonly #base: Device;
  readonly #confirm: Confirm;

  constructor(base: Device, confirm: Confirm) {
    this.#base = base;
    this.#confirm = confirm;
    if (base.writeAtOnce !== undefined) {
      this.writeAtOnce = (source, offsetBytes) => base.writeAtOnce!(source, offsetBytes);
    }
  }

  get name(): string {
    return `confirmed(${this.#base.name})`;
  }

  get sizeBytes(): number {
    return this.#base.sizeBytes;
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

  get tracking(): Tracking | undefined {
    return this.#base.tracking;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    return this.#base.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    return this.#ifForced(flags, this.#base.write(source, offsetBytes, flags));
  }

  flush(): Answer {
    return this.#after(this.#base.flush());
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    return this.#ifForced(flags, this.#base.zero(lengthBytes, offsetBytes, flags));
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    return this.#ifForced(flags, this.#base.trim(lengthBytes, offsetBytes, flags));
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

  #ifForced(flags: number, answer: Answer): Answer {
    return (flags & FUA) === 0 ? answer : this.#after(answer);
  }

  async #after(answer: Answer): Promise<void> {
    await answer;
    await this.#confirm();
  }
}
