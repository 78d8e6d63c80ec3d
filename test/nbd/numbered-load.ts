/** Writes numbered blocks through a client and knows which numbers must survive. */
import assert from 'node:assert/strict';
import { type Device, FUA } from '../../src/device/index.ts';

export const BLOCK_BYTES = 4096;
/** What disks write as a whole: a block may be torn where a write was under way. */
const SECTOR_BYTES = 512;
/** Small enough that blocks are written again and again, across the device. */
export const BLOCKS = 512;
const WRITERS = 16;
/** Writes between two flushes of one writer. */
const WRITES_PER_FLUSH = 8;

/** What makes a write durable: never both in one round, or one would hide the other's failure. */
export type Forcing = 'flush' | 'fua';

export class NumberedLoad {
  readonly #device: Device;
  readonly #forcing: Forcing;
  /** Per block: the highest number that was sent, and the highest that must be there. */
  readonly #sent = new Uint32Array(BLOCKS);
  readonly #durable = new Uint32Array(BLOCKS);
  readonly #hasPromised = Promise.withResolvers<void>();
  #isOver = false;

  constructor(device: Device, forcing: Forcing) {
    this.#device = device;
    this.#forcing = forcing;
  }

  /** Goes on until `stop` or until the connection breaks. */
  async run(): Promise<void> {
    const writers = Array.from({ length: WRITERS }, (_, index) => this.#write(index));
    const ends = await Promise.allSettled(writers);
    const failure = ends.find((end) => end.status === 'rejected');
    this.#hasPromised.reject(failure?.reason ?? new Error('the load ended without a promise'));
  }

  stop(): void {
    this.#isOver = true;
  }

  /** Resolves when something must survive. */
  get hasPromised(): Promise<void> {
    return this.#hasPromised.promise;
  }

  /** What must be there from now on; later answers do not change it. */
  promises(): Uint32Array {
    return this.#durable.slice();
  }

  /** How many sectors of `content` lack what was promised; one of no known number throws. */
  missingIn(content: Uint8Array, promised: Uint32Array): number {
    let missing = 0;
    for (let at = 0; at < BLOCKS * BLOCK_BYTES; at += SECTOR_BYTES) {
      const block = Math.floor(at / BLOCK_BYTES);
      const found = numberIn(content.subarray(at, at + SECTOR_BYTES), block);
      assert.ok(found <= this.#sent[block]!, `block ${block} has ${found}, which nobody sent`);
      if (found < promised[block]!) missing += 1;
    }
    return missing;
  }

  #promise(block: number, number: number): void {
    this.#durable[block] = number;
    this.#hasPromised.resolve();
  }

  /** Each writer has blocks of its own, so that numbers grow in order. */
  async #write(writer: number): Promise<void> {
    const mine = BLOCKS / WRITERS;
    for (let turn = 0; !this.#isOver; turn += 1) {
      const written: [block: number, number: number][] = [];
      for (let count = 0; count < WRITES_PER_FLUSH; count += 1) {
        const block = writer + WRITERS * ((turn * WRITES_PER_FLUSH + count * 7) % mine);
        const number = this.#sent[block]! + 1;
        this.#sent[block] = number;
        const flags = this.#forcing === 'fua' ? FUA : 0;
        await this.#device.write(numbered(block, number), block * BLOCK_BYTES, flags);
        if (this.#forcing === 'fua') this.#promise(block, number);
        else written.push([block, number]);
      }
      if (this.#forcing === 'fua') continue;
      await this.#device.flush();
      for (const [block, number] of written) this.#promise(block, number);
    }
  }
}

function numbered(block: number, number: number): Uint8Array {
  const words = new Uint32Array(BLOCK_BYTES / 4);
  for (let at = 0; at < words.length; at += 2) {
    words[at] = block;
    words[at + 1] = number;
  }
  return new Uint8Array(words.buffer);
}

/** The number of a sector as a whole; 0 if it was never written. */
function numberIn(bytes: Uint8Array, block: number): number {
  const words = new Uint32Array(Uint8Array.from(bytes).buffer);
  const number = words[1]!;
  const named = number === 0 ? 0 : block;
  const isWhole = words.every((word, at) => word === (at % 2 === 0 ? named : number));
  assert.ok(
    isWhole,
    `a sector of block ${block} is torn: ${words.slice(0, 4)}, ${words.slice(-4)}`,
  );
  return number;
}
