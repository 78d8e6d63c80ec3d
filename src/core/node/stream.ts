/** A socket of Node's as a Stream: reads land in one reused buffer, writes are gathered. */
import { connect, createServer, Socket, type SocketConstructorOpts } from 'node:net';
import { availableParallelism } from 'node:os';
import type { Stream, StreamHandlers } from '../env.ts';
import { EnvError } from '../errors.ts';
import { Punctuality, WAIT_MAX_MS, wakefulness } from './awake.ts';
import { failureName, linuxCalls } from './linux-calls.ts';
import { native } from './native.ts';
import { posixError, toEnvError } from './posix-error.ts';

/** As much as a unix socket holds by default (208 KiB), rounded up to a power of two. */
const READ_BUFFER_BYTES = 256 * 1024;

/** Bytes waiting for the kernel from which on `write` answers false. */
export const QUEUED_BYTES_MAX = 1024 * 1024;

/** A peer that vanished without a word is noticed after this and the kernel's nine probes. */
const KEEP_ALIVE_DELAY_MS = 60_000;

export const socketOptions = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
  highWaterMark: QUEUED_BYTES_MAX,
} as const;

/**
 * On POSIX systems a read and its callback happen in one go, so that one buffer serves every
 * socket of the thread: ten thousand idle connections cost no buffer each, and it stays in the
 * processor's cache. Windows fills buffers in the background: there each socket has its own.
 */
const sharedBuffer = process.platform === 'win32' ? undefined : new Uint8Array(READ_BUFFER_BYTES);

type OnRead = NonNullable<SocketConstructorOpts['onread']>;

/** Connects what Node reads to a stream that comes to exist a moment later. */
class Reader {
  handlers: StreamHandlers | undefined;
  readonly punctuality = new Punctuality();
  readonly onread: OnRead;

  constructor() {
    const buffer = sharedBuffer ?? new Uint8Array(READ_BUFFER_BYTES);
    this.onread = {
      buffer,
      callback: (lengthBytes) => {
        this.onBytes(buffer.subarray(0, lengthBytes));
        return true; // Pausing is `pause`'s business.
      },
    };
  }

  onBytes(view: Uint8Array): void {
    if (this.punctuality.isExpecting) this.punctuality.arrived(performance.now());
    this.handlers?.onBytes(view);
  }
}

/** On a single processor the peer cannot run while this thread waits for it. */
const isParallel = availableParallelism() > 1;

/** Node's types hide what `new Socket` takes over; the self-test below guards this use. */
type WithHandle = { _handle: unknown };
type WithUserBuffer = { _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null };
type WithDescriptor = { _handle?: { fd?: number } | null };

/**
 * For sockets that exist already and read through `data` events. With `isNeverPaused` they change
 * to `onread` in mid-stream, if this Node can do that.
 */
export function streamOf(socket: Socket, peer: string, { isNeverPaused = false } = {}): Stream {
  const reader = new Reader();
  let mayChange = isNeverPaused;
  socket.on('data', (bytes: Buffer) => {
    reader.onBytes(bytes);
    // What waits in the socket would be overtaken.
    if (!mayChange || socket.readableLength > 0 || socket.destroyed) return;
    mayChange = false;
    readInto(socket, reader);
  });
  socket.pause();
  return new SocketStream(socket, peer, reader);
}

/**
 * Does what the option `onread` does for new sockets, which TLS over a socket does not take: a
 * buffer for each 16 KiB that come costs a third of what receiving them does. `data` events go on
 * where one of these names is unknown. Decrypted bytes come though it is paused.
 */
function readInto(socket: Socket, { onread: { buffer, callback } }: Reader): void {
  const symbols = Object.getOwnPropertySymbols(socket);
  const named = (name: string) => symbols.find(({ description }) => description === name);
  const [bufferName, callbackName] = [named('kBuffer'), named('kBufferCb')];
  const { _handle: handle } = socket as unknown as WithUserBuffer;
  if (bufferName === undefined || callbackName === undefined) return;
  if (typeof handle?.useUserBuffer !== 'function') return;
  Object.assign(socket, { [bufferName]: buffer, [callbackName]: callback });
  handle.useUserBuffer(buffer as Uint8Array);
}

/** For outgoing sockets, to which Node offers `onread` itself. */
streamOf.connecting = (
  open: (options: SocketConstructorOpts & { onread: OnRead }) => Socket,
  peer: string,
): { socket: Socket; stream: () => Stream } => {
  const reader = new Reader();
  const socket = open({ ...socketOptions, onread: reader.onread });
  return { socket, stream: () => new PlainStream(socket, peer, reader) };
};

/** Moves an accepted, paused socket's handle into a new socket that reads through `onread`. */
export function takeOver(accepted: Socket, peer: string): Stream {
  const reader = new Reader();
  return new PlainStream(moveHandle(accepted, reader), peer, reader);
}

function moveHandle(accepted: Socket, reader: Reader): Socket {
  const from = accepted as unknown as WithHandle;
  const handle = from._handle;
  const options = { ...socketOptions, handle, manualStart: true, onread: reader.onread };
  const socket = new Socket(options as SocketConstructorOpts);
  from._handle = null;
  accepted.destroy(); // Only tells the listener that this one is no longer its concern.
  return socket;
}

/**
 * Takes the socket out of a stream, as a descriptor that is the caller's to close; the stream ends
 * without a word to the peer. Nothing that the peer has yet to send may have been asked for.
 */
export function takeSocket(stream: Stream): number {
  if (stream instanceof SocketStream) return stream.detach();
  throw new EnvError('ENV_UNSUPPORTED', `${stream.peer} is no socket of this system`, {
    hint: 'Only plain TCP and unix sockets can be handed to the kernel.',
  });
}

/** The other end of `takeSocket`: a socket's descriptor as a stream of the calling thread. */
export function adoptSocket(descriptor: number, peer: string): Stream {
  const reader = new Reader();
  const options = {
    ...{ ...socketOptions, fd: descriptor, readable: true, writable: true },
    ...{ manualStart: true, onread: reader.onread },
  };
  return new PlainStream(new Socket(options), peer, reader);
}

/** Gives up a stream for TLS: its handlers hear nothing more. Undefined if it is not of Node's. */
export function release(stream: Stream): Socket | undefined {
  return stream instanceof SocketStream ? stream.release() : undefined;
}

let handlesWork: Promise<boolean> | undefined;

/**
 * Whether this Node lets a socket's handle move. Tried once, on a real connection: bytes sent by
 * the peer must arrive through `onread`, and the end of its side must be noticed.
 */
export function canTakeHandles(): Promise<boolean> {
  handlesWork ??= tryHandles();
  return handlesWork;
}

const SELF_TEST_TIMEOUT_MS = 2_000;

function tryHandles(): Promise<boolean> {
  return new Promise((resolve) => {
    let peer: Socket | undefined;
    let taken: Stream | undefined;
    const received: number[] = [];
    const finish = (works: boolean) => {
      clearTimeout(timer);
      peer?.destroy();
      taken?.destroy();
      server.close();
      resolve(works);
    };
    const timer = setTimeout(() => finish(false), SELF_TEST_TIMEOUT_MS);
    const server = createServer({ pauseOnConnect: true, allowHalfOpen: true }, (socket) => {
      try {
        taken = takeOver(socket, 'self-test');
        taken.start({
          onBytes: (view) => void received.push(...view),
          onDrained: () => {},
          onEnd: () => finish(received.join() === '70,69'),
          onClosed: () => {},
        });
      } catch {
        finish(false);
      }
    });
    server.on('error', () => finish(false));
    // An abstract unix socket needs neither a file nor a network.
    const address =
      process.platform === 'linux'
        ? { path: `\0blockferry-${process.pid}-${performance.now()}` }
        : { host: '127.0.0.1', port: 0 };
    server.listen(address, () => {
      const bound = server.address();
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
      peer = connect('path' in address ? address : { host: address.host, port });
      peer.on('error', () => finish(false));
      peer.end(Uint8Array.of(70, 69));
    });
  });
}

class SocketStream implements Stream {
  readonly peer: string;
  protected readonly socket: Socket;
  readonly #reader: Reader;
  #full = false;
  #failure: EnvError | undefined;
  protected isReleased = false;

  constructor(socket: Socket, peer: string, reader: Reader) {
    this.socket = socket;
    this.peer = peer;
    this.#reader = reader;
    // From here on: before `start` nobody else would take an error, and Node would throw it.
    socket.on('error', (error) => {
      this.#failure = toEnvError(error, 'talk to', peer);
    });
  }

  start(handlers: StreamHandlers): void {
    const socket = this.socket;
    this.#reader.handlers = handlers;
    socket.on('drain', () => {
      if (!this.#full || this.isReleased) return;
      this.#full = false;
      handlers.onDrained();
    });
    socket.on('end', () => this.isReleased || handlers.onEnd());
    socket.on('close', () => this.isReleased || handlers.onClosed(this.#failure));
    if (socket.closed) queueMicrotask(() => handlers.onClosed(this.#failure));
    else socket.resume();
  }

  release(): Socket {
    this.isReleased = true;
    this.#reader.handlers = undefined;
    return this.socket;
  }

  write(buffers: readonly Uint8Array[], written?: () => void): boolean {
    const socket = this.socket;
    if (socket.destroyed || !socket.writable) return false;
    const done = written && ((error?: Error | null) => void (error ? undefined : written()));
    const last = buffers.length - 1;
    if (last <= 0) socket.write(buffers[0] ?? new Uint8Array(0), done);
    else {
      socket.cork();
      for (let index = 0; index < last; index += 1) socket.write(buffers[index]!);
      socket.write(buffers[last]!, done);
      socket.uncork();
    }
    // Node's own answer was made before the kernel took its share.
    this.#full ||= socket.writableLength >= QUEUED_BYTES_MAX;
    return !this.#full;
  }

  expectMore(): void {
    if (!isParallel) return;
    const nowMs = performance.now();
    if (this.#reader.punctuality.answered(nowMs)) wakefulness.keepUp(nowMs + WAIT_MAX_MS);
  }

  get remoteHost(): string | undefined {
    return this.socket.remoteAddress;
  }

  get queuedBytes(): number {
    return this.socket.writableLength;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  detach(): number {
    // Stops the reading, so that not one byte more is taken from the socket.
    this.socket.pause();
    const fd = (this.socket as unknown as WithDescriptor)._handle?.fd ?? -1;
    if (fd < 0) {
      throw new EnvError('ENV_UNSUPPORTED', `the socket of ${this.peer} has no number to hand on`, {
        hint: 'It is closed, or this version of Node does not tell; use another one.',
      });
    }
    const copy = linuxCalls().duplicate(fd);
    if (copy < 0) throw posixError(failureName(copy), 'take the socket of', this.peer);
    this.socket.destroy(); // Closes its own number of the socket, which stays open.
    return copy;
  }
}

/** Bytes go to the socket as they are, so they can be handed to the kernel directly. */
class PlainStream extends SocketStream {
  #fd = -1;

  /**
   * One system call without Node's bookkeeping, which costs more than the call. A failure answers
   * 0: `write` meets it again, and tells.
   */
  writeNow(buffers: readonly Uint8Array[]): number {
    const { socket } = this;
    // Once it is destroyed, the descriptor's number may belong to somebody else.
    if (this.isReleased || socket.destroyed || !socket.writable) return 0;
    if (socket.writableLength > 0) return 0;
    if (this.#fd < 0) this.#fd = (socket as unknown as WithDescriptor)._handle?.fd ?? -1;
    if (this.#fd < 0) return 0;
    return Math.max(0, native()?.writeVector(this.#fd, buffers) ?? 0);
  }
}
