/** One request of the client, from its submission until its caller is told. */

import { protocolError } from './errors.ts';
import type { StatusExtent } from './exports.ts';
import { COVERAGE_PIECES_MAX } from './limits.ts';

/** Which bytes of a read have come. Servers mostly send them in order: then it is one number. */
export class Coverage {
  #inOrderBytes = 0;
  #others: { start: number; end: number }[] | undefined;

  /** False if any of it has come before. */
  add(start: number, lengthBytes: number): boolean {
    if (start === this.#inOrderBytes && this.#others === undefined) {
      this.#inOrderBytes += lengthBytes;
      return true;
    }
    const end = start + lengthBytes;
    if (start < this.#inOrderBytes) return false;
    this.#others ??= [];
    if (this.#others.some((other) => start < other.end && other.start < end)) return false;
    if (this.#others.length >= COVERAGE_PIECES_MAX) throw protocolError('a read in crumbs');
    this.#others.push({ start, end });
    return true;
  }

  isWhole(lengthBytes: number): boolean {
    let sum = this.#inOrderBytes;
    for (const { start, end } of this.#others ?? []) sum += end - start;
    return sum === lengthBytes;
  }
}

export type OperationOptions = {
  readonly command: number;
  readonly flags: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where a read goes. */
  readonly target?: Uint8Array;
  /** What a write sends. */
  readonly source?: Uint8Array;
};

export class Operation {
  readonly command: number;
  readonly flags: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly target: Uint8Array | undefined;
  readonly source: Uint8Array | undefined;
  coverage = new Coverage();
  readonly statuses = new Map<number, readonly StatusExtent[]>();
  readonly #settled = Promise.withResolvers<void>();
  /** The server's number; 0 while nothing went wrong. */
  error = 0;
  startedMs = 0;
  /** The kernel still reads from `source`. */
  isBeingSent = false;
  isAnswered = false;
  /** When the caller asked, however often it was sent since. */
  callStartedMs = 0;
  replays = 0;
  /** No call of anybody's, but a write that is made again after a loss. */
  isRepeat = false;

  constructor(options: OperationOptions) {
    this.command = options.command;
    this.flags = options.flags;
    this.offsetBytes = options.offsetBytes;
    this.lengthBytes = options.lengthBytes;
    this.target = options.target;
    this.source = options.source;
  }

  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Forgets what a lost connection said, to be sent on another. */
  reset(): void {
    this.coverage = new Coverage();
    this.statuses.clear();
    this.error = 0;
    this.isBeingSent = false;
    this.isAnswered = false;
  }

  /** The first error counts. */
  fail(error: number): void {
    if (this.error === 0) this.error = error;
  }

  resolve(): void {
    this.#settled.resolve();
  }

  reject(error: unknown): void {
    this.#settled.reject(error);
  }
}
