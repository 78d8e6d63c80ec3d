/** Serves files, block devices or memory over NBD from several threads of this process. */
import { type Address, type Env, isUri, type Listener, type Stream } from '../../core/index.ts';
import { type Device, memoryRegion, openDevice } from '../../device/index.ts';
import { NbdError } from '../errors.ts';
import { CLOSE_TIMEOUT_MS, CONNECTIONS_MAX, SERVER_HELD_BYTES_MAX } from '../limits.ts';
import type { NbdServer, ServeOptions } from '../server.ts';
import { serverTls } from '../tls.ts';
import { formatUri } from '../uri.ts';
import { Crew } from './crew.ts';
import { newDeviceMemory } from './guarded.ts';
import { THREADS_MAX } from './limits.ts';
import type { SharedExport, SharedSource } from './messages.ts';

/** Threads share no objects: an export is named, and each thread opens it for itself. */
export type SharedExportOptions = {
  readonly name: string;
  /** A path, or `memory:SIZE`; no URI. */
  readonly source: string;
  /** For people, at most 4,096 bytes. */
  readonly description?: string;
  readonly readOnly?: boolean;
  readonly directIo?: boolean;
};

export type ServeOnThreadsOptions = Omit<ServeOptions, 'exports'> & {
  readonly exports: readonly SharedExportOptions[];
  /** 1 to 16, beside the one that accepts connections. */
  readonly threads: number;
};

export interface ThreadedServer extends NbdServer {
  /** Resolves when the threads have died so often that the server gave up; it must be closed. */
  readonly failed: Promise<NbdError>;
}

export async function serveOnThreads(
  env: Env,
  options: ServeOnThreadsOptions,
): Promise<ThreadedServer> {
  const { threads } = options;
  if (!Number.isInteger(threads) || threads < 1 || threads > THREADS_MAX) {
    throw unsupported(`${threads} threads are not from 1 to ${THREADS_MAX}`, 'Take fewer.');
  }
  // Bad credentials are better found here than in each thread.
  if (options.tls !== undefined) serverTls(env.net, options.tls);
  const kept: Device[] = [];
  const server = new ThreadedNbdServer(env, options, kept);
  try {
    await server.start(await sharedExports(env, options, kept));
    return server;
  } catch (error) {
    await server.close(0);
    throw error;
  }
}

class ThreadedNbdServer implements ThreadedServer {
  readonly #env: Env;
  readonly #options: ServeOnThreadsOptions;
  /** Open as long as the server: what threads open later is compared with them. */
  readonly #kept: readonly Device[];
  readonly #failed = Promise.withResolvers<NbdError>();
  #crew: Crew | undefined;
  #listener: Listener | undefined;
  #closing: Promise<void> | undefined;

  constructor(env: Env, options: ServeOnThreadsOptions, kept: readonly Device[]) {
    this.#env = env;
    this.#options = options;
    this.#kept = kept;
  }

  async start(exports: readonly SharedExport[]): Promise<void> {
    const { threads, tls, heldBytesMax = SERVER_HELD_BYTES_MAX, address } = this.#options;
    const crew = new Crew(this.#env, {
      exports,
      threads,
      tls,
      // Equal shares: no thread can take what another needs, and none needs to ask.
      heldBytesMax: Math.floor(heldBytesMax / threads),
      onTrouble: (who, error) => this.#options.onTrouble?.(who, error),
      onFailure: this.#failed.resolve,
    });
    this.#crew = crew;
    await crew.start();
    this.#listener = await this.#env.net.listen(address, (stream) => this.#accept(crew, stream));
  }

  get failed(): Promise<NbdError> {
    return this.#failed.promise;
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
    return this.#crew?.connectionCount ?? 0;
  }

  #accept(crew: Crew, stream: Stream): void {
    const { net } = this.#env;
    if (this.connectionCount >= (this.#options.connectionsMax ?? CONNECTIONS_MAX)) {
      stream.destroy();
      return;
    }
    try {
      const descriptor = net.handOver(stream);
      if (!crew.hand(descriptor, stream.peer)) net.discard(descriptor);
    } catch (error) {
      stream.destroy();
      this.#options.onTrouble?.(stream.peer, error);
    }
  }

  close(timeoutMs = CLOSE_TIMEOUT_MS): Promise<void> {
    this.#closing ??= this.#close(timeoutMs);
    return this.#closing;
  }

  async #close(timeoutMs: number): Promise<void> {
    await Promise.all([this.#listener?.close(), this.#crew?.close(timeoutMs)]);
    for (const device of this.#kept) await device[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

const MEMORY = 'memory:';

async function sharedExports(
  env: Env,
  { exports }: ServeOnThreadsOptions,
  kept: Device[],
): Promise<SharedExport[]> {
  const shared: SharedExport[] = [];
  const seen = new Set<string>();
  for (const { name, source, description, readOnly = false, directIo = false } of exports) {
    if (isUri(source)) {
      throw unsupported(`"${name}" is an NBD export of another server`, 'Serve it on one thread.');
    }
    const device = await openDevice(env.files, source, { readOnly, directIo });
    kept.push(device);
    const found = await sharedSource(env, source, directIo, device);
    if (found.kind === 'path') {
      const { device: number, inode } = found.identity;
      // Two devices of one file would each keep an order of their own.
      if (seen.has(`${number}:${inode}`)) {
        throw unsupported(`${device.name} is exported twice`, 'Export it under one name.');
      }
      seen.add(`${number}:${inode}`);
    }
    shared.push({ name, description, readOnly, source: found, memory: newDeviceMemory() });
  }
  return shared;
}

async function sharedSource(
  env: Env,
  source: string,
  directIo: boolean,
  device: Device,
): Promise<SharedSource> {
  if (source.startsWith(MEMORY)) {
    const name = source.slice(MEMORY.length);
    return { kind: 'memory', name, region: memoryRegion(name, device.sizeBytes) };
  }
  const { device: number, inode, sizeBytes } = await env.files.stat(source);
  return {
    ...{ kind: 'path', path: source, directIo },
    identity: { device: number, inode, sizeBytes },
  };
}

function unsupported(message: string, hint: string): NbdError {
  return new NbdError('NBD_UNSUPPORTED', message, { hint });
}
