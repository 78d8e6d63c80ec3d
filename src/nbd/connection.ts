/** One client from its first byte to its last: handshake, transmission, flush, end. */
import type { Env, EnvError, Stream, StreamHandlers } from '../core/index.ts';
import type { Agreement, Shared } from './agreement.ts';
import { NbdError } from './errors.ts';
import { ClientExports, type ExportTable } from './exports.ts';
import { closedEarly, Inbound } from './inbound.ts';
import { HANDSHAKE_TIMEOUT_MS, PROGRESS_BYTES_MIN, TLS_TIMEOUT_MS } from './limits.ts';
import { negotiate, type Upgrade } from './server-handshake.ts';
import type { ServerTls } from './tls.ts';
import { Transmission } from './transmission.ts';

/** What a client gets to take its last replies and close its side. */
const FAREWELL_TIMEOUT_MS = 10_000;

export class Connection {
  readonly #env: Env;
  #stream: Stream;
  readonly #table: ClientExports;
  readonly #shared: Shared;
  readonly #tls: ServerTls | undefined;
  readonly #inbound: Inbound;
  readonly #closed = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #transmission: Transmission | undefined;
  #isStopping = false;
  #isSecuring = false;
  #isClosed = false;
  #hasEnded = false;
  #isLeaving = false;
  #trouble: EnvError | undefined;
  #lastProgressBytes = 0;
  #wasSlow = false;

  constructor(
    env: Env,
    stream: Stream,
    table: ExportTable,
    shared: Shared,
    tls: ServerTls | undefined,
  ) {
    this.#env = env;
    this.#stream = stream;
    this.#table = new ClientExports(table);
    this.#shared = shared;
    this.#tls = tls;
    this.#inbound = new Inbound(stream);
    stream.start(this.#handlers());
  }

  #handlers(): StreamHandlers {
    return {
      onBytes: (view) => {
        if (this.#transmission !== undefined) this.#transmission.onBytes(view);
        else this.#inbound.onBytes(view);
      },
      onDrained: () => this.#transmission?.onDrained(),
      onEnd: () => this.#onEnd(),
      onClosed: (error) => this.#onClosed(error),
    };
  }

  /** Too many are connected already. */
  refuse(): void {
    this.#stream.destroy();
  }

  /** Resolves when all is over, with what went wrong if anything did. */
  async run(): Promise<unknown> {
    let trouble: unknown;
    let flushed: Promise<unknown> | undefined;
    try {
      const agreement = await this.#handshake();
      if (agreement !== undefined) {
        await this.#serve(agreement);
        flushed = this.#flush(agreement);
      }
    } catch (error) {
      trouble = error;
    }
    // The peer need not wait for what it has not asked for.
    await this.#farewell(trouble !== undefined);
    trouble ??= await flushed;
    await this.#table.close().catch((error: unknown) => {
      trouble ??= error;
    });
    this.#ended.resolve();
    return trouble ?? this.#trouble;
  }

  /** Takes no more requests; resolves when the connection has ended. */
  stop(): Promise<void> {
    this.#isStopping = true;
    if (this.#isSecuring) this.#stream.destroy();
    this.#inbound.fail(closedEarly('this server'));
    this.#transmission?.stop();
    return this.#ended.promise;
  }

  cutOff(): void {
    this.#stream.destroy();
    this.#ended.resolve(); // A device that never answers must not keep the server from ending.
  }

  /**
   * Called now and then; with `isContended` a client that stands still, or drips, at two looks in a
   * row gives its memory up. At one it may just have begun.
   */
  checkProgress(isContended: boolean): void {
    const transmission = this.#transmission;
    if (transmission === undefined) return;
    const { progressBytes, heldBytes, waitsForPeer } = transmission;
    const movedBytes = progressBytes - this.#lastProgressBytes;
    this.#lastProgressBytes = progressBytes;
    const isSlow = waitsForPeer && movedBytes < Math.min(heldBytes, PROGRESS_BYTES_MIN);
    if (isSlow && this.#wasSlow && isContended) this.#stream.destroy();
    this.#wasSlow = isSlow;
  }

  async #handshake(): Promise<Agreement | undefined> {
    const limit = this.#env.clock.after(HANDSHAKE_TIMEOUT_MS, () => {
      const message = `${this.#stream.peer} took longer than ${HANDSHAKE_TIMEOUT_MS} ms`;
      const hint = 'Look at the client; it may be stuck.';
      this.#inbound.fail(new NbdError('NBD_TIMEOUT', message, { hint }));
      if (this.#isSecuring) this.#stream.destroy();
    });
    try {
      return await negotiate(this.#stream, this.#inbound, this.#table, this.#upgrade());
    } finally {
      limit.cancel();
    }
  }

  #upgrade(): Upgrade | undefined {
    const tls = this.#tls;
    return tls && { isRequired: tls.isRequired, secure: () => this.#secure(tls) };
  }

  async #secure({ tls }: ServerTls): Promise<Stream> {
    this.#isSecuring = true;
    try {
      const options = { hostName: undefined, timeoutMs: TLS_TIMEOUT_MS };
      const secured = await tls.secure(this.#stream, options);
      this.#stream = secured;
      this.#inbound.moveTo(secured);
      secured.start(this.#handlers());
      return secured;
    } catch (error) {
      this.#onClosed(undefined); // The stream is gone, and tells nobody.
      throw error;
    } finally {
      this.#isSecuring = false;
    }
  }

  async #serve(agreement: Agreement): Promise<void> {
    const { shared } = agreement.opened;
    const transmission = new Transmission(this.#stream, this.#shared, agreement);
    this.#transmission = transmission;
    shared.clients += 1;
    transmission.onBytes(this.#inbound.rest());
    // What happened while the agreement was on its way.
    if (this.#isClosed) transmission.onClosed();
    else if (this.#hasEnded || this.#isStopping) transmission.stop();
    await transmission.finished;
    shared.clients -= 1;
  }

  /** After a goodbye and after the last client; resolves with what went wrong, if anything did. */
  async #flush({ opened: { shared, readOnly } }: Agreement): Promise<unknown> {
    const wasDisconnected = this.#transmission?.wasDisconnected === true;
    if (readOnly || !(wasDisconnected || shared.clients === 0 || this.#isStopping)) {
      return undefined;
    }
    try {
      await shared.device.flush();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Sends what is queued and waits for the peer to close too, but not for ever. */
  async #farewell(isAbrupt: boolean): Promise<void> {
    this.#isLeaving = true;
    const limit = this.#env.clock.after(FAREWELL_TIMEOUT_MS, () => this.#stream.destroy());
    if (isAbrupt && this.#transmission !== undefined) this.#stream.destroy();
    else this.#stream.end();
    // What a peer still sends is dropped; its end must be seen.
    this.#inbound.discard();
    if (!this.#hasEnded) this.#stream.resume();
    await this.#closed.promise;
    limit.cancel();
  }

  #onEnd(): void {
    this.#hasEnded = true;
    this.#inbound.fail(closedEarly(this.#stream.peer));
    this.#transmission?.onEnd();
  }

  #onClosed(error: EnvError | undefined): void {
    this.#isClosed = true;
    // Once both sides have said goodbye, how the line goes down is no news.
    if (!this.#isLeaving) this.#trouble = error;
    this.#inbound.fail(error ?? closedEarly(this.#stream.peer));
    this.#transmission?.onClosed();
    this.#closed.resolve();
  }
}
