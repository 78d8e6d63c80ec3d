/** Aligned memory through which transfers go that pass the page cache by (O_DIRECT). */
import assert from 'node:assert/strict';
import { EnvError } from '../errors.ts';
import { native } from './native.ts';

/** What every disk takes: the largest sector in use, and the page of most processors. */
const ALIGN_BYTES = 4096;
/** One transfer; longer ones are short transfers, which the caller continues. */
export const BOUNCE_BYTES = 256 * 1024;
/** Enough for deep queues; whoever comes later waits. */
const BOUNCES_MAX = 64;

/** Lent out and given back; memory is made when it is needed first, and kept. */
export class BouncePool {
  readonly #idle: Uint8Array[] = [];
  readonly #waiting: ((bounce: Uint8Array) => void)[] = [];
  #madeCount = 0;

  /** Calls `use` with a bounce, now or when one is free. */
  take(use: (bounce: Uint8Array) => void): void {
    const bounce = this.#idle.pop() ?? (this.#madeCount < BOUNCES_MAX ? this.#make() : undefined);
    if (bounce === undefined) this.#waiting.push(use);
    else use(bounce);
  }

  giveBack(bounce: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(bounce);
    else next(bounce);
  }

  #make(): Uint8Array {
    const memory = new Uint8Array(new ArrayBuffer(BOUNCE_BYTES + ALIGN_BYTES));
    const address = native()?.addressOf(memory);
    if (address === undefined) {
      throw new EnvError('ENV_UNSUPPORTED', 'direct transfers need memory at known places', {
        hint: 'Install the optional native part (koffi), or do without --direct-io.',
      });
    }
    this.#madeCount += 1;
    const skipped = (ALIGN_BYTES - (address % ALIGN_BYTES)) % ALIGN_BYTES;
    assert(skipped + BOUNCE_BYTES <= memory.byteLength);
    return memory.subarray(skipped, skipped + BOUNCE_BYTES);
  }
}

/** One for all files of a thread. */
export const bounces = new BouncePool();
