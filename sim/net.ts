/** A simulated network: addresses, listeners and connections; what flows is in stream.ts. */
import { type Address, EnvError, type Listener, type Net, type Stream } from '../src/core/index.ts';
import { SimulatedDatagrams } from './datagrams.ts';
import { Link } from './link.ts';
import type { SimulatedProcess } from './process.ts';
import { Connection } from './stream.ts';

const CONNECT_MS = 1;
/** Where the dynamic ports begin: RFC 6335, section 6. */
const FIRST_FREE_PORT = 49_152;

type Accepting = {
  readonly process: SimulatedProcess;
  readonly onStream: (stream: Stream) => void;
};

export class SimulatedNet {
  readonly datagrams = new SimulatedDatagrams();
  /** Of all streams. */
  readonly link = new Link();
  /** Of connections from now on: how much longer everything takes on its way. */
  farMs = 0;
  readonly #listeners = new Map<string, Accepting>();
  readonly #breaks: number[] = [];
  #nextPort = FIRST_FREE_PORT;
  #connectionCount = 0;

  /** The next connection (then the one after it, ...) breaks once so many bytes have arrived. */
  breakNext(afterBytes: number): void {
    this.#breaks.push(afterBytes);
  }

  forProcess(process: SimulatedProcess): Net {
    return {
      listen: (address, onStream) => this.#listen(process, address, onStream),
      connect: (address, timeoutMs) => this.#connect(process, address, timeoutMs),
      openDatagrams: async (options, handlers) => this.datagrams.open(process, options, handlers),
      tls: () => {
        throw failure('ENV_UNSUPPORTED', 'TLS');
      },
      handOver: noDescriptors,
      adopt: noDescriptors,
      discard: noDescriptors,
    };
  }

  #listen(
    process: SimulatedProcess,
    wanted: Address,
    onStream: (stream: Stream) => void,
  ): Promise<Listener> {
    const address =
      wanted.kind === 'tcp' && wanted.port === 0 ? { ...wanted, port: this.#nextPort++ } : wanted;
    const name = nameOf(address);
    return later(process, `listen ${name}`, () => {
      if (this.#listeners.has(name)) throw failure('ENV_ADDRESS_IN_USE', name);
      const accepting: Accepting = { process, onStream };
      this.#listeners.set(name, accepting);
      const stop = (): void => {
        if (this.#listeners.get(name) === accepting) this.#listeners.delete(name);
      };
      process.atDeath(stop);
      return { address, close: () => later(process, `close ${name}`, stop) };
    });
  }

  async #connect(process: SimulatedProcess, address: Address, timeoutMs: number): Promise<Stream> {
    const name = nameOf(address);
    if (this.link.isCut) return timedOut(process, name, timeoutMs);
    return later(process, `connect ${name}`, () => {
      const accepting = this.#listeners.get(name);
      if (accepting === undefined) throw failure('ENV_REFUSED', name);
      if (timeoutMs <= 0) throw failure('ENV_TIMEOUT', name);
      const connection = new Connection({
        client: process,
        server: accepting.process,
        name: `${name}#${++this.#connectionCount}`,
        breaksAfterBytes: this.#breaks.shift() ?? Number.POSITIVE_INFINITY,
        ...{ farMs: this.farMs, link: this.link },
      });
      accepting.process.schedule(CONNECT_MS, `accept ${name}`, () => {
        accepting.onStream(connection.serverEnd);
      });
      return connection.clientEnd;
    });
  }
}

/** Threads of this world have no memory in common, so that nothing could go by its number. */
function noDescriptors(): never {
  throw failure('ENV_UNSUPPORTED', 'a socket for another thread');
}

function later<T>(process: SimulatedProcess, label: string, run: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    process.schedule(CONNECT_MS * (0.5 + process.draws().unit()), label, () => {
      try {
        resolve(run());
      } catch (error) {
        reject(error as Error);
      }
    });
  });
}

function timedOut(process: SimulatedProcess, name: string, timeoutMs: number): Promise<never> {
  return new Promise((_, reject) => {
    const fail = () => reject(failure('ENV_TIMEOUT', name));
    process.schedule(Math.max(CONNECT_MS, timeoutMs), `connect ${name}`, fail);
  });
}

function nameOf(address: Address): string {
  return address.kind === 'unix' ? `unix:${address.path}` : `${address.host}:${address.port}`;
}

function failure(
  code: 'ENV_ADDRESS_IN_USE' | 'ENV_REFUSED' | 'ENV_TIMEOUT' | 'ENV_UNSUPPORTED',
  name: string,
): EnvError {
  return new EnvError(code, `simulated network: ${code} at ${name}`, {
    hint: 'The simulated network answers as the test asked it to.',
  });
}
