/** Packets under way: what each carried and when it left, in arrays that are used again. */
import type { OutgoingFrame } from './outgoing-frame.ts';

/** Packets that may be under way; a power of two, no larger than the receiver's window. */
export const IN_FLIGHT_MAX = 8_192;

const IDLE = 0;
const SENT = 1;
const LOST = 2;

/** Packets later ones of which have come: fewer may be out of order. RFC 9002, section 6.1.1. */
const REORDERED_MIN = 3;

/** As it was when a packet left. */
export type Delivered = {
  /** What had come by then, when the last of it was told, and when that had left. */
  readonly bytes: number;
  readonly ms: number;
  readonly spanStartMs: number;
  readonly isLimited: boolean;
};

export class InFlight {
  readonly #state = new Uint8Array(IN_FLIGHT_MAX);
  readonly #frame = new Array<OutgoingFrame | undefined>(IN_FLIGHT_MAX).fill(undefined);
  readonly #piece = new Uint32Array(IN_FLIGHT_MAX);
  readonly #bytes = new Uint16Array(IN_FLIGHT_MAX);
  readonly #sentMs = new Float64Array(IN_FLIGHT_MAX);
  /** What was delivered by then, and when the last of it was; for the delivery rate. */
  readonly #deliveredBytes = new Float64Array(IN_FLIGHT_MAX);
  readonly #deliveredMs = new Float64Array(IN_FLIGHT_MAX);
  /** When the packet left that was the newest known to have come by then. */
  readonly #spanStartMs = new Float64Array(IN_FLIGHT_MAX);
  readonly #isLimited = new Uint8Array(IN_FLIGHT_MAX);
  /** Everything below is settled. */
  #oldest = 1;
  #next = 1;
  bytes = 0;
  count = 0;

  /** Whether the place of the next packet is free. */
  get hasRoom(): boolean {
    return this.#next - this.#oldest < IN_FLIGHT_MAX;
  }

  get nextNumber(): number {
    return this.#next;
  }

  /** A packet that needs no acknowledgement takes a number too. */
  skip(): number {
    const number = this.#next++;
    this.#state[number % IN_FLIGHT_MAX] = IDLE;
    this.#advance();
    return number;
  }

  send(
    frame: OutgoingFrame,
    piece: number,
    bytes: number,
    nowMs: number,
    delivered: Delivered,
  ): number {
    const number = this.#next++;
    const at = number % IN_FLIGHT_MAX;
    this.#state[at] = SENT;
    this.#frame[at] = frame;
    this.#piece[at] = piece;
    this.#bytes[at] = bytes;
    this.#sentMs[at] = nowMs;
    this.#deliveredBytes[at] = delivered.bytes;
    this.#deliveredMs[at] = delivered.ms;
    this.#spanStartMs[at] = delivered.spanStartMs;
    this.#isLimited[at] = delivered.isLimited ? 1 : 0;
    this.bytes += bytes;
    this.count += 1;
    return number;
  }

  isPending(number: number): boolean {
    return this.#isKnown(number) && this.#state[number % IN_FLIGHT_MAX] !== IDLE;
  }

  wasLost(number: number): boolean {
    return this.#state[number % IN_FLIGHT_MAX] === LOST;
  }

  sentMs(number: number): number {
    return this.#sentMs[number % IN_FLIGHT_MAX]!;
  }

  deliveredAt(number: number): Delivered {
    const at = number % IN_FLIGHT_MAX;
    return {
      bytes: this.#deliveredBytes[at]!,
      ms: this.#deliveredMs[at]!,
      spanStartMs: this.#spanStartMs[at]!,
      isLimited: this.#isLimited[at] === 1,
    };
  }

  frameOf(number: number): OutgoingFrame {
    return this.#frame[number % IN_FLIGHT_MAX]!;
  }

  pieceOf(number: number): number {
    return this.#piece[number % IN_FLIGHT_MAX]!;
  }

  bytesOf(number: number): number {
    return this.#bytes[number % IN_FLIGHT_MAX]!;
  }

  /** It came: nothing more is to be known of it. */
  settle(number: number): void {
    const at = number % IN_FLIGHT_MAX;
    if (this.#state[at] === SENT) this.#take(at);
    this.#state[at] = IDLE;
    this.#frame[at] = undefined;
    this.#advance();
  }

  /**
   * Calls `lose` for packets that left so long before `largest`, which has come, that they cannot
   * only be late. An acknowledgement that comes for one later still counts.
   */
  findLost(largest: number, sentBeforeMs: number, lose: (number: number) => void): void {
    for (let number = this.#oldest; number <= largest - REORDERED_MIN; number += 1) {
      const at = number % IN_FLIGHT_MAX;
      if (this.#state[at] !== SENT) continue;
      if (this.#sentMs[at]! > sentBeforeMs) break;
      this.#take(at);
      this.#state[at] = LOST;
      lose(number);
    }
    // What was lost long ago is forgotten, so that numbers can go on.
    while (this.#oldest < largest - IN_FLIGHT_MAX / 2) {
      const at = this.#oldest % IN_FLIGHT_MAX;
      if (this.#state[at] === SENT) break;
      this.#state[at] = IDLE;
      this.#frame[at] = undefined;
      this.#oldest += 1;
    }
    this.#advance();
  }

  /** Nothing has been heard for too long: the first `count` under way are given up. */
  loseOldest(count: number, lose: (number: number) => void): void {
    let left = count;
    for (let number = this.#oldest; number < this.#next && left > 0; number += 1) {
      const at = number % IN_FLIGHT_MAX;
      if (this.#state[at] !== SENT) continue;
      this.#take(at);
      this.#state[at] = LOST;
      left -= 1;
      lose(number);
    }
  }

  #take(at: number): void {
    this.bytes -= this.#bytes[at]!;
    this.count -= 1;
  }

  #isKnown(number: number): boolean {
    return number >= this.#oldest && number < this.#next;
  }

  #advance(): void {
    while (this.#oldest < this.#next && this.#state[this.#oldest % IN_FLIGHT_MAX] === IDLE) {
      this.#oldest += 1;
    }
  }
}
