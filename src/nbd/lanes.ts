/** The connections of one device: shares calls out, and makes good the loss of a connection. */
import { type Env, EnvError, hasCode, messageOf } from '../core/index.ts';
import { DeviceError } from '../device/index.ts';
import type { ClientConnection, ConnectionWatcher } from './client-connection.ts';
import { COMMAND_BLOCK_STATUS, COMMAND_FLUSH, COMMAND_READ } from './constants.ts';
import {
  OPERATIONS_QUEUED_MAX,
  RECONNECT_FIRST_PAUSE_MS,
  RECONNECT_PAUSE_MAX_MS,
  REPEATS_AT_ONCE,
  REPLAYS_MAX,
} from './limits.ts';
import { Operation } from './operation.ts';
import type { WriteLog } from './write-log.ts';

export type LaneOptions = {
  readonly env: Env;
  /** Connects once more, to the same export; fails if it has become another. */
  readonly open: () => Promise<ClientConnection>;
  /** How long a server may be away; 0: a loss is final. */
  readonly reconnectMs: number;
  /** From a call until it fails, however often it was sent. */
  readonly callMs: number;
  /** Undefined if a server's flush promises nothing, or nothing is written. */
  readonly log: WriteLog | undefined;
};

/**
 * After a loss: new calls wait; what is in flight on other connections is let finish; the lost ones
 * are opened again; what was acknowledged but not flushed is written again in its order; then the
 * calls whose answers were lost are sent again, then those that waited. So a flush that succeeds
 * covers what was acknowledged before, even if the server forgot it in between.
 */
export class Lanes implements ConnectionWatcher {
  readonly #options: LaneOptions;
  readonly #wanted: number;
  #connections: ClientConnection[];
  /** Sent without an answer, and waiting: to be sent once there are connections. */
  #lost: Operation[] = [];
  #held: Operation[] = [];
  #isRecovering = false;
  #isFlushing = false;
  #failure: unknown;
  #onQuiet: (() => void) | undefined;
  #wake: (() => void) | undefined;
  /** A flush that failed says that acknowledged writes may be lost: nothing makes that good. */
  hasFailedFlush = false;

  constructor(connections: readonly ClientConnection[], options: LaneOptions) {
    this.#connections = [...connections];
    this.#wanted = connections.length;
    this.#options = options;
    for (const connection of connections) {
      connection.watcher = this;
      // It may have been lost before anybody watched.
      if (connection.isClosed) this.onLost(connection, [], connection.failure);
    }
  }

  submit(operation: Operation): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    operation.callStartedMs = this.#options.env.clock.monotonicMs();
    if (!this.#mustWait(operation)) void this.#pick().submit(operation);
    else if (this.#held.length < OPERATIONS_QUEUED_MAX) this.#held.push(operation);
    else {
      return Promise.reject(
        new DeviceError('DEVICE_IO', `more than ${OPERATIONS_QUEUED_MAX} calls wait`, {
          hint: 'Wait for some before making more.',
        }),
      );
    }
    return operation.settled;
  }

  async flush(): Promise<void> {
    const { log } = this.#options;
    const mark = log?.mark() ?? 0;
    const nothing = { flags: 0, offsetBytes: 0, lengthBytes: 0 };
    try {
      await this.submit(new Operation({ command: COMMAND_FLUSH, ...nothing }));
    } catch (error) {
      this.hasFailedFlush = true;
      throw error;
    }
    log?.forget(mark);
    if (!this.#isRecovering) this.#sendHeld();
  }

  async close(): Promise<void> {
    this.#failure ??= closedError();
    this.#wake?.();
    this.#rejectAll(this.#failure);
    await Promise.all(this.#connections.map((connection) => connection.close()));
  }

  // ConnectionWatcher

  onDone(operation: Operation): void {
    const { log } = this.#options;
    if (log === undefined || operation.isRepeat || !isChange(operation)) return;
    log.add(operation);
    if (log.isHalfFull && !this.#isFlushing && !this.hasFailedFlush) void this.#flushSoon();
  }

  onIdle(): void {
    if (this.#connections.every(({ load }) => load === 0)) this.#onQuiet?.();
  }

  onLost(connection: ClientConnection, operations: readonly Operation[], reason: unknown): void {
    this.#connections = this.#connections.filter((other) => other !== connection);
    for (const operation of operations) {
      if (operation.isRepeat) operation.reject(reason);
      else this.#lost.push(operation);
    }
    this.#lose(isTransient(reason) ? undefined : connection.lostError());
    if (this.#options.reconnectMs === 0) this.#end(connection.lostError());
    this.onIdle();
  }

  #lose(final: unknown): void {
    if (this.#failure !== undefined) this.#rejectAll(this.#failure);
    else if (final !== undefined) this.#end(final);
    else if (!this.#isRecovering && this.#options.reconnectMs > 0) void this.#recover();
  }

  // Sharing out

  #mustWait(operation: Operation): boolean {
    if (this.#isRecovering || this.#connections.some(({ isUsable }) => !isUsable)) return true;
    return this.#options.log?.isFull === true && isChange(operation) && !this.hasFailedFlush;
  }

  /** The connection that has least to do. */
  #pick(): ClientConnection {
    let best = this.#connections[0]!;
    for (const connection of this.#connections) {
      if (connection.load < best.load) best = connection;
    }
    return best;
  }

  #sendHeld(): void {
    const waiting = this.#held;
    this.#held = [];
    for (const operation of waiting) {
      if (this.#mustWait(operation)) this.#held.push(operation);
      else void this.#pick().submit(operation);
    }
  }

  /** Keeps the log short; a failure is told by the next flush that somebody waits for. */
  async #flushSoon(): Promise<void> {
    this.#isFlushing = true;
    await this.flush().catch(() => this.#isRecovering || this.#sendHeld());
    this.#isFlushing = false;
  }

  // Making good

  async #recover(): Promise<void> {
    this.#isRecovering = true;
    const { clock } = this.#options.env;
    const untilMs = clock.monotonicMs() + this.#options.reconnectMs;
    let pauseMs = RECONNECT_FIRST_PAUSE_MS;
    for (;;) {
      try {
        await this.#reopen();
        await this.#repeatLog();
        break;
      } catch (error) {
        if (this.#failure !== undefined) return;
        if (!isTransient(error) || clock.monotonicMs() + pauseMs >= untilMs) {
          this.#end(goneError(error));
          return;
        }
        await this.#pause(pauseMs);
        pauseMs = Math.min(pauseMs * 2, RECONNECT_PAUSE_MAX_MS);
      }
    }
    if (this.#failure !== undefined) return;
    this.#isRecovering = false;
    this.#resend(clock.monotonicMs());
    this.#sendHeld();
  }

  /** One connection is enough to go on with; a server may have become less generous. */
  async #reopen(): Promise<void> {
    await this.#quiet();
    if (this.#failure !== undefined) throw this.#failure;
    while (this.#connections.length < this.#wanted) {
      let next: ClientConnection;
      try {
        next = await this.#options.open();
      } catch (error) {
        if (this.#connections.length > 0 && isTransient(error)) return;
        throw error;
      }
      next.watcher = this;
      this.#connections.push(next);
      if (this.#failure === undefined) continue;
      next.abandon();
      throw this.#failure;
    }
  }

  /** Until nothing is in flight: the log must not overtake a newer write, nor undo it. */
  #quiet(): Promise<void> {
    if (this.#connections.every(({ load }) => load === 0)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onQuiet = () => {
        this.#onQuiet = undefined;
        resolve();
      };
    });
  }

  async #repeatLog(): Promise<void> {
    for (const run of this.#options.log?.runs(REPEATS_AT_ONCE) ?? []) {
      const sent = run.map((operation) => {
        operation.isRepeat = true;
        const connection = this.#connections.find(({ isUsable }) => isUsable);
        return connection?.submit(operation) ?? Promise.reject(lostAgain());
      });
      for (const result of await Promise.allSettled(sent)) {
        if (result.status === 'rejected') throw result.reason;
      }
    }
    // A connection may be lost meanwhile that had no part in this.
    if (this.#connections.length === 0) throw lostAgain();
  }

  #resend(nowMs: number): void {
    const operations = this.#lost;
    this.#lost = [];
    for (const operation of operations) {
      const isLate = nowMs - operation.callStartedMs >= this.#options.callMs;
      operation.replays += 1;
      if (isLate || operation.replays > REPLAYS_MAX) {
        // Perhaps it is this very call that brings the server down.
        operation.reject(
          new DeviceError('DEVICE_IO', `no answer after ${operation.replays} tries`, {
            hint: 'Look at the log of the server.',
          }),
        );
        continue;
      }
      operation.reset();
      this.#held.push(operation);
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      // Nothing else may be there to keep the process from ending.
      const timer = this.#options.env.clock.after(delayMs, resolve, { keepsProcess: true });
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  #end(failure: unknown): void {
    this.#failure ??= failure;
    for (const connection of this.#connections) connection.abandon();
    this.#rejectAll(this.#failure);
  }

  #rejectAll(failure: unknown): void {
    const operations = [...this.#lost, ...this.#held];
    this.#lost = [];
    this.#held = [];
    for (const operation of operations) operation.reject(failure);
  }
}

function isChange({ command }: Operation): boolean {
  return command !== COMMAND_READ && command !== COMMAND_FLUSH && command !== COMMAND_BLOCK_STATUS;
}

/** Losses that time may heal; a server that breaks the protocol will do so again. */
function isTransient(error: unknown): boolean {
  return error instanceof EnvError || hasCode(error, 'NBD_CLOSED') || hasCode(error, 'NBD_TIMEOUT');
}

function lostAgain(): EnvError {
  return new EnvError('ENV_CLOSED', 'the connection was lost again', { hint: 'Try again.' });
}

function closedError(): DeviceError {
  return new DeviceError('DEVICE_CLOSED', 'the device is closed', { hint: 'Open it again.' });
}

function goneError(cause: unknown): DeviceError {
  const reason = messageOf(cause);
  return new DeviceError('DEVICE_CLOSED', `a lost connection was not made good: ${reason}`, {
    hint: 'Look at the server, then open the device again.',
    cause,
  });
}
