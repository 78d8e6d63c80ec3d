/** One connection to a server: requests out, replies in, deadlines, and an end for everything. */
import type { Env, EnvError, Stream, StreamHandlers, Timer } from '../core/index.ts';
import { DeviceError } from '../device/index.ts';
import { agree, type Terms, type Wishes } from './client-handshake.ts';
import { ReplyDecoder, type ReplySink } from './client-reply.ts';
import { COMMAND_DISCONNECT, COMMAND_WRITE, FLAG_PAYLOAD_LENGTH } from './constants.ts';
import { deviceError } from './error-numbers.ts';
import { NbdError } from './errors.ts';
import { closedEarly, Inbound } from './inbound.ts';
import { OPERATIONS_QUEUED_MAX, REQUESTS_IN_FLIGHT_MAX } from './limits.ts';
import type { Operation } from './operation.ts';
import { STYLE_EXTENDED } from './reply-codec.ts';
import { emptyRequest, putRequest, requestBytes } from './request-codec.ts';

/** How often deadlines are looked at, as a part of the deadline. */
const DEADLINE_CHECKS = 4;
/** What a server gets to close its side after DISC. */
const GOODBYE_TIMEOUT_MS = 5_000;

/** Is told how a connection fares. */
export interface ConnectionWatcher {
  /** It succeeded, and its caller has not been told yet: its buffer is still there. */
  onDone(operation: Operation): void;
  /** Nothing is in flight any more. */
  onIdle(): void;
  /** The connection has ended; `operations` are unsettled, and the watcher's from here on. */
  onLost(connection: ClientConnection, operations: readonly Operation[], reason: unknown): void;
}

/** Turns a connection's stream into a secure one; undefined if nobody asked for TLS. */
export type Securing = ((stream: Stream) => Promise<Stream>) | undefined;

export type Timeouts = { readonly connectMs: number; readonly answerMs: number };

/** Connects, agrees on `wishes`, and hands over; every failure is an NbdError or EnvError. */
export async function openConnection(
  env: Env,
  open: () => Promise<Stream>,
  wishes: Wishes,
  timeouts: Timeouts,
  securing: Securing,
): Promise<ClientConnection> {
  const stream = await open();
  const connection = new ClientConnection(env, stream, timeouts);
  try {
    await connection.handshake(wishes, securing);
    return connection;
  } catch (error) {
    connection.abandon();
    throw error;
  }
}

export class ClientConnection implements ReplySink {
  readonly #env: Env;
  #stream: Stream;
  readonly #timeouts: Timeouts;
  readonly #inbound: Inbound;
  readonly #closed = Promise.withResolvers<void>();
  #decoder: ReplyDecoder | undefined;
  #terms: Terms | undefined;
  /** By cookie: the low half is the slot, the high half tells its users apart. */
  readonly #slots: (Operation | undefined)[] = [];
  readonly #generations: number[] = [];
  readonly #free: number[] = [];
  #queue: Operation[] = [];
  #unsent: Operation[] = [];
  readonly #unsentSlots: number[] = [];
  #sendIsDue = false;
  #count = 0;
  #failure: unknown;
  #isClosed = false;
  #timer: Timer | undefined;
  watcher: ConnectionWatcher | undefined;

  constructor(env: Env, stream: Stream, timeouts: Timeouts) {
    this.#env = env;
    this.#stream = stream;
    this.#timeouts = timeouts;
    this.#inbound = new Inbound(stream);
    stream.start(this.#handlers());
  }

  #handlers(): StreamHandlers {
    return {
      onBytes: (view) => this.#onBytes(view),
      onDrained: () => {},
      onEnd: () => this.#fail(closedEarly(this.#stream.peer)),
      onClosed: (error) => this.#onClosed(error),
    };
  }

  get terms(): Terms {
    return this.#terms!;
  }

  /** Why it is not usable. */
  get failure(): unknown {
    return this.#failure;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get isUsable(): boolean {
    return this.#failure === undefined;
  }

  /** Requests in flight and waiting. */
  get load(): number {
    return this.#count + this.#queue.length;
  }

  async handshake(wishes: Wishes, securing: Securing): Promise<void> {
    const { connectMs } = this.#timeouts;
    const limit = this.#env.clock.after(connectMs, () => {
      this.#inbound.fail(
        new NbdError('NBD_TIMEOUT', `${this.#stream.peer}: no agreement in ${connectMs} ms`, {
          hint: 'Look at the server; it may be stuck.',
        }),
      );
    });
    const secure = securing && (() => this.#secure(securing));
    try {
      this.#terms = await agree(this.#stream, this.#inbound, wishes, secure);
    } finally {
      limit.cancel();
    }
    this.#decoder = new ReplyDecoder(this.#terms.style, this);
    const early = this.#inbound.rest();
    if (early.byteLength > 0) this.#onBytes(early);
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #secure(securing: (stream: Stream) => Promise<Stream>): Promise<Stream> {
    try {
      const secured = await securing(this.#stream);
      this.#stream = secured;
      this.#inbound.moveTo(secured);
      secured.start(this.#handlers());
      return secured;
    } catch (error) {
      this.#onClosed(undefined); // The stream is gone, and tells nobody.
      throw error;
    }
  }

  /** Settles when the server has answered; then nobody looks at the operation's buffer any more. */
  submit(operation: Operation): Promise<void> {
    const isFull = this.#queue.length >= OPERATIONS_QUEUED_MAX;
    if (this.#failure !== undefined || isFull) {
      const message = `${this.#stream.peer}: more than ${OPERATIONS_QUEUED_MAX} calls wait`;
      const hint = 'Wait for some before making more.';
      const full = new DeviceError('DEVICE_IO', message, { hint });
      operation.reject(this.#failure === undefined ? full : this.lostError());
      return operation.settled;
    }
    operation.startedMs = this.#env.clock.monotonicMs();
    if (this.#count >= REQUESTS_IN_FLIGHT_MAX) this.#queue.push(operation);
    else this.#start(operation);
    return operation.settled;
  }

  find(cookieHigh: number, cookieLow: number): Operation | undefined {
    if (this.#generations[cookieLow] !== cookieHigh) return undefined;
    const operation = this.#slots[cookieLow];
    return operation === undefined || operation.isAnswered ? undefined : operation;
  }

  onComplete(operation: Operation): void {
    operation.isAnswered = true;
    if (!operation.isBeingSent) this.#settle(operation);
  }

  /** Says goodbye and waits for the end, at most for a while. Nothing may be in flight. */
  async close(): Promise<void> {
    if (this.#failure === undefined) {
      const request = emptyRequest();
      request.command = COMMAND_DISCONNECT;
      const extended = this.terms.style === STYLE_EXTENDED;
      const bytes = new Uint8Array(requestBytes(extended));
      putRequest(bytes, 0, request, extended);
      this.#stream.write([bytes]);
      this.#failure = closedEarly('this client');
    }
    this.#stream.end();
    const limit = this.#env.clock.after(GOODBYE_TIMEOUT_MS, () => this.#stream.destroy());
    await this.#closed.promise;
    limit.cancel();
  }

  /** Ends it at once; whatever is in flight fails. */
  abandon(): void {
    this.#fail(closedEarly('this client'));
  }

  #onBytes(view: Uint8Array): void {
    if (this.#failure !== undefined) return;
    if (this.#decoder === undefined) {
      this.#inbound.onBytes(view);
      return;
    }
    try {
      this.#decoder.feed(view);
    } catch (error) {
      this.#fail(error);
    }
  }

  #start(operation: Operation): void {
    const slot = this.#free.pop() ?? this.#slots.length;
    this.#slots[slot] = operation;
    this.#generations[slot] = ((this.#generations[slot] ?? 0) + 1) >>> 0;
    this.#count += 1;
    this.#unsent.push(operation);
    this.#unsentSlots.push(slot);
    this.#armTimer();
    if (this.#sendIsDue) return;
    this.#sendIsDue = true;
    queueMicrotask(() => this.#send());
  }

  /** Everything that was submitted in one turn leaves in one system call. */
  #send(): void {
    this.#sendIsDue = false;
    const operations = this.#unsent;
    const slots = this.#unsentSlots.splice(0);
    this.#unsent = [];
    if (this.#failure !== undefined || operations.length === 0) return;
    const extended = this.terms.style === STYLE_EXTENDED;
    const headerBytes = requestBytes(extended);
    const headers = new Uint8Array(operations.length * headerBytes);
    const buffers: Uint8Array[] = [];
    const request = emptyRequest();
    operations.forEach((operation, index) => {
      const isWrite = operation.command === COMMAND_WRITE;
      request.flags = operation.flags | (extended && isWrite ? FLAG_PAYLOAD_LENGTH : 0);
      request.command = operation.command;
      request.cookieHigh = this.#generations[slots[index]!]!;
      request.cookieLow = slots[index]!;
      request.offsetBytes = operation.offsetBytes;
      request.lengthBytes = operation.lengthBytes;
      const at = index * headerBytes;
      buffers.push(headers.subarray(at, putRequest(headers, at, request, extended)));
      if (operation.source === undefined) return;
      operation.isBeingSent = true;
      buffers.push(operation.source);
    });
    this.#stream.write(buffers, () => {
      for (const operation of operations) {
        operation.isBeingSent = false;
        if (operation.isAnswered) this.#settle(operation);
      }
    });
  }

  #settle(operation: Operation): void {
    const slot = this.#slots.indexOf(operation);
    if (slot < 0) return; // Settled by a failure meanwhile.
    this.#slots[slot] = undefined;
    this.#free.push(slot);
    this.#count -= 1;
    this.#finish(operation);
    const next = this.#queue.shift();
    if (next !== undefined) this.#start(next);
    else if (this.#count === 0) this.watcher?.onIdle();
  }

  #finish(operation: Operation): void {
    if (operation.error === 0) {
      this.watcher?.onDone(operation);
      operation.resolve();
    } else operation.reject(deviceError(operation.error, this.#stream.peer));
  }

  #armTimer(): void {
    if (this.#timer !== undefined) return;
    const { answerMs } = this.#timeouts;
    this.#timer = this.#env.clock.after(answerMs / DEADLINE_CHECKS, () => {
      this.#timer = undefined;
      const latestMs = this.#env.clock.monotonicMs() - answerMs;
      const isLate = this.#slots.some(
        (operation) => (operation?.startedMs ?? Infinity) <= latestMs,
      );
      if (isLate) {
        const message = `${this.#stream.peer} did not answer within ${answerMs} ms`;
        this.#fail(new NbdError('NBD_TIMEOUT', message, { hint: 'Look at the server.' }));
      } else if (this.#count > 0) this.#armTimer();
    });
  }

  /** Nothing that the server said is believed from here on. */
  #fail(error: unknown): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#inbound.fail(error);
    this.#stream.destroy();
  }

  /** Only now are the callers told: until here the kernel could still read from their buffers. */
  #onClosed(error: EnvError | undefined): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#failure ??= error ?? closedEarly(this.#stream.peer);
    this.#inbound.fail(this.#failure);
    const operations = [...this.#slots, ...this.#queue];
    this.#slots.length = 0;
    this.#queue = [];
    this.#unsent = [];
    this.#count = 0;
    const unanswered: Operation[] = [];
    for (const operation of operations) {
      if (operation?.isAnswered === true) this.#finish(operation);
      else if (operation !== undefined) unanswered.push(operation);
    }
    if (this.watcher !== undefined) this.watcher.onLost(this, unanswered, this.#failure);
    else for (const operation of unanswered) operation.reject(this.lostError());
    this.#closed.resolve();
  }

  /** For calls that cannot be made good. */
  lostError(): DeviceError {
    const reason = this.#failure instanceof Error ? this.#failure.message : 'it ended';
    const code = this.#isClosed ? 'DEVICE_CLOSED' : 'DEVICE_IO';
    return new DeviceError(code, `the connection to ${this.#stream.peer} is lost: ${reason}`, {
      hint: 'Look at the server, then open the device again.',
      cause: this.#failure,
    });
  }
}
