/** The receiving half of a UDP lane: pieces put together to frames, each opened once. */
import type { BufferPool } from '../buffers.ts';
import { limitError, protocolError } from '../errors.ts';
import { HEADER_BYTES } from '../header.ts';
import { BODY_BYTES_MAX, RECEIVE_BYTES_MAX, UNACKNOWLEDGED_MAX } from '../limits.ts';
import { ReceivedSet } from '../received-set.ts';
import { type LaneKeys, SEAL_BYTES } from './keys.ts';
import {
  frameBytesOfPiece,
  frameOfPiece,
  offsetOfPiece,
  PIECE_AT,
  PIECE_BYTES,
  TAG_BYTES,
} from './packets.ts';

/** The longest message, with its header and its seal. */
const FRAME_BYTES_MAX = BODY_BYTES_MAX + HEADER_BYTES + SEAL_BYTES;

type Partial = {
  readonly buffer: Uint8Array;
  readonly lengthBytes: number;
  readonly have: Uint8Array;
  missing: number;
};

export type ReceiverOptions = {
  readonly keys: LaneKeys;
  readonly pool: BufferPool;
  /** A message with its header. */
  onFrame(frame: Uint8Array): void;
};

export class Receiver {
  readonly #options: ReceiverOptions;
  readonly #partials = new Map<number, Partial>();
  readonly #complete = new ReceivedSet();
  #partialBytes = 0;

  constructor(options: ReceiverOptions) {
    this.#options = options;
  }

  /** A packet whose tag was right; it is a view that is not kept. */
  onPiece(packet: Uint8Array): void {
    const number = frameOfPiece(packet);
    if (number === 0 || this.#complete.has(number)) return;
    const partial = this.#partials.get(number) ?? this.#begin(number, frameBytesOfPiece(packet));
    const offset = offsetOfPiece(packet);
    const lengthBytes = packet.byteLength - PIECE_AT - TAG_BYTES;
    const index = offset / PIECE_BYTES;
    const wantedBytes = Math.min(PIECE_BYTES, partial.lengthBytes - offset);
    if (frameBytesOfPiece(packet) !== partial.lengthBytes || !Number.isInteger(index)) {
      throw protocolError(`a piece that does not fit into frame ${number}`);
    }
    if (lengthBytes !== wantedBytes) throw protocolError(`a piece of ${lengthBytes} bytes`);
    if (partial.have[index] === 1) return;
    partial.have[index] = 1;
    partial.missing -= 1;
    partial.buffer.set(packet.subarray(PIECE_AT, PIECE_AT + lengthBytes), offset);
    if (partial.missing === 0) this.#finish(number, partial);
  }

  stop(): void {
    for (const { buffer } of this.#partials.values()) this.#options.pool.giveBack(buffer);
    this.#partials.clear();
    this.#partialBytes = 0;
  }

  #begin(number: number, lengthBytes: number): Partial {
    if (lengthBytes < HEADER_BYTES + SEAL_BYTES || lengthBytes > FRAME_BYTES_MAX) {
      throw limitError(`a frame of ${lengthBytes} bytes`);
    }
    if (number > this.#complete.cumulative + UNACKNOWLEDGED_MAX) {
      throw protocolError(`frame ${number} is out of the window`);
    }
    // The credit of the lane bounds what an honest peer has under way.
    if (this.#partialBytes + lengthBytes > RECEIVE_BYTES_MAX + FRAME_BYTES_MAX) {
      throw protocolError('more unfinished frames than there is credit for');
    }
    const pieces = Math.ceil(lengthBytes / PIECE_BYTES);
    const buffer = this.#options.pool.take(lengthBytes);
    const partial = { buffer, lengthBytes, have: new Uint8Array(pieces), missing: pieces };
    this.#partials.set(number, partial);
    this.#partialBytes += lengthBytes;
    return partial;
  }

  #finish(number: number, { buffer, lengthBytes }: Partial): void {
    this.#partials.delete(number);
    this.#partialBytes -= lengthBytes;
    this.#complete.add(number);
    try {
      this.#options.onFrame(this.#options.keys.seal.open(number, buffer.subarray(0, lengthBytes)));
    } finally {
      this.#options.pool.giveBack(buffer);
    }
  }
}
