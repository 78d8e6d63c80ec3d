/** A gate in front of a device: while it is closed, writes wait; so a moment can be kept. */
import type { Answer, Device, DeviceExtent } from '../../device/index.ts';

/** Borrows `base`. */
export class WriteGate implements Device {
  readonly #base: Device;
  #writing = 0;
  #closed = false;
  readonly #waiting: (() => void)[] = [];
  #settled: (() => void) | undefined;
  /** Of calls that change something, let in so far. */
  changes = 0;

  constructor(base: Device) {
    this.#base = base;
  }

  get name() {
    return this.#base.name;
  }
  get sizeBytes() {
    return this.#base.sizeBytes;
  }
  get blockSizes() {
    return this.#base.blockSizes;
  }
  get readOnly() {
    return this.#base.readOnly;
  }
  get hints() {
    return this.#base.hints;
  }
  get durable() {
    return this.#base.durable;
  }

  /** Resolves when every write that was let in has settled; later ones wait for `open`. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#writing === 0) return;
    await new Promise<void>((resolve) => {
      this.#settled = resolve;
    });
  }

  /** Lets those who wait in, in their order. Their number is bounded by the server's requests. */
  open(): void {
    this.#closed = false;
    for (const enter of this.#waiting.splice(0)) enter();
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    return this.#base.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    return this.#change(() => this.#base.write(source, offsetBytes, flags));
  }

  /** A flush changes nothing: what it makes durable was written before. */
  flush(): Answer {
    return this.#base.flush();
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    return this.#change(() => this.#base.zero(lengthBytes, offsetBytes, flags));
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    return this.#change(() => this.#base.trim(lengthBytes, offsetBytes, flags));
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]> {
    return this.#base.extents(lengthBytes, offsetBytes, limit);
  }

  #change(call: () => Answer): Answer {
    if (this.#closed) {
      return new Promise<void>((resolve) => this.#waiting.push(resolve)).then(() =>
        this.#change(call),
      );
    }
    this.changes++;
    const answer = call();
    if (!(answer instanceof Promise)) return;
    this.#writing++;
    return answer.finally(() => {
      this.#writing--;
      if (this.#writing === 0) this.#settled?.();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The base belongs to whoever opened it.
  }
}
