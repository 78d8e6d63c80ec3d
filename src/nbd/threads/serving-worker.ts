/** One thread of a server: opens the devices, takes over sockets, and serves their clients. */
import { type Env, nodeEnv } from '../../core/index.ts';
import { type Device, openFile, sharedMemory } from '../../device/index.ts';
import { Connections } from '../connections.ts';
import { NbdError } from '../errors.ts';
import type { Export } from '../exports.ts';
import { guarded } from './guarded.ts';
import {
  describe,
  type FileIdentity,
  type FromWorker,
  type SharedSource,
  type ToWorker,
  type WorkerStart,
} from './messages.ts';

export function serve(post: (message: unknown) => void): (message: unknown) => void {
  const env = nodeEnv();
  const tell = (message: FromWorker): void => post(message);
  let thread: Promise<ServingThread | undefined>;
  return (message) => {
    const order = message as ToWorker;
    if (order.kind === 'start') {
      thread = ServingThread.open(env, order, tell).catch((error: unknown) => {
        tell({ kind: 'failed', failure: describe(error) });
        return undefined;
      });
    } else if (order.kind === 'take') void thread.then((it) => it?.take(order));
    else void thread.then((it) => it?.close(order.timeoutMs));
  };
}

class ServingThread {
  readonly #env: Env;
  readonly #tell: (message: FromWorker) => void;
  readonly #devices: readonly Device[];
  readonly #connections: Connections;
  readonly #adopted: Int32Array;

  static async open(
    env: Env,
    start: WorkerStart,
    tell: (message: FromWorker) => void,
  ): Promise<ServingThread> {
    const thread = new ServingThread(env, start, tell, await openAll(env, start));
    tell({ kind: 'ready' });
    return thread;
  }

  private constructor(
    env: Env,
    start: WorkerStart,
    tell: (message: FromWorker) => void,
    devices: readonly Device[],
  ) {
    this.#env = env;
    this.#tell = tell;
    this.#devices = devices;
    this.#adopted = new Int32Array(start.adopted);
    const exports = new Map<string, Export>();
    for (const [index, { name, description, readOnly }] of start.exports.entries()) {
      const device = devices[index]!;
      exports.set(name, { device, readOnly, ...(description !== undefined && { description }) });
    }
    this.#connections = new Connections(env, {
      exports,
      heldBytesMax: start.heldBytesMax,
      tls: start.tls,
      guard: (fitting, device) => {
        const { memory } = start.exports[devices.indexOf(device)]!;
        return guarded(fitting, memory, start.thread);
      },
    });
  }

  take({ id, descriptor, peer }: { id: number; descriptor: number; peer: string }): void {
    // From here on the socket is this thread's, whatever comes.
    Atomics.add(this.#adopted, 0, 1);
    let stream: ReturnType<Env['net']['adopt']>;
    try {
      stream = this.#env.net.adopt(descriptor, peer);
    } catch (error) {
      this.#env.net.discard(descriptor);
      this.#tell({ kind: 'gone', id, trouble: describe(error) });
      return;
    }
    void this.#connections.serve(stream).then((trouble) => {
      const failure = trouble === undefined ? undefined : describe(trouble);
      this.#tell({ kind: 'gone', id, trouble: failure });
    });
  }

  async close(timeoutMs: number): Promise<void> {
    await this.#connections.close(timeoutMs);
    for (const device of this.#devices) await device[Symbol.asyncDispose]();
    this.#tell({ kind: 'closed' });
  }
}

async function openAll(env: Env, { exports, flushFirst }: WorkerStart): Promise<Device[]> {
  const devices: Device[] = [];
  try {
    for (const { source, readOnly } of exports) {
      const device = await openShared(env, source, readOnly);
      devices.push(device);
      if (flushFirst) await device.flush();
    }
    return devices;
  } catch (error) {
    for (const device of devices) await device[Symbol.asyncDispose]();
    throw error;
  }
}

async function openShared(env: Env, source: SharedSource, readOnly: boolean): Promise<Device> {
  if (source.kind === 'memory') return sharedMemory(source.name, source.region);
  const { path, directIo, identity } = source;
  const device = await openFile(env.files, path, { readOnly, directIo });
  // Whoever began the server keeps the file open: its number cannot belong to another one.
  const found = await env.files.stat(path);
  if (isSame(found, identity)) return device;
  await device[Symbol.asyncDispose]();
  throw new NbdError('NBD_THREAD', `${device.name} is not the file that it was, or its size`, {
    hint: 'Something replaced or resized it while it was served; start the server again.',
  });
}

function isSame(one: FileIdentity, two: FileIdentity): boolean {
  return one.device === two.device && one.inode === two.inode && one.sizeBytes === two.sizeBytes;
}
