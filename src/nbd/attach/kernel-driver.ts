/** Talks to the NBD driver of the kernel: connect, reconfigure, disconnect, and its notices. */
import { type Clock, type Env, EnvError, type Kernel, type Netlink } from '../../core/index.ts';
import { NbdError } from '../errors.ts';
import { ANSWERS_MAX, KERNEL_TIMEOUT_MS } from './limits.ts';
import {
  CONTROL_FAMILY_ID,
  CONTROL_FAMILY_NAME,
  CONTROL_GET_FAMILY,
  CONTROL_GROUPS,
  decodeAttributes,
  decodeMessages,
  encodeMessage,
  find,
  GROUP_ID,
  GROUP_NAME,
  NBD_BLOCK_SIZE_BYTES,
  NBD_CONNECT,
  NBD_DEAD_CONNECTION_TIMEOUT,
  NBD_DISCONNECT,
  NBD_FAMILY,
  NBD_GROUP,
  NBD_INDEX,
  NBD_LINK_DEAD,
  NBD_RECONFIGURE,
  NBD_SERVER_FLAGS,
  NBD_SIZE_BYTES,
  NBD_TIMEOUT,
  type NetlinkMessage,
  numberOf,
  sockets,
  TYPE_CONTROL,
  TYPE_ERROR,
  u32,
  u64,
  words,
  wordsOf,
} from './netlink-codec.ts';

export type DeviceSetUp = {
  /** Undefined: the driver takes a free one. */
  readonly index: number | undefined;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly flags: number;
  readonly timeoutS: number;
  /** How long requests wait for a connection when there is none. */
  readonly reconnectS: number;
};

const ENOENT = 2;
const EPERM = 1;
const EBUSY = 16;

export class KernelDriver implements Disposable {
  readonly #clock: Clock;
  readonly #commands: Netlink;
  readonly #notices: Netlink;
  readonly #family: number;
  #sequence = 1;

  private constructor(clock: Clock, commands: Netlink, notices: Netlink, family: number) {
    this.#clock = clock;
    this.#commands = commands;
    this.#notices = notices;
    this.#family = family;
  }

  /** NBD_UNSUPPORTED if the kernel has no such driver. */
  static async open(env: Env, kernel: Kernel): Promise<KernelDriver> {
    const commands = kernel.openNetlink();
    let notices: Netlink | undefined;
    try {
      notices = kernel.openNetlink();
      const probe = new KernelDriver(env.clock, commands, notices, 0);
      const { family, group } = await probe.#resolve();
      notices.join(group);
      return new KernelDriver(env.clock, commands, notices, family);
    } catch (error) {
      commands.close();
      notices?.close();
      throw error;
    }
  }

  /** Answers the number of the device. The sockets stay the caller's to close. */
  async connect(setUp: DeviceSetUp, descriptors: readonly number[]): Promise<number> {
    const { index } = setUp;
    const answers = await this.#ask(this.#family, NBD_CONNECT, 'attach', [
      ...(index === undefined ? [] : [u32(NBD_INDEX, index)]),
      u64(NBD_SIZE_BYTES, setUp.sizeBytes),
      u64(NBD_BLOCK_SIZE_BYTES, setUp.blockBytes),
      u64(NBD_TIMEOUT, setUp.timeoutS),
      u64(NBD_SERVER_FLAGS, setUp.flags),
      u64(NBD_DEAD_CONNECTION_TIMEOUT, setUp.reconnectS),
      sockets(descriptors),
    ]);
    const said = answers.find(({ command }) => command === NBD_CONNECT);
    const chosen = numberOf(find(said?.attributes ?? [], NBD_INDEX)) ?? index;
    if (chosen !== undefined) return chosen;
    throw new NbdError('NBD_UNSUPPORTED', 'the kernel does not tell which device it took', {
      hint: 'Name one: /dev/nbd0.',
    });
  }

  /** Gives the device new connections in place of dead ones. */
  async reconnect(index: number, descriptors: readonly number[]): Promise<void> {
    const attributes = [u32(NBD_INDEX, index), sockets(descriptors)];
    await this.#ask(this.#family, NBD_RECONFIGURE, 'reconnect', attributes);
  }

  /** Whatever uses the device gets errors from here on. */
  async disconnect(index: number): Promise<void> {
    await this.#ask(this.#family, NBD_DISCONNECT, 'detach', [u32(NBD_INDEX, index)]);
  }

  /** Waits a while; whether a connection of the device has died meanwhile. */
  async hasLostLink(index: number): Promise<boolean> {
    const bytes = await this.#notices.receiveSoon();
    return decodeMessages(bytes ?? new Uint8Array(0)).some(
      ({ command, attributes }) =>
        command === NBD_LINK_DEAD && numberOf(find(attributes, NBD_INDEX)) === index,
    );
  }

  [Symbol.dispose](): void {
    this.#commands.close();
    this.#notices.close();
  }

  async #resolve(): Promise<{ family: number; group: number }> {
    const wish = [words(CONTROL_FAMILY_NAME, NBD_FAMILY)];
    const answers = await this.#ask(TYPE_CONTROL, CONTROL_GET_FAMILY, 'find', wish);
    const said = answers.find(({ type }) => type === TYPE_CONTROL)?.attributes ?? [];
    const family = numberOf(find(said, CONTROL_FAMILY_ID));
    const groups = decodeAttributes(find(said, CONTROL_GROUPS) ?? new Uint8Array(0))
      .map(({ value }) => decodeAttributes(value))
      .filter((group) => wordsOf(find(group, GROUP_NAME)) === NBD_GROUP);
    const group = numberOf(find(groups[0] ?? [], GROUP_ID));
    if (family !== undefined && group !== undefined) return { family, group };
    throw driverError('find', ENOENT);
  }

  /** Everything that came before the acknowledgement. */
  async #ask(
    type: number,
    command: number,
    verb: string,
    attributes: readonly Uint8Array[],
  ): Promise<NetlinkMessage[]> {
    const sequence = this.#sequence++;
    this.#commands.send(encodeMessage({ type, sequence, command }, attributes));
    const latestMs = this.#clock.monotonicMs() + KERNEL_TIMEOUT_MS;
    const answers: NetlinkMessage[] = [];
    while (this.#clock.monotonicMs() < latestMs && answers.length < ANSWERS_MAX) {
      // The driver answers while it is asked; only a busy kernel makes one wait.
      const bytes = this.#commands.receive() ?? (await this.#commands.receiveSoon());
      for (const message of decodeMessages(bytes ?? new Uint8Array(0))) {
        if (message.sequence !== sequence) continue;
        if (message.type !== TYPE_ERROR) answers.push(message);
        else if (message.error === 0) return answers;
        else throw driverError(verb, message.error);
      }
    }
    throw new EnvError('ENV_TIMEOUT', `the NBD driver did not answer when asked to ${verb}`, {
      hint: 'Look at the kernel log.',
    });
  }
}

function driverError(verb: string, error: number): Error {
  if (verb === 'find' && error === ENOENT) {
    return new NbdError('NBD_UNSUPPORTED', 'this kernel has no NBD driver, or it is not loaded', {
      hint: 'Run `modprobe nbd`, or use --fuse PATH, which needs no driver.',
    });
  }
  if (error === EPERM) {
    return new EnvError('ENV_ACCESS', `not permitted to ${verb} NBD devices`, {
      hint: 'Run this as root, or use --fuse PATH.',
    });
  }
  if (error === EBUSY) {
    return new EnvError('ENV_ACCESS', `cannot ${verb}: the device is in use`, {
      hint: 'Take another one, or `auto`.',
    });
  }
  return new EnvError('ENV_IO', `the NBD driver cannot ${verb}: error ${error}`, {
    hint: 'Look at the kernel log.',
  });
}
