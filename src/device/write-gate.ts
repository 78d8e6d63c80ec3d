/** A gate in front of a device: open; closed, so that writes wait; or refusing them for good. */
import type { Answer, Device, DeviceError, DeviceExtent } from './device.ts';
import { prefetch } from './prefetch.ts';

/** Undefined while what is changed may be acknowledged; otherwise when to ask again. */
export type Permit = () => Promise<void> | undefined;

/** Borrows `base`. */
export class WriteGate implements Device {
  readonly writeAtOnce?: (source: Uint8Array, offsetBytes: number) => boolean;
  readonly #base: Device;
  readonly #permit: Permit;
  #writing = 0;
  #isClosed = false;
  #refusal: DeviceError | undefined;
  readonly #waiting: (() => void)[] = [];
  #settled: PromiseWithResolvers<void> | undefined;
  /** Of calls that change something, let in so far. */
  changes = 0;

  constructor(base: Device, permit: Permit = () => undefined) {
    this.#base = base;
    this.#permit = permit;
    if (base.writeAtOnce !== undefined) this.writeAtOnce = this.#writeAtOnce;
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
  get tracking() {
    return this.#base.tracking;
  }

  /** Resolves when every write that was let in has settled; later ones wait for `open`. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#writing === 0) return;
    this.#settled ??= Promise.withResolvers();
    await this.#settled.promise;
  }

  /** Lets those who wait in, in their order. Their number is bounded by the server's requests. */
  open(): void {
    this.#isClosed = false;
    for (const enter of this.#waiting.splice(0)) enter();
  }

  /** Whatever would change something, or promise that it lasts, fails with this from now on. */
  refuse(error: DeviceError): void {
    this.#refusal ??= error;
    this.open();
  }

  get refusal(): DeviceError | undefined {
    return this.#refusal;
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    return this.#base.read(target, offsetBytes);
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    return this.#change(() => this.#base.write(source, offsetBytes, flags));
  }

  /** A flush changes nothing: what it makes durable was written before. */
  flush(): Answer {
    if (this.#refusal !== undefined) throw this.#refusal;
    return this.#permitted(this.#base.flush());
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

  cache(lengthBytes: number, offsetBytes: number): Answer {
    return prefetch(this.#base, lengthBytes, offsetBytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The base belongs to whoever opened it.
  }

  readonly #writeAtOnce = (source: Uint8Array, offsetBytes: number): boolean => {
    if (this.#isClosed || this.#refusal !== undefined || this.#permit() !== undefined) return false;
    if (!this.#base.writeAtOnce!(source, offsetBytes)) return false;
    this.changes++;
    // The time may have run out in between: then it is written again, and waits.
    return this.#permit() === undefined;
  };

  #change(call: () => Answer): Answer {
    if (this.#refusal !== undefined) throw this.#refusal;
    const wait = this.#isClosed ? this.#turn() : this.#permit();
    if (wait !== undefined) return wait.then(() => this.#change(call));
    this.changes++;
    const answer = this.#permitted(call());
    if (!(answer instanceof Promise)) return;
    this.#writing++;
    return answer.finally(() => {
      this.#writing--;
      if (this.#writing > 0) return;
      this.#settled?.resolve();
      this.#settled = undefined;
    });
  }

  #turn(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** What was done is acknowledged only while that may be. */
  #permitted(answer: Answer): Answer {
    if (!(answer instanceof Promise) && this.#permit() === undefined) return;
    return this.#whenPermitted(answer);
  }

  async #whenPermitted(answer: Answer): Promise<void> {
    await answer;
    for (let wait = this.#permit(); wait !== undefined; wait = this.#permit()) {
      if (this.#refusal !== undefined) break;
      await wait;
    }
    if (this.#refusal !== undefined) throw this.#refusal;
  }
}
