/** Messages over a byte stream: decoded as they come, gathered as they go. */
import assert from 'node:assert/strict';
import type { Parts } from '../codec/index.ts';
import { type Clock, type EnvError, FerryError, type Stream, type Timer } from '../core/index.ts';
import type { BufferPool } from './buffers.ts';
import { HEADER_BYTES, type Header, putHeader } from './header.ts';
import { FAREWELL_MS } from './limits.ts';
import { MessageDecoder } from './message-decoder.ts';
import { ERROR, encodeError } from './messages/index.ts';

/** Who hears what comes; it may change between two messages. */
export interface Receiver {
  admit(header: Header): boolean;
  onMessage(header: Header, body: Uint8Array, buffer: Uint8Array | undefined): void;
  /** The stream takes more. */
  onRoom(): void;
  /** The last call. `error` says why, also if it was thrown out of the calls above. */
  onClosed(error: unknown): void;
}

export type MessageStreamOptions = {
  readonly clock: Clock;
  readonly pool: BufferPool;
  readonly receiver: Receiver;
};

export class MessageStream {
  receiver: Receiver;
  readonly peer: string;
  readonly #stream: Stream;
  readonly #clock: Clock;
  readonly #decoder: MessageDecoder;
  #isFull = false;
  #isClosed = false;
  #farewell: Timer | undefined;

  constructor(stream: Stream, { clock, pool, receiver }: MessageStreamOptions) {
    this.receiver = receiver;
    this.peer = stream.peer;
    this.#stream = stream;
    this.#clock = clock;
    this.#decoder = new MessageDecoder(pool, {
      admit: (header) => this.receiver.admit(header),
      onMessage: (header, body, buffer) => this.receiver.onMessage(header, body, buffer),
    });
    stream.start({
      onBytes: (view) => this.#feed(view),
      onDrained: () => {
        this.#isFull = false;
        if (!this.#isClosed) this.receiver.onRoom();
      },
      onEnd: () => this.#stream.end(),
      onClosed: (error) => this.#closed(error),
    });
  }

  get isFull(): boolean {
    return this.#isFull || this.#isClosed;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** One call for all; `written` is called once the kernel has them. */
  write(buffers: readonly Uint8Array[], written?: () => void): void {
    if (this.#isClosed) return;
    if (!this.#stream.write(buffers, written)) this.#isFull = true;
  }

  /** A message of its own, outside of every queue. */
  send(type: number, flags: number, body: Uint8Array, written?: () => void): void {
    this.write([headerOf(type, flags, 1, 0, { parts: [body] }), body], written);
  }

  /** Nothing more is heard; what is queued may leave, for a while. */
  end(): void {
    this.#isClosed = true;
    this.#decoder.stop();
    this.#stream.end();
    this.#farewell ??= this.#clock.after(FAREWELL_MS, () => this.#stream.destroy());
  }

  /** Tells the peer what is wrong, and ends; `onClosed` hears of it at once. */
  fail(error: unknown): void {
    if (this.#isClosed) return;
    this.send(ERROR, 0, encodeError({ ...told(error), isFatal: true, sequence: 0 }));
    this.end();
    this.receiver.onClosed(error);
  }

  /** Ends at once. */
  destroy(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#decoder.stop();
    this.#stream.destroy();
    this.receiver.onClosed(error);
  }

  #feed(view: Uint8Array): void {
    if (this.#isClosed) return;
    try {
      this.#decoder.feed(view);
    } catch (error) {
      this.fail(error);
    }
  }

  #closed(error: EnvError | undefined): void {
    this.#farewell?.cancel();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#decoder.stop();
    this.receiver.onClosed(error);
  }
}

/** Typed errors are made to be told; anything else is a defect here, and none of the peer's. */
function told(error: unknown): { code: string; text: string } {
  if (error instanceof FerryError) return { code: error.code, text: error.message };
  return { code: 'WIRE_INTERNAL', text: 'an error of this program; its log says more' };
}

/** Header and body in one piece: what is sent once more gets the same header once more. */
export function wholeOf({ parts, ...message }: Omit<Header, 'checksum' | 'bodyChecksum'> & Parts) {
  const { buffer, byteOffset, byteLength } = parts[0]!;
  assert(parts.length === 1 && byteOffset >= HEADER_BYTES);
  const whole = new Uint8Array(buffer, byteOffset - HEADER_BYTES, HEADER_BYTES + byteLength);
  putHeader(whole, 0, message, { parts, lastChecksum: message.lastChecksum });
  return whole;
}

export function headerOf(
  type: number,
  flags: number,
  priority: number,
  sequence: number,
  body: Parts,
): Uint8Array {
  const header = new Uint8Array(HEADER_BYTES);
  let bodyBytes = 0;
  for (const part of body.parts) bodyBytes += part.byteLength;
  putHeader(header, 0, { type, flags, priority, sequence, bodyBytes }, body);
  return header;
}
