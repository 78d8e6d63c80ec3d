/** Reading and writing of byte layouts: little-endian, LEB128 varints, every length checked. */
import assert from 'node:assert/strict';
import { FerryError } from './errors.ts';

/** Bytes from disk or network that do not parse; callers wrap it with the object's name. */
export class FormatError extends FerryError<'FORMAT_INVALID'> {
  override readonly name = 'FormatError';
  constructor(message: string) {
    super('FORMAT_INVALID', message, { hint: 'The bytes are damaged or of another format.' });
  }
}

/** Reads forward through borrowed bytes; running past the end is a FormatError. */
export class ByteReader {
  readonly bytes: Uint8Array;
  position = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get remaining(): number {
    return this.bytes.byteLength - this.position;
  }

  u8(): number {
    if (this.position >= this.bytes.byteLength) throw short(this, 1);
    return this.bytes[this.position++]!;
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  u32(): number {
    return this.u16() + this.u16() * 0x10000;
  }

  /** A u64 that must be a safe integer. */
  u53(): number {
    const low = this.u32();
    const high = this.u32();
    if (high >= 0x200000) throw new FormatError(`a number at ${this.position - 8} exceeds 2^53`);
    return high * 0x100000000 + low;
  }

  /** LEB128, at most 2^53 - 1, shortest form only, so that equal values have equal bytes. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && scale !== 1) throw new FormatError(`overlong varint at ${this.position}`);
        if (!Number.isSafeInteger(value)) throw new FormatError('a varint exceeds 2^53');
        return value;
      }
      scale *= 128;
      if (scale > 2 ** 49) throw new FormatError(`endless varint at ${this.position}`);
    }
  }

  /** A varint that must not exceed `max`; `what` names it in the message. */
  count(max: number, what: string): number {
    const value = this.varint();
    if (value > max) throw new FormatError(`${what} is ${value}, at most ${max} is allowed`);
    return value;
  }

  /** A view of the next `lengthBytes`, not a copy. */
  take(lengthBytes: number): Uint8Array {
    if (lengthBytes > this.remaining) throw short(this, lengthBytes);
    this.position += lengthBytes;
    return this.bytes.subarray(this.position - lengthBytes, this.position);
  }

  /** Everything must have been read. */
  end(): void {
    if (this.remaining !== 0) throw new FormatError(`${this.remaining} bytes follow the end`);
  }
}

function short(reader: ByteReader, wanted: number): FormatError {
  return new FormatError(
    `${wanted} bytes wanted at ${reader.position}, the input ends at ${reader.bytes.byteLength}`,
  );
}

/** Appends to a growing buffer. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacityBytes = 256) {
    this.#bytes = new Uint8Array(capacityBytes);
  }

  get length(): number {
    return this.#length;
  }

  /** A view of what was written; valid until the next write. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #room(lengthBytes: number): number {
    const at = this.#length;
    this.#length += lengthBytes;
    if (this.#length > this.#bytes.byteLength) {
      const grown = new Uint8Array(Math.max(this.#length, this.#bytes.byteLength * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    return at;
  }

  u8(value: number): void {
    assert(value >= 0 && value < 0x100);
    const at = this.#room(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    assert(value >= 0 && value < 0x10000);
    const at = this.#room(2);
    this.#bytes[at] = value & 0xff;
    this.#bytes[at + 1] = value >>> 8;
  }

  u32(value: number): void {
    assert(value >= 0 && value < 0x100000000);
    const at = this.#room(4);
    this.#bytes[at] = value & 0xff;
    this.#bytes[at + 1] = (value >>> 8) & 0xff;
    this.#bytes[at + 2] = (value >>> 16) & 0xff;
    this.#bytes[at + 3] = value >>> 24;
  }

  u53(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0);
    this.u32(value % 0x100000000);
    this.u32(Math.floor(value / 0x100000000));
  }

  varint(value: number): void {
    assert(Number.isSafeInteger(value) && value >= 0);
    let rest = value;
    while (rest >= 128) {
      this.u8((rest % 128) | 0x80);
      rest = Math.floor(rest / 128);
    }
    this.u8(rest);
  }

  put(bytes: Uint8Array): void {
    const at = this.#room(bytes.byteLength);
    this.#bytes.set(bytes, at);
  }
}
