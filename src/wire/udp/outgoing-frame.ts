/** A sealed frame on its way out: which of its pieces have arrived. */
import { PIECE_BYTES } from './packets.ts';

export class OutgoingFrame {
  readonly number: number;
  /** From the pool; goes back once all has arrived. */
  readonly buffer: Uint8Array;
  readonly lengthBytes: number;
  readonly pieceCount: number;
  /** The first piece that was never sent. */
  nextPiece = 0;
  readonly #arrived: Uint8Array;
  #arrivedCount = 0;

  constructor(number: number, buffer: Uint8Array, lengthBytes: number) {
    this.number = number;
    this.buffer = buffer;
    this.lengthBytes = lengthBytes;
    this.pieceCount = Math.ceil(lengthBytes / PIECE_BYTES);
    this.#arrived = new Uint8Array(this.pieceCount);
  }

  hasArrived(piece: number): boolean {
    return this.#arrived[piece] === 1;
  }

  get isComplete(): boolean {
    return this.#arrivedCount === this.pieceCount;
  }

  /** Answers whether it was the last one missing. */
  arrive(piece: number): boolean {
    if (this.#arrived[piece] === 1) return false;
    this.#arrived[piece] = 1;
    this.#arrivedCount += 1;
    return this.isComplete;
  }
}
