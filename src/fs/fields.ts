/** Numbers at fixed places of a structure on disk, each checked to be inside it. */
import { damaged } from './errors.ts';

const HIGH = 2 ** 32;

/** A structure of one byte order; `what` names it in errors. */
export class Fields {
  readonly bytes: Uint8Array;
  readonly what: string;
  readonly #view: DataView;
  readonly #isLittle: boolean;

  constructor(bytes: Uint8Array, what: string, order: 'big' | 'little') {
    this.bytes = bytes;
    this.what = what;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#isLittle = order === 'little';
  }

  get length(): number {
    return this.bytes.byteLength;
  }

  u8(at: number): number {
    this.#check(at, 1);
    return this.#view.getUint8(at);
  }

  u16(at: number): number {
    this.#check(at, 2);
    return this.#view.getUint16(at, this.#isLittle);
  }

  u32(at: number): number {
    this.#check(at, 4);
    return this.#view.getUint32(at, this.#isLittle);
  }

  /** The upper half of a number of 64 bits. */
  high(at: number): number {
    return this.u32(this.#isLittle ? at + 4 : at);
  }

  /** The lower half of a number of 64 bits. */
  low(at: number): number {
    return this.u32(this.#isLittle ? at : at + 4);
  }

  /** A number of 64 bits that must be a safe integer. */
  u64(at: number): number {
    const high = this.high(at);
    if (high >= 2 ** 21) throw damaged(`${this.what}: the number at byte ${at} exceeds 2^53`);
    return high * HIGH + this.low(at);
  }

  /** A view of `lengthBytes` bytes, not a copy. */
  take(at: number, lengthBytes: number): Uint8Array {
    this.#check(at, lengthBytes);
    return this.bytes.subarray(at, at + lengthBytes);
  }

  #check(at: number, lengthBytes: number): void {
    if (at >= 0 && lengthBytes >= 0 && at + lengthBytes <= this.bytes.byteLength) return;
    throw damaged(
      `${this.what}: ${lengthBytes} bytes at ${at} pass its end, ${this.bytes.byteLength}`,
    );
  }
}
