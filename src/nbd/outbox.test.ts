/** Goal: replies leave whole and in order, however little the kernel takes at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Stream } from '../core/index.ts';
import { Outbox } from './outbox.ts';
import { SlabPool } from './slabs.ts';

/** Takes, at each call, what the next share says; 0 while something is queued. */
class NarrowStream implements Stream {
  readonly peer = 'narrow';
  readonly #sent: Uint8Array[] = [];
  readonly #shares: number[];
  #queue: { buffers: readonly Uint8Array[]; written: (() => void) | undefined }[] = [];

  constructor(shares: readonly number[]) {
    this.#shares = [...shares];
  }

  writeNow(buffers: readonly Uint8Array[]): number {
    if (this.#queue.length > 0) return 0;
    let leftBytes = this.#shares.shift() ?? 0;
    const took = leftBytes;
    for (const bytes of buffers) {
      const part = bytes.subarray(0, leftBytes);
      this.#sent.push(part.slice());
      leftBytes -= part.byteLength;
    }
    return took - leftBytes;
  }

  write(buffers: readonly Uint8Array[], written?: () => void): boolean {
    this.#queue.push({ buffers, written });
    return true;
  }

  /** The kernel takes everything that is queued. */
  drain(): void {
    const queue = this.#queue;
    this.#queue = [];
    for (const { buffers, written } of queue) {
      for (const bytes of buffers) this.#sent.push(bytes.slice());
      written?.();
    }
  }

  get sent(): Buffer {
    return Buffer.concat(this.#sent);
  }

  readonly queuedBytes = 0;
  start(): void {}
  pause(): void {}
  resume(): void {}
  end(): void {}
  destroy(): void {}
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ lengthBytes: fc.integer({ min: 1, max: 20_000 }) }) },
  fc.constantFrom('flush' as const, 'drain' as const),
);

test('whatever is taken at once, all arrives in order and all is given back', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 40 }),
      fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50_000 })), { maxLength: 20 }),
      (steps, shares) => {
        const stream = new NarrowStream(shares);
        let freedBytes = 0;
        const outbox = new Outbox(stream, new SlabPool(), (bytes) => {
          freedBytes += bytes;
        });
        const expected: number[] = [];
        for (const [index, action] of steps.entries()) {
          if (action === 'flush') outbox.flush();
          else if (action === 'drain') stream.drain();
          else {
            const slab = outbox.claim(action.lengthBytes);
            const start = slab.usedBytes - action.lengthBytes;
            slab.bytes.fill(index + 1, start, slab.usedBytes);
            outbox.send(slab, start, slab.usedBytes, action.lengthBytes);
            for (let at = 0; at < action.lengthBytes; at += 1) expected.push(index + 1);
          }
        }
        outbox.flush();
        stream.drain();
        assert.equal(Buffer.compare(stream.sent, Buffer.from(expected)), 0);
        assert.equal(freedBytes, expected.length);
        assert.equal(outbox.isEmpty, true);
      },
    ),
    { numRuns: 60 },
  );
});
