/** The worker threads of one server: hands sockets out, follows deaths, starts anew. */
import { type Env, type FerryError, siblingModule, type WorkerPort } from '../../core/index.ts';
import { NbdError } from '../errors.ts';
import { releaseThread } from './guarded.ts';
import { RESTARTS_MAX, THREAD_END_TIMEOUT_MS } from './limits.ts';
import { type FromWorker, failureOf, type ToWorker, type WorkerStart } from './messages.ts';

export type CrewOptions = Pick<WorkerStart, 'exports' | 'tls' | 'heldBytesMax'> & {
  readonly threads: number;
  /** Who it is about, a peer or a thread, and what happened. */
  readonly onTrouble: (who: string, error: unknown) => void;
  /** No thread is left, and none will be started. */
  readonly onFailure: (error: NbdError) => void;
};

/** A socket that was sent to a worker, by number; `index` counts from the worker's first. */
type Sent = { readonly index: number; readonly descriptor: number };

type Worker = {
  readonly thread: number;
  readonly port: WorkerPort;
  readonly adopted: Int32Array;
  readonly opened: PromiseWithResolvers<void>;
  readonly ended: PromiseWithResolvers<void>;
  /** Connections that it serves, or is about to, by id. */
  readonly peers: Map<number, string>;
  sentCount: number;
  /** Perhaps not taken over yet. */
  sent: Sent[];
  isOver: boolean;
};

export class Crew {
  readonly #env: Env;
  readonly #options: CrewOptions;
  readonly #workers = new Map<number, Worker>();
  readonly #burials = new Set<Promise<void>>();
  #nextId = 0;
  #restarts = 0;
  /** Threads that ended and were not started again. */
  #goneCount = 0;
  #hasStarted = false;
  #isClosing = false;

  constructor(env: Env, options: CrewOptions) {
    this.#env = env;
    this.#options = options;
  }

  /** Resolves when every thread has opened the devices; fails with the first failure. */
  async start(): Promise<void> {
    const threads = Array.from({ length: this.#options.threads }, (_, thread) => thread);
    const workers = threads.map((thread) => this.#begin(thread, false));
    try {
      await Promise.all(workers.map((worker) => worker.opened.promise));
      this.#hasStarted = true;
    } catch (error) {
      this.#isClosing = true;
      await Promise.all(workers.map((worker) => worker.port.terminate()));
      throw error;
    }
  }

  get connectionCount(): number {
    let count = 0;
    for (const worker of this.#workers.values()) count += worker.peers.size;
    return count;
  }

  /** To the thread with the fewest connections. False: there is none to take it. */
  hand(descriptor: number, peer: string): boolean {
    let best: Worker | undefined;
    for (const worker of this.#workers.values()) {
      if (best === undefined || worker.peers.size < best.peers.size) best = worker;
    }
    if (best === undefined || this.#isClosing) return false;
    const id = this.#nextId++;
    best.peers.set(id, peer);
    best.sent = notAdopted(best);
    best.sent.push({ index: best.sentCount, descriptor });
    best.sentCount += 1;
    tell(best, { kind: 'take', id, descriptor, peer });
    return true;
  }

  /** Resolves when every thread has ended, of itself or, after the time, by force. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosing = true;
    const workers = [...this.#workers.values()];
    for (const worker of workers) tell(worker, { kind: 'close', timeoutMs });
    const ended = Promise.all(workers.map((worker) => worker.ended.promise));
    await this.#within(timeoutMs + THREAD_END_TIMEOUT_MS, ended);
    // A thread that hangs in a call to the kernel cannot even be terminated.
    const over = Promise.all(workers.map((worker) => this.#terminate(worker)));
    await this.#within(THREAD_END_TIMEOUT_MS, Promise.all([over, ...this.#burials]));
  }

  #begin(thread: number, flushFirst: boolean): Worker {
    const { exports, tls, heldBytesMax } = this.#options;
    const adopted = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
    const worker: Worker = {
      thread,
      port: this.#env.workers.start(siblingModule(import.meta.url, 'serving-worker'), {
        onMessage: (message) => this.#hear(worker, message as FromWorker),
        onError: (error) => this.#lose(worker, error),
      }),
      adopted: new Int32Array(adopted),
      opened: Promise.withResolvers(),
      ended: Promise.withResolvers(),
      peers: new Map(),
      sentCount: 0,
      sent: [],
      isOver: false,
    };
    worker.opened.promise.catch(() => undefined); // `start` looks at the first ones only.
    this.#workers.set(thread, worker);
    tell(worker, { kind: 'start', thread, exports, tls, heldBytesMax, adopted, flushFirst });
    return worker;
  }

  #hear(worker: Worker, message: FromWorker): void {
    if (message.kind === 'ready') worker.opened.resolve();
    else if (message.kind === 'failed') this.#lose(worker, failureOf(message.failure));
    else if (message.kind === 'closed') worker.ended.resolve();
    else {
      const peer = worker.peers.get(message.id) ?? 'unknown';
      worker.peers.delete(message.id);
      if (message.trouble !== undefined) {
        this.#options.onTrouble(peer, failureOf(message.trouble));
      }
    }
  }

  /** Once per worker: it has died, or could not begin. */
  #lose(worker: Worker, cause: FerryError): void {
    if (worker.isOver) return;
    worker.isOver = true;
    this.#workers.delete(worker.thread);
    const count = worker.peers.size;
    worker.opened.reject(cause);
    worker.ended.resolve();
    if (this.#hasStarted) {
      const error = lost(worker, count, cause, this.#restarts < RESTARTS_MAX);
      this.#options.onTrouble(`thread ${worker.thread + 1}`, error);
    }
    const burial = this.#bury(worker, cause).finally(() => this.#burials.delete(burial));
    this.#burials.add(burial);
  }

  /** What it held is free only when nothing of it runs any more. */
  async #bury(worker: Worker, cause: FerryError): Promise<void> {
    await this.#terminate(worker);
    if (this.#isClosing) return;
    if (this.#restarts < RESTARTS_MAX) {
      this.#restarts += 1;
      this.#begin(worker.thread, true);
      return;
    }
    this.#goneCount += 1;
    if (this.#goneCount < this.#options.threads) return;
    this.#options.onFailure(
      new NbdError('NBD_THREAD', `no thread is left after ${this.#restarts} restarts`, {
        hint: 'Find what ends them, and start the server again.',
        cause,
      }),
    );
  }

  async #terminate(worker: Worker): Promise<void> {
    worker.isOver = true;
    await worker.port.terminate();
    for (const { descriptor } of notAdopted(worker)) this.#env.net.discard(descriptor);
    worker.sent = [];
    worker.peers.clear();
    for (const { memory } of this.#options.exports) releaseThread(memory, worker.thread);
  }

  async #within(timeoutMs: number, ended: Promise<unknown>): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = this.#env.clock.after(timeoutMs, late.resolve, { keepsProcess: true });
    await Promise.race([ended, late.promise]);
    timer.cancel();
  }
}

function tell(worker: Worker, message: ToWorker): void {
  worker.port.post(message);
}

function notAdopted(worker: Worker): Sent[] {
  const count = Atomics.load(worker.adopted, 0);
  return worker.sent.filter(({ index }) => index >= count);
}

function lost(worker: Worker, count: number, cause: FerryError, goesOn: boolean): NbdError {
  const message = `thread ${worker.thread + 1} ended, with ${count} connections: ${cause.message}`;
  const hint = goesOn
    ? 'Another takes its place; its clients can connect again.'
    : 'It is not started again: too many have ended.';
  return new NbdError('NBD_THREAD', message, { hint, cause });
}
