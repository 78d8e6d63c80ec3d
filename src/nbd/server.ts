/** The NBD server: listens, keeps its connections, and ends with flushed data. */
import type { Address, Env, Listener, Stream } from '../core/index.ts';
import { Connections } from './connections.ts';
import type { Exports } from './exports.ts';
import { CLOSE_TIMEOUT_MS, CONNECTIONS_MAX } from './limits.ts';
import type { ServeTlsOptions } from './tls.ts';
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

export async function serve(env: Env, options: ServeOptions): Promise<NbdServer> {
  const server = new Server(env, options);
  await server.listen();
  return server;
}

class Server implements NbdServer {
  readonly #env: Env;
  readonly #options: ServeOptions;
  readonly #connections: Connections;
  #listener: Listener | undefined;
  #closing: Promise<void> | undefined;

  constructor(env: Env, options: ServeOptions) {
    this.#env = env;
    this.#options = options;
    this.#connections = new Connections(env, options);
  }

  async listen(): Promise<void> {
    this.#listener = await this.#env.net.listen(this.#options.address, (stream) =>
      this.#accept(stream),
    );
  }

  get address(): Address {
    return this.#listener!.address;
  }

  get uri(): string {
    return this.uriOf('');
  }

  uriOf(exportName: string): string {
    const tls = this.#options.tls?.mode === 'require';
    return formatUri({ address: this.address, tls, exportName });
  }

  get connectionCount(): number {
    return this.#connections.count;
  }

  #accept(stream: Stream): void {
    if (this.connectionCount >= (this.#options.connectionsMax ?? CONNECTIONS_MAX)) {
      stream.destroy();
      return;
    }
    void this.#connections.serve(stream).then((trouble) => {
      if (trouble !== undefined) this.#options.onTrouble?.(stream.peer, trouble);
    });
  }

  close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    await Promise.all([this.#listener?.close(), this.#connections.close(timeoutMs)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
