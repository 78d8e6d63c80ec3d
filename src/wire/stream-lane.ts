/** A lane over a byte stream: the control lane, and data lanes over further TLS connections. */
import type { Header } from './header.ts';
import type { Lane, LaneKind, LaneOwner } from './lane.ts';
import { GATHERED_BYTES_MAX, LANE_QUEUED_BYTES_MAX } from './limits.ts';
import { headerOf, type MessageStream, type Receiver, wholeOf } from './message-stream.ts';

export class StreamLane implements Lane, Receiver {
  readonly id: number;
  readonly kind: LaneKind;
  readonly isReady = true;
  readonly #messages: MessageStream;
  readonly #owner: LaneOwner;
  #isPumping = false;
  #unwrittenBytes = 0;
  readonly #gathered: Uint8Array[] = [];

  /** From here on what comes in goes to `owner`. */
  constructor(id: number, kind: LaneKind, messages: MessageStream, owner: LaneOwner) {
    this.id = id;
    this.kind = kind;
    this.#messages = messages;
    this.#owner = owner;
    messages.receiver = this;
  }

  pump(): void {
    // A message that is acknowledged or refused in here may lead to another call.
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (this.#unwrittenBytes < LANE_QUEUED_BYTES_MAX && !this.#messages.isFull) {
        if (!this.#sendSome()) return;
      }
    } finally {
      this.#isPumping = false;
    }
  }

  /** One write of several messages; false if there are none. */
  #sendSome(): boolean {
    const buffers = this.#gathered;
    let bytes = 0;
    while (bytes < GATHERED_BYTES_MAX) {
      const notice = this.#owner.nextNotice(this);
      if (notice !== undefined) {
        const { type, flags, body } = notice;
        buffers.push(headerOf(type, flags, 1, 0, { parts: [body] }), body);
        bytes += body.byteLength + 1;
        continue;
      }
      const message = this.#owner.nextMessage(this);
      if (message === undefined) break;
      bytes += message.bodyBytes + 1;
      const whole = message.hasRoom ? wholeOf(message) : undefined;
      if (whole !== undefined) {
        // Together with others it would be copied.
        if (buffers.length > 0) this.#messages.write(buffers.splice(0));
        buffers.push(whole);
        break;
      }
      const { type, flags, priority, sequence } = message;
      buffers.push(headerOf(type, flags, priority, sequence, message), ...message.parts);
    }
    if (bytes === 0) return false;
    this.#unwrittenBytes += bytes;
    this.#messages.write(buffers.splice(0), () => {
      this.#unwrittenBytes -= bytes;
      this.pump();
    });
    return true;
  }

  admit(header: Header): boolean {
    return this.#owner.admit(this, header);
  }

  onMessage(header: Header, body: Uint8Array, buffer: Uint8Array | undefined): void {
    this.#owner.onMessage(this, header, body, buffer);
  }

  onRoom(): void {
    this.pump();
  }

  onClosed(error: unknown): void {
    this.#owner.onLaneClosed(this, error);
  }

  end(): void {
    this.#messages.end();
  }

  /** Tells the peer why, and ends. */
  fail(error: unknown): void {
    this.#messages.fail(error);
  }

  destroy(error?: unknown): void {
    this.#messages.destroy(error);
  }
}
