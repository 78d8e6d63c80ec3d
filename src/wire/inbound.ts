/** What a side receives: each numbered message once, its credit, and what an ACK has to say. */
import type { BufferPool } from './buffers.ts';
import type { Credit } from './credit.ts';
import { formatError, limitError, protocolError, unsupported } from './errors.ts';
import { FLAG_COMPRESSED, FLAG_MANDATORY, type Header, PRIORITIES } from './header.ts';
import { Incoming } from './incoming.ts';
import { ACK_MESSAGES_MAX, BODY_BYTES_MAX, RECEIVE_BYTES_MAX } from './limits.ts';
import * as m from './messages/index.ts';
import { costOf } from './outbound.ts';
import { unpacked } from './packed-body.ts';
import { ReceivedSet } from './received-set.ts';

export type InboundOptions = {
  readonly pool: BufferPool;
  readonly received: m.Received | undefined;
  onMessage(message: Incoming): void;
  /** Something is done with; urgent if the peer may be waiting for credit. */
  onDone(isUrgent: boolean): void;
};

export class Inbound {
  readonly #options: InboundOptions;
  /** Handed out. */
  readonly #delivered: ReceivedSet;
  /** Done with: what ACK tells. */
  readonly #done: ReceivedSet;
  #undoneMessages = 0;

  constructor(options: InboundOptions) {
    this.#options = options;
    this.#delivered = new ReceivedSet(options.received);
    this.#done = new ReceivedSet(options.received);
  }

  get received(): m.Received {
    return this.#done.snapshot();
  }

  /** The peer will send nothing below `sequence` any more. */
  skipTo(sequence: number): void {
    this.#delivered.skipTo(sequence);
    this.#done.skipTo(sequence);
  }

  /** Throws unless a message of this length and number may come now. */
  admit({ bodyBytes, priority, sequence }: Header, credit: Credit): void {
    if (bodyBytes > BODY_BYTES_MAX) throw limitError(`a body of ${bodyBytes} bytes`);
    if (priority >= PRIORITIES) throw formatError(`priority ${priority}`);
    if (sequence < 1 || !this.#done.isInWindow(sequence)) {
      throw protocolError(`message ${sequence} is out of the window`);
    }
    if (!credit.receive(costOf(bodyBytes))) throw protocolError('more than the credit of a lane');
  }

  onMessage(
    { type, flags, priority, sequence, bodyBytes, bodyChecksum }: Header,
    body: Uint8Array,
    buffer: Uint8Array | undefined,
    credit: Credit,
  ): void {
    const giveBack = () => {
      if (buffer !== undefined) this.#options.pool.giveBack(buffer);
      return credit.done(costOf(bodyBytes));
    };
    const onDone = () => {
      const isLow = giveBack();
      this.#done.add(sequence);
      this.#undoneMessages += 1;
      this.#options.onDone(isLow || this.#undoneMessages >= ACK_MESSAGES_MAX);
    };
    if (this.#delivered.has(sequence)) {
      // If it is still in the user's hands, it lies in another buffer.
      if (this.#done.has(sequence)) onDone();
      else giveBack();
      return;
    }
    this.#delivered.add(sequence);
    if (m.isKnownType(type)) {
      const isPlain = (flags & FLAG_COMPRESSED) === 0;
      const came = isPlain ? { body, checksum: bodyChecksum } : { body: unpacked(body) };
      const message = new Incoming({
        checksum: undefined,
        type,
        priority,
        sequence,
        ...came,
        onDone,
      });
      this.#options.onMessage(message);
    } else if ((flags & FLAG_MANDATORY) !== 0) throw unsupported(`messages of type ${type}`);
    else onDone();
  }

  /** The body of an ACK, and with it more credit for the lanes. */
  ack(credits: ReadonlyMap<number, Credit>, nowMs: number, roundTripMs: number): Uint8Array {
    this.#undoneMessages = 0;
    let grownBytes = 0;
    for (const { grownBytes: bytes } of credits.values()) grownBytes += bytes;
    const told: m.Credit[] = [];
    for (const [laneId, credit] of credits) {
      const before = credit.grownBytes;
      credit.renew(nowMs, roundTripMs, RECEIVE_BYTES_MAX - grownBytes);
      grownBytes += credit.grownBytes - before;
      told.push({ laneId, limitBytes: credit.limitBytes });
    }
    return m.encodeAck({ received: this.#done.snapshot(), credits: told });
  }
}
