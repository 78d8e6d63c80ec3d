/** Writes a large object to S3: parts go up while the next one fills; a small one goes in one. */
import assert from 'node:assert/strict';
import { Gate } from '../core/index.ts';
import { ObjectError, type ObjectWriter } from './object-store.ts';
import { S3_PART_BYTES, S3_PARTS_IN_FLIGHT, S3_PARTS_MAX } from './s3-limits.ts';
import type { S3Part, S3Puts, S3Upload } from './s3-puts.ts';

export class S3Writer implements ObjectWriter {
  readonly #puts: S3Puts;
  readonly #key: string;
  readonly #gate = new Gate({ limit: S3_PARTS_IN_FLIGHT });
  #filling: Buffer = Buffer.allocUnsafeSlow(S3_PART_BYTES);
  #filledBytes = 0;
  /** Parts whose bytes have arrived, to be filled again. */
  readonly #free: Buffer[] = [];
  #beginning: Promise<S3Upload> | undefined;
  readonly #parts: Promise<S3Part>[] = [];
  #failure: unknown;
  #state: 'open' | 'busy' | 'over' = 'open';

  constructor(puts: S3Puts, key: string) {
    this.#puts = puts;
    this.#key = key;
  }

  append(bytes: Uint8Array): Promise<void> {
    return this.#step('open', async () => {
      for (let at = 0; at < bytes.byteLength; ) {
        if (this.#filledBytes === S3_PART_BYTES) await this.#send();
        const piece = bytes.subarray(at, at + S3_PART_BYTES - this.#filledBytes);
        this.#filling.set(piece, this.#filledBytes);
        this.#filledBytes += piece.byteLength;
        at += piece.byteLength;
      }
    });
  }

  commit(): Promise<void> {
    return this.#step('over', async () => {
      if (this.#beginning === undefined) {
        await this.#puts.put(this.#key, this.#filling.subarray(0, this.#filledBytes));
        return;
      }
      await this.#send();
      const parts = await Promise.all(this.#parts);
      await this.#puts.end(await this.#beginning, parts);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    assert(this.#state !== 'busy', `${this.#key}: disposed while it is being written`);
    if (this.#state === 'over') return;
    this.#state = 'over';
    await this.#drop();
  }

  /** One step of the writer; a failed one drops what was written. */
  async #step(next: 'open' | 'over', run: () => Promise<void>): Promise<void> {
    assert(this.#state === 'open', `${this.#key}: the writer is ${this.#state}`);
    this.#state = 'busy';
    try {
      if (this.#failure !== undefined) throw this.#failure;
      await run();
      this.#state = next;
    } catch (error) {
      this.#state = 'over';
      await this.#drop();
      throw error;
    }
  }

  /** Sends the filled part on its way once there is room for it. */
  async #send(): Promise<void> {
    assert(this.#parts.length < S3_PARTS_MAX, `${this.#key}: too many parts`);
    this.#beginning ??= this.#puts.begin(this.#key);
    const upload = await this.#beginning;
    await this.#gate.enter();
    if (this.#failure !== undefined) {
      this.#gate.leave();
      throw this.#failure;
    }
    const buffer = this.#filling;
    const number = this.#parts.length + 1;
    const part = this.#puts
      .part(upload, number, buffer.subarray(0, this.#filledBytes))
      .finally(() => this.#gate.leave());
    this.#parts.push(part);
    // Told by the next step. The buffer of a failed part may still be on its way: it is let go.
    part.then(
      () => this.#free.push(buffer),
      (error) => {
        this.#failure ??= error;
      },
    );
    this.#filling = this.#free.pop() ?? Buffer.allocUnsafeSlow(S3_PART_BYTES);
    this.#filledBytes = 0;
  }

  /** What cannot be dropped now, a later run finds among the uploads that nobody completed. */
  async #drop(): Promise<void> {
    await Promise.allSettled(this.#parts);
    this.#filling = Buffer.alloc(0);
    this.#free.length = 0;
    try {
      const upload = await this.#beginning;
      if (upload !== undefined) await this.#puts.abandon(upload);
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error;
    }
  }
}
