/** An export as a disk of the kernel's NBD driver, kept connected when its server comes back. */
import { type Env, EnvError, type Kernel, messageOf, unlessMissing } from '../../core/index.ts';
import type { Terms } from '../client-handshake.ts';
import { securingOf } from '../connect.ts';
import {
  TRANSMISSION_CAN_MULTI_CONN,
  TRANSMISSION_READ_ONLY,
  TRANSMISSION_SEND_FLUSH,
} from '../constants.ts';
import { NbdError } from '../errors.ts';
import { CONNECT_TIMEOUT_MS } from '../limits.ts';
import { parseUri } from '../uri.ts';
import { KernelDriver } from './kernel-driver.ts';
import { KERNEL_CONNECTIONS_MAX, KERNEL_TIMEOUT_MS, POLL_MS } from './limits.ts';
import { connectRaw, type RawConnection } from './raw-connection.ts';

export type AttachDeviceOptions = {
  readonly connections: number;
  readonly readOnly: boolean;
  /** An answer that takes longer costs the connection. */
  readonly timeoutS: number;
  /** How long requests wait for a server that went away; then they fail. */
  readonly reconnectS: number;
  /** The connection is lost, back, or cannot be had back yet. */
  onTrouble(message: string): void;
};

/** Disposing it takes the disk away, even from those who use it. */
export interface AttachedDevice extends AsyncDisposable {
  /** `/dev/nbdN`. */
  readonly path: string;
  readonly sizeBytes: number;
  /** At the end of the export, less than a block, which a disk cannot show. */
  readonly hiddenBytes: number;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly connectionCount: number;
  /** What goes through it goes through this process: TLS, which the driver does not speak. */
  readonly isRelayed: boolean;
  readonly isConnected: boolean;
  /** Resolves when the disk is gone, whoever took it away. */
  readonly ended: Promise<void>;
  /** Takes it away: at once, or, if it is in use, as soon as it no longer is. */
  detach(): Promise<'gone' | 'busy'>;
}

/** What the driver takes on every architecture. */
const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_MAX = 4096;

/** `device` is `/dev/nbdN` or `auto`. Needs root. */
export async function attachDevice(
  env: Env,
  kernel: Kernel,
  text: string,
  device: string,
  options: AttachDeviceOptions,
): Promise<AttachedDevice> {
  const index = device === 'auto' ? undefined : indexOf(device);
  const uri = parseUri(text);
  const securing = await securingOf(env, uri, undefined, CONNECT_TIMEOUT_MS);
  const driver = await KernelDriver.open(env, kernel);
  try {
    const connect = () => connectRaw(env, kernel, uri, securing);
    const dial = () => dialAll(kernel, connect, options.connections);
    const connections = await dial();
    const { terms } = connections[0]!;
    const close = () => closeAll(kernel, connections);
    try {
      const blockBytes = blockBytesOf(terms, uri.exportName);
      const flags = terms.flags | (options.readOnly ? TRANSMISSION_READ_ONLY : 0);
      const sizeBytes = terms.sizeBytes - (terms.sizeBytes % blockBytes);
      const { timeoutS, reconnectS } = options;
      const setUp = { index, sizeBytes, blockBytes, flags, timeoutS, reconnectS };
      const number = await driver.connect(setUp, descriptorsOf(connections));
      const attached = new KernelDevice({ env, kernel, driver, terms, dial, options }, number, {
        sizeBytes,
        blockBytes,
        isRelayed: uri.tls,
        readOnly: (flags & TRANSMISSION_READ_ONLY) !== 0,
        connectionCount: connections.length,
      });
      await attached.untilReady();
      return attached;
    } finally {
      close(); // The driver holds the sockets by itself.
    }
  } catch (error) {
    driver[Symbol.dispose]();
    throw error;
  }
}

/** Takes a disk away that this or another process attached. ENV_ACCESS if it is in use. */
export async function detachDevice(env: Env, kernel: Kernel, device: string): Promise<void> {
  const index = indexOf(device);
  if (!(await isAttached(env, index))) {
    throw new EnvError('ENV_NOT_FOUND', `${device} is not attached`, {
      hint: 'Look at /sys/block/nbd*/pid.',
    });
  }
  if (await kernel.isBusy(device)) {
    throw new EnvError('ENV_ACCESS', `${device} is in use`, { hint: 'Unmount it first.' });
  }
  using driver = await KernelDriver.open(env, kernel);
  await takeAway(env, driver, index, false);
}

type Parts = {
  readonly env: Env;
  readonly kernel: Kernel;
  readonly driver: KernelDriver;
  readonly terms: Terms;
  dial(): Promise<RawConnection[]>;
  readonly options: AttachDeviceOptions;
};

type Facts = Pick<
  AttachedDevice,
  'sizeBytes' | 'blockBytes' | 'readOnly' | 'connectionCount' | 'isRelayed'
>;

class KernelDevice implements AttachedDevice {
  readonly path: string;
  readonly sizeBytes: number;
  readonly hiddenBytes: number;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly connectionCount: number;
  readonly isRelayed: boolean;
  readonly ended: Promise<void>;
  readonly #parts: Parts;
  readonly #index: number;
  #isConnected = true;
  #isUnwanted = false;
  #detaching: Promise<boolean> | undefined;

  constructor(parts: Parts, index: number, facts: Facts) {
    this.#parts = parts;
    this.#index = index;
    this.path = `/dev/nbd${index}`;
    this.sizeBytes = facts.sizeBytes;
    this.hiddenBytes = parts.terms.sizeBytes - facts.sizeBytes;
    this.isRelayed = facts.isRelayed;
    this.blockBytes = facts.blockBytes;
    this.readOnly = facts.readOnly;
    this.connectionCount = facts.connectionCount;
    this.ended = this.#watch();
    this.ended.catch((error: unknown) => parts.options.onTrouble(messageOf(error)));
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** The driver has set the size, and somebody (devtmpfs, udev) has made the name. */
  async untilReady(): Promise<void> {
    const { env } = this.#parts;
    const latestMs = env.clock.monotonicMs() + KERNEL_TIMEOUT_MS;
    while (env.clock.monotonicMs() < latestMs) {
      if ((await isAttached(env, this.#index)) && (await this.#hasName())) return;
      await new Promise<void>((resolve) => void env.clock.after(POLL_MS, resolve));
    }
    await this[Symbol.asyncDispose]();
    throw new EnvError('ENV_TIMEOUT', `${this.path} did not appear with its size`, {
      hint: 'Look at the kernel log; /dev must be kept by udev or devtmpfs.',
    });
  }

  async detach(): Promise<'gone' | 'busy'> {
    this.#isUnwanted = true;
    return (await this.#tryDetach()) ? 'gone' : 'busy';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { env, driver } = this.#parts;
    this.#isUnwanted = true;
    if (await isAttached(env, this.#index)) await takeAway(env, driver, this.#index, true);
    await this.ended;
  }

  async #hasName(): Promise<boolean> {
    const stat = await unlessMissing(this.#parts.env.files.stat(this.path));
    return stat?.kind === 'block-device' && stat.sizeBytes === this.sizeBytes;
  }

  /** One try at a time: one that disconnects would let another's flush fail. */
  #tryDetach(): Promise<boolean> {
    this.#detaching ??= this.#detachIfFree().finally(() => {
      this.#detaching = undefined;
    });
    return this.#detaching;
  }

  async #detachIfFree(): Promise<boolean> {
    const { env, kernel, driver } = this.#parts;
    if (!(await isAttached(env, this.#index))) return true;
    if (await kernel.isBusy(this.path)) return false;
    await takeAway(env, driver, this.#index, this.readOnly);
    return true;
  }

  async #watch(): Promise<void> {
    const { env, driver } = this.#parts;
    using _closed = driver;
    for (;;) {
      if (await driver.hasLostLink(this.#index)) this.#lose();
      if (!(await isAttached(env, this.#index))) return;
      if (this.#isUnwanted && (await this.#tryDetach())) return;
      if (!this.#isConnected) await this.#reconnect();
    }
  }

  #lose(): void {
    if (!this.#isConnected) return;
    this.#isConnected = false;
    this.#parts.options.onTrouble(`${this.path}: a connection is lost; trying to get it back`);
  }

  /** Until the server is back or nobody wants the disk any more. */
  async #reconnect(): Promise<void> {
    const { env, driver, kernel, terms, options } = this.#parts;
    let said = '';
    while (!this.#isUnwanted && (await isAttached(env, this.#index))) {
      let connections: RawConnection[] = [];
      try {
        connections = await this.#parts.dial();
        checkSame(terms, connections[0]!.terms);
        await driver.reconnect(this.#index, descriptorsOf(connections));
        this.#isConnected = true;
        options.onTrouble(`${this.path}: connected again`);
        return;
      } catch (error) {
        const reason = messageOf(error);
        if (reason !== said) options.onTrouble(`${this.path}: ${reason}`);
        said = reason;
      } finally {
        closeAll(kernel, connections);
      }
      await driver.hasLostLink(this.#index); // Up to a second until the next try.
    }
  }
}

/** Flushes what the kernel holds for the disk, takes it away, and waits until it is free. */
async function takeAway(
  env: Env,
  driver: KernelDriver,
  index: number,
  isLossFine: boolean,
): Promise<void> {
  if (!isLossFine) {
    const file = await env.files.open(`/dev/nbd${index}`, 'read');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
  await driver.disconnect(index);
  const latestMs = env.clock.monotonicMs() + KERNEL_TIMEOUT_MS;
  while (env.clock.monotonicMs() < latestMs) {
    if (!(await isAttached(env, index))) return;
    await driver.hasLostLink(index); // Keeps the process alive, which a timer does not.
  }
  throw new EnvError('ENV_TIMEOUT', `/dev/nbd${index} is still attached`, {
    hint: 'Look at the kernel log; a program may hang in it.',
  });
}

/** The driver shows `pid` while a device is set up, and its size in sectors. */
async function isAttached({ files }: Env, index: number): Promise<boolean> {
  return (await unlessMissing(files.stat(`/sys/block/nbd${index}/pid`))) !== undefined;
}

async function dialAll(
  kernel: Kernel,
  connect: () => Promise<RawConnection>,
  wanted: number,
): Promise<RawConnection[]> {
  const connections = [await connect()];
  try {
    const { terms } = connections[0]!;
    const isShared = (terms.flags & TRANSMISSION_CAN_MULTI_CONN) !== 0;
    const count = isShared ? Math.min(wanted, KERNEL_CONNECTIONS_MAX) : 1;
    while (connections.length < count) {
      const next = await connect();
      connections.push(next);
      checkSame(terms, next.terms);
    }
    return connections;
  } catch (error) {
    closeAll(kernel, connections);
    throw error;
  }
}

function descriptorsOf(connections: readonly RawConnection[]): number[] {
  return connections.map(({ descriptor }) => descriptor);
}

function closeAll(kernel: Kernel, connections: RawConnection[]): void {
  for (const { descriptor } of connections.splice(0)) kernel.closeSocket(descriptor);
}

function checkSame(before: Terms, now: Terms): void {
  const must = TRANSMISSION_READ_ONLY | TRANSMISSION_SEND_FLUSH;
  if (before.sizeBytes === now.sizeBytes && ((before.flags ^ now.flags) & must) === 0) return;
  throw new NbdError('NBD_SIZE', 'the server shows another export than before', {
    hint: 'Detach it, and attach it again.',
  });
}

function blockBytesOf({ sizeBytes, blockSizes }: Terms, exportName: string): number {
  const blockBytes = Math.max(blockSizes?.minimumBytes ?? 1, BLOCK_BYTES_MIN);
  const isPower = (blockBytes & (blockBytes - 1)) === 0;
  const refuse = (what: string) =>
    new NbdError('NBD_SIZE', `the export "${exportName}" cannot be a disk: ${what}`, {
      hint: 'Use --fuse PATH.',
    });
  if (!isPower || blockBytes > BLOCK_BYTES_MAX) throw refuse(`its blocks have ${blockBytes} bytes`);
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= blockBytes) return blockBytes;
  throw refuse(`${sizeBytes} bytes are no block of ${blockBytes}`);
}

function indexOf(device: string): number {
  const match = /^\/dev\/nbd(\d{1,7})$/.exec(device);
  if (match !== null) return Number(match[1]);
  throw new EnvError('ENV_INVALID', `${device} is no NBD device`, {
    hint: 'Write /dev/nbd0, /dev/nbd1 and so on, or auto.',
  });
}
