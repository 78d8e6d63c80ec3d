/** Flushes that share their work and remember a failure for ever. */
import { SharedRun } from '../core/index.ts';
import { DeviceError } from './device.ts';
import { toDeviceError } from './device-error.ts';

/**
 * One `sync` runs at a time; those who ask meanwhile share the next one, which begins after they
 * asked and so covers their writes. After a failure nobody knows what the kernel has dropped:
 * trying again could succeed without the data being there, so it is never tried.
 */
export class FlushGroup {
  readonly #name: string;
  readonly #sync: () => Promise<void>;
  readonly #shared = new SharedRun(() => this.#attempt());
  #failure: DeviceError | undefined;

  constructor(name: string, sync: () => Promise<void>) {
    this.#name = name;
    this.#sync = sync;
  }

  flush(): Promise<void> {
    return this.#shared.join();
  }

  async #attempt(): Promise<void> {
    if (this.#failure !== undefined) {
      throw new DeviceError('DEVICE_FLUSH_FAILED', `${this.#name}: an earlier flush failed`, {
        hint: 'Find the cause, open it again and check what the last writes left.',
        cause: this.#failure,
      });
    }
    try {
      await this.#sync();
    } catch (error) {
      this.#failure = toDeviceError(error, this.#name);
      throw this.#failure;
    }
  }
}
