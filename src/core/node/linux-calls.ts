/** System calls of Linux for mounting, netlink and passing descriptors, through koffi. */
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { EnvError } from '../errors.ts';
import { errnoName } from './native.ts';

/** Each answers 0 or more, or minus an error number. */
export type LinuxCalls = {
  mount(source: string, target: string, type: string, flags: number, data: string): number;
  unmount(target: string, flags: number): number;
  /** In the thread pool: taking a mount away can wait for requests to it. */
  unmountLater(target: string, flags: number): Promise<number>;
  socket(domain: number, type: number, protocol: number): number;
  socketPair(pair: Int32Array): number;
  bind(fd: number, address: Uint8Array): number;
  setOption(fd: number, level: number, name: number, value: Uint8Array): number;
  send(fd: number, bytes: Uint8Array): number;
  receive(fd: number, target: Uint8Array, flags: number): number;
  /** In the thread pool, as long as the socket's own limit lets it wait; negative for nothing. */
  receiveLater(fd: number, target: Uint8Array): Promise<number>;
  /** The descriptor that was sent through a socket; does not wait. */
  receiveDescriptor(fd: number): number;
  /** A second number for the same open file, not passed on to other programs. */
  duplicate(fd: number): number;
  /** Ends the process without waiting for the threads of its pool. */
  exitAtOnce(status: number): void;
};

// Numbers of linux/socket.h, sys/mount.h and fcntl.h.
export const DOMAIN_UNIX = 1;
export const DOMAIN_NETLINK = 16;
export const SOCKET_RAW_CLOSED_ON_EXEC = 3 | 0o2000000;
const SOCKET_STREAM = 1;
const SOCKET_LEVEL = 1;
const SCM_RIGHTS = 1;
export const DONT_WAIT = 0x40;
const DUPLICATE_CLOSED_ON_EXEC = 1030;
const SET_DESCRIPTOR_FLAGS = 2;
const CLOSE_ON_EXEC = 1;
export const MOUNT_READ_ONLY = 1;
export const MOUNT_NO_SETUID = 2;
export const MOUNT_NO_DEVICES = 4;
export const UNMOUNT_FORCE = 1;
export const UNMOUNT_DETACH = 2;

type Plain = (...values: unknown[]) => number;
type Done = (error: Error | null, answer: number) => void;
type Call = Plain & { async(...valuesAndDone: [...unknown[], Done]): void };
type Koffi = {
  load(path: null): { func(prototype: string): Call };
  struct(name: string, members: Record<string, string>): unknown;
  errno(): number;
};

let loaded: LinuxCalls | undefined;

/** ENV_UNSUPPORTED on other systems and without koffi. */
export function linuxCalls(): LinuxCalls {
  if (process.platform !== 'linux' || endianness() !== 'LE') {
    throw new EnvError('ENV_UNSUPPORTED', 'this needs Linux on a little-endian processor', {
      hint: 'Use the export over NBD.',
    });
  }
  if (loaded !== undefined) return loaded;
  try {
    loaded = load(createRequire(import.meta.url)('koffi') as Koffi);
  } catch (cause) {
    throw new EnvError('ENV_UNSUPPORTED', 'system calls cannot be made: koffi does not load', {
      hint: 'Install the optional native part (koffi) for this system.',
      cause,
    });
  }
  return loaded;
}

/** The POSIX name of what a call answered. */
export function failureName(answer: number): string {
  return errnoName(-answer);
}

function load(koffi: Koffi): LinuxCalls {
  const libc = koffi.load(null);
  const bind = (prototype: string) => {
    const call = libc.func(prototype);
    return (...values: unknown[]): number => {
      const answer = call(...values);
      return answer < 0 ? -koffi.errno() : answer;
    };
  };
  const mount = bind('int mount(str, str, str, unsigned long, str)');
  const unmount = bind('int umount2(str, int)');
  const unmountLater = libc.func('int umount2(str, int)');
  const later = (call: Call, ...values: unknown[]): Promise<number> =>
    new Promise((resolve, reject) => {
      call.async(...values, (error, answer) => {
        if (error) reject(error);
        else resolve(answer < 0 ? -koffi.errno() : answer);
      });
    });
  const receiveLater = libc.func('intptr_t recv(int, void *, size_t, int)');
  const socket = bind('int socket(int, int, int)');
  const socketPair = bind('int socketpair(int, int, int, void *)');
  const bindAddress = bind('int bind(int, void *, uint32_t)');
  const setOption = bind('int setsockopt(int, int, int, void *, uint32_t)');
  const send = bind('intptr_t send(int, void *, size_t, int)');
  const receive = bind('intptr_t recv(int, void *, size_t, int)');
  const control = bind('int fcntl(int, int, int)');
  const exit = libc.func('void _exit(int)');
  const receiveDescriptor = descriptorReceiver(koffi, bind);
  return {
    mount,
    unmount,
    unmountLater: (target, flags) => later(unmountLater, target, flags),
    socket,
    socketPair(pair) {
      const answer = socketPair(DOMAIN_UNIX, SOCKET_STREAM, 0, pair);
      if (answer >= 0) for (const fd of pair) control(fd, SET_DESCRIPTOR_FLAGS, CLOSE_ON_EXEC);
      return answer;
    },
    bind: (fd, address) => bindAddress(fd, address, address.byteLength),
    setOption: (fd, level, name, value) => setOption(fd, level, name, value, value.byteLength),
    send: (fd, bytes) => send(fd, bytes, bytes.byteLength, 0),
    receive: (fd, target, flags) => receive(fd, target, target.byteLength, flags),
    receiveLater: (fd, target) => later(receiveLater, fd, target, target.byteLength, 0),
    receiveDescriptor,
    duplicate: (fd) => control(fd, DUPLICATE_CLOSED_ON_EXEC, 0),
    exitAtOnce: (status) => void exit(status),
  };
}

/** unix(7): the descriptor travels beside one byte of data. The layouts are those of 64 bits. */
function descriptorReceiver(
  koffi: Koffi,
  bind: (prototype: string) => Plain,
): (fd: number) => number {
  koffi.struct('FerryVector', { base: 'void *', lengthBytes: 'size_t' });
  koffi.struct('FerryMessage', {
    name: 'void *',
    nameBytes: 'uint32_t',
    vectors: 'FerryVector *',
    vectorCount: 'size_t',
    control: 'void *',
    controlBytes: 'size_t',
    flags: 'int',
  });
  const receiveMessage = bind('intptr_t recvmsg(int, FerryMessage *, int)');
  return (fd) => {
    const control = Buffer.alloc(24); // One cmsghdr of 16 bytes, one descriptor, padding.
    const message = {
      name: null,
      nameBytes: 0,
      vectors: [{ base: Buffer.alloc(1), lengthBytes: 1 }],
      vectorCount: 1,
      control,
      controlBytes: control.byteLength,
      flags: 0,
    };
    const answer = receiveMessage(fd, message, DONT_WAIT);
    if (answer < 0) return answer;
    const isRights =
      control.readInt32LE(8) === SOCKET_LEVEL && control.readInt32LE(12) === SCM_RIGHTS;
    return isRights ? control.readInt32LE(16) : -1;
  };
}
