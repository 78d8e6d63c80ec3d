/** A client of QEMU's Machine Protocol: commands and their answers, one after the other. */
import type { Env, FerryError, Stream } from '../core/index.ts';
import { TrackError } from './errors.ts';

/** The longest answer: that of query-named-block-nodes, for some hundred nodes. */
const LINE_BYTES_MAX = 16 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** A command may wait for the guest's requests to drain. */
const COMMAND_TIMEOUT_MS = 60_000;

type Message = Readonly<Record<string, unknown>>;
type Waiting = { resolve(value: unknown): void; reject(error: unknown): void };

/** What QEMU refuses is TRACK_QMP, with its words. */
export class Qmp implements AsyncDisposable {
  readonly #env: Env;
  readonly #stream: Stream;
  readonly #path: string;
  readonly #decoder = new TextDecoder();
  #text = '';
  #nextId = 1;
  #failure: FerryError | undefined;
  readonly #waiting = new Map<number, Waiting>();
  readonly #greeted = Promise.withResolvers<unknown>();

  private constructor(env: Env, stream: Stream, path: string) {
    this.#env = env;
    this.#stream = stream;
    this.#path = path;
    this.#greeted.promise.catch(() => undefined); // Whoever waits hears of it through `execute`.
    stream.start({
      onBytes: (view) => this.#receive(view),
      onDrained: () => {},
      onEnd: () => this.#fail(this.#error('it hung up')),
      onClosed: (error) => this.#fail(error ?? this.#error('it hung up')),
    });
  }

  static async connect(env: Env, path: string): Promise<Qmp> {
    const stream = await env.net.connect({ kind: 'unix', path }, CONNECT_TIMEOUT_MS);
    const qmp = new Qmp(env, stream, path);
    try {
      await qmp.#within(CONNECT_TIMEOUT_MS, 'its greeting', qmp.#greeted.promise);
      await qmp.execute('qmp_capabilities');
      return qmp;
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  async execute(command: string, values: Message = {}): Promise<unknown> {
    if (this.#failure !== undefined) throw this.#failure;
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#waiting.set(id, { resolve, reject });
    const line = JSON.stringify({ execute: command, arguments: values, id });
    this.#stream.write([new TextEncoder().encode(`${line}\n`)]);
    try {
      return await this.#within(COMMAND_TIMEOUT_MS, `an answer to ${command}`, promise);
    } finally {
      this.#waiting.delete(id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#fail(this.#error('it was closed'));
    this.#stream.destroy();
  }

  async #within<T>(timeoutMs: number, what: string, promise: Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = this.#env.clock.after(
      timeoutMs,
      () => reject(this.#error(`${what} did not come within ${timeoutMs / 1000} s`)),
      { keepsProcess: true },
    );
    try {
      return await Promise.race([promise, late]);
    } finally {
      timer.cancel();
    }
  }

  #receive(view: Uint8Array): void {
    this.#text += this.#decoder.decode(view, { stream: true });
    if (this.#text.length > LINE_BYTES_MAX) {
      this.#fail(this.#error('its answer is too long'));
      this.#stream.destroy();
      return;
    }
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) {
      if (line.trim() !== '') this.#message(line);
    }
  }

  #message(line: string): void {
    let message: Message;
    try {
      message = Object(JSON.parse(line));
    } catch {
      this.#fail(this.#error('what it says is not JSON'));
      return;
    }
    if ('QMP' in message) this.#greeted.resolve(message.QMP);
    const waiting = typeof message.id === 'number' ? this.#waiting.get(message.id) : undefined;
    if (waiting === undefined) return; // An event, or an answer that came too late.
    if ('return' in message) waiting.resolve(message.return);
    else waiting.reject(this.#error(String(Object(message.error).desc)));
  }

  #fail(failure: FerryError): void {
    this.#failure ??= failure;
    this.#greeted.reject(this.#failure);
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
  }

  #error(what: string): FerryError {
    return new TrackError('TRACK_QMP', `QEMU at ${this.#path}: ${what}`, {
      hint: 'Look at its monitor (query-block, query-jobs), and whether another program uses it.',
    });
  }
}
