/** The NBD server: listens, keeps its connections, and ends with flushed data. */
import type { Address, Env, Listener, Stream, Timer } from '../core/index.ts';
import type { Shared } from './agreement.ts';
import { Budget } from './budget.ts';
import { Connection } from './connection.ts';
import { type Exports, ExportTable } from './exports.ts';
import { JobPool } from './jobs.ts';
import { CLOSE_TIMEOUT_MS, CONNECTIONS_MAX, SERVER_HELD_BYTES_MAX } from './limits.ts';
import { SlabPool } from './slabs.ts';
import { type ServerTls, type ServeTlsOptions, serverTls } from './tls.ts';
import { formatUri } from './uri.ts';

export type ServeOptions = {
  readonly address: Address;
  readonly exports: Exports;
  /** Told about each connection that ended badly; for logs. */
  readonly onTrouble?: (peer: string, error: unknown) => void;
  /** Payload bytes that all connections hold together. */
  readonly heldBytesMax?: number;
  readonly connectionsMax?: number;
  /** Without it the server speaks in the clear only. */
  readonly tls?: ServeTlsOptions;
};

/** Disposing it closes it. The devices stay the caller's. */
export interface NbdServer extends AsyncDisposable {
  readonly address: Address;
  /** Of the default export. */
  readonly uri: string;
  uriOf(exportName: string): string;
  /** Open connections, those in the handshake included. */
  readonly connectionCount: number;
  /**
   * Takes no more connections and requests, answers those in flight, flushes the devices that had
   * clients, and closes. What has not ended after `timeoutMs` is cut off. Twice is harmless.
   */
  close(timeoutMs?: number): Promise<void>;
}

/** Between two looks at clients that hold memory others wait for. */
const SWEEP_MS = 10_000;

export async function serve(env: Env, options: ServeOptions): Promise<NbdServer> {
  const server = new Server(env, options);
  await server.listen();
  return server;
}

class Server implements NbdServer {
  readonly #env: Env;
  readonly #options: ServeOptions;
  readonly #table: ExportTable;
  readonly #shared: Shared;
  readonly #tls: ServerTls | undefined;
  readonly #connections = new Set<Connection>();
  #listener: Listener | undefined;
  #sweep: Timer | undefined;
  #closing: Promise<void> | undefined;

  constructor(env: Env, options: ServeOptions) {
    this.#env = env;
    this.#options = options;
    this.#table = new ExportTable(options.exports);
    const budget = new Budget(options.heldBytesMax ?? SERVER_HELD_BYTES_MAX);
    this.#tls = options.tls && serverTls(env.net, options.tls);
    this.#shared = { slabs: new SlabPool(), jobs: new JobPool(), budget };
  }

  async listen(): Promise<void> {
    this.#listener = await this.#env.net.listen(this.#options.address, (stream) =>
      this.#accept(stream),
    );
    this.#armSweep();
  }

  get address(): Address {
    return this.#listener!.address;
  }

  get uri(): string {
    return this.uriOf('');
  }

  uriOf(exportName: string): string {
    return formatUri({ address: this.address, tls: this.#tls?.isRequired === true, exportName });
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  #accept(stream: Stream): void {
    const limit = this.#options.connectionsMax ?? CONNECTIONS_MAX;
    const connection = new Connection(this.#env, stream, this.#table, this.#shared, this.#tls);
    if (this.#connections.size >= limit || this.#closing !== undefined) {
      connection.refuse();
      return;
    }
    this.#connections.add(connection);
    void connection.run().then((trouble) => {
      this.#connections.delete(connection);
      if (trouble !== undefined) this.#options.onTrouble?.(stream.peer, trouble);
    });
  }

  /** While somebody waits for memory, clients that hold some and stand still are cut off. */
  #armSweep(): void {
    this.#sweep = this.#env.clock.after(SWEEP_MS, () => {
      for (const connection of this.#connections) {
        connection.checkProgress(this.#shared.budget.isContended);
      }
      this.#armSweep();
    });
  }

  close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    this.#sweep?.cancel();
    const deadline = this.#env.clock.after(timeoutMs, () => {
      for (const connection of this.#connections) connection.cutOff();
    });
    const endings = [...this.#connections].map((connection) => connection.stop());
    await Promise.all([this.#listener?.close(), ...endings]);
    deadline.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
