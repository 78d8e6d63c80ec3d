/** Writes one connection's replies into slabs, and counts the memory that the connection holds. */
import type { Stream } from '../core/index.ts';
import { type ContextStatus, putStatuses, statusBytes } from './block-status.ts';
import type { Budget } from './budget.ts';
import { EOVERFLOW } from './error-numbers.ts';
import { PAYLOAD_BYTES_MAX } from './limits.ts';
import { Outbox } from './outbox.ts';
import {
  putDone,
  putEmptyRead,
  putError,
  putReadHeader,
  readHeaderBytes,
  SHORT_REPLY_BYTES,
} from './reply-codec.ts';
import type { Request } from './request-codec.ts';
import type { Slab, SlabPool } from './slabs.ts';

export class Replies {
  readonly outbox: Outbox;
  /** What precedes the data of a read. */
  readonly readHeaderBytes: number;
  /** Claimed replies until the kernel has taken them, and payloads until they are written. */
  heldBytes = 0;
  readonly #style: number;
  readonly #budget: Budget;

  constructor(
    stream: Stream,
    { slabs, budget }: { slabs: SlabPool; budget: Budget },
    style: number,
    onSent: (sentBytes: number) => void,
  ) {
    this.#style = style;
    this.#budget = budget;
    this.readHeaderBytes = readHeaderBytes(style);
    this.outbox = new Outbox(stream, slabs, (claimedBytes) => {
      this.release(claimedBytes);
      onSent(claimedBytes);
    });
  }

  hold(lengthBytes: number): void {
    this.heldBytes += lengthBytes;
    this.#budget.hold(lengthBytes);
  }

  release(lengthBytes: number): void {
    if (lengthBytes === 0) return;
    this.heldBytes -= lengthBytes;
    this.#budget.release(lengthBytes);
  }

  /** Room for a reply, which ends at the slab's `usedBytes`. */
  claim(lengthBytes: number): Slab {
    this.hold(lengthBytes);
    return this.outbox.claim(lengthBytes);
  }

  /** The data of a claimed read is in its place. */
  read(request: Request, slab: Slab, start: number): void {
    const claimedBytes = this.readHeaderBytes + request.lengthBytes;
    putReadHeader(slab.bytes, start, request, this.#style);
    this.outbox.send(slab, start, start + claimedBytes, claimedBytes);
  }

  emptyRead(request: Request): void {
    const slab = this.claim(SHORT_REPLY_BYTES);
    const at = slab.usedBytes - SHORT_REPLY_BYTES;
    const end = putEmptyRead(slab.bytes, at, request, this.#style);
    this.outbox.send(slab, at, end, SHORT_REPLY_BYTES);
  }

  done(request: Request): void {
    const slab = this.claim(SHORT_REPLY_BYTES);
    const at = slab.usedBytes - SHORT_REPLY_BYTES;
    const end = putDone(slab.bytes, at, request, this.#style);
    this.outbox.send(slab, at, end, SHORT_REPLY_BYTES);
  }

  error(request: Request, error: number): void {
    const slab = this.claim(SHORT_REPLY_BYTES);
    this.errorIn(request, slab, slab.usedBytes - SHORT_REPLY_BYTES, SHORT_REPLY_BYTES, error);
  }

  /** Uses what was claimed for a read: with one byte of data it is longer than any error. */
  errorIn(request: Request, slab: Slab, at: number, claimedBytes: number, error: number): void {
    const end = putError(slab.bytes, at, request, this.#style, error);
    this.outbox.send(slab, at, end, claimedBytes);
  }

  statuses(request: Request, statuses: readonly ContextStatus[]): void {
    const claimedBytes = statusBytes(statuses, this.#style);
    if (claimedBytes > PAYLOAD_BYTES_MAX) {
      this.error(request, EOVERFLOW);
      return;
    }
    const slab = this.claim(claimedBytes);
    const at = slab.usedBytes - claimedBytes;
    putStatuses(slab.bytes, at, request, this.#style, statuses);
    this.outbox.send(slab, at, at + claimedBytes, claimedBytes);
  }
}
