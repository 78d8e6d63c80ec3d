/** Incoming: a numbered message in the hands of whoever uses the session. */

export type IncomingOptions = {
  readonly type: number;
  readonly priority: number;
  readonly sequence: number;
  readonly body: Uint8Array;
  readonly checksum: number | undefined;
  readonly onDone: () => void;
};

/**
 * `body` may be kept and read until `done`, which must be called once the message has had its
 * effect - for data that must last, once it is durable: only then is it acknowledged, is its credit
 * given back, and will it not be sent again after a loss.
 */
export class Incoming {
  readonly type: number;
  readonly priority: number;
  readonly sequence: number;
  readonly body: Uint8Array;
  /** CRC-32 of the body, where that is known without reading it once more. */
  readonly checksum: number | undefined;
  #onDone: (() => void) | undefined;

  constructor({ type, priority, sequence, body, checksum, onDone }: IncomingOptions) {
    this.type = type;
    this.priority = priority;
    this.sequence = sequence;
    this.body = body;
    this.checksum = checksum;
    this.#onDone = onDone;
  }

  /** A second call does nothing. */
  done(): void {
    const onDone = this.#onDone;
    this.#onDone = undefined;
    onDone?.();
  }
}
