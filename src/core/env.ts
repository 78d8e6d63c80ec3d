/**
 * Env: the only door to clock, randomness, files, sockets and worker threads.
 *
 * Production code never calls `Date.now`, `Math.random`, `node:fs`, `node:net` or `new Worker`
 * itself; it is handed an Env. `node-env.ts` is the real one, `sim/` holds the simulated one, in
 * which a whole run repeats under a seed, with faults. Every failure is an EnvError.
 */
import type { DatagramHandlers, DatagramOptions, DatagramSocket } from './datagrams.ts';
import type { EnvError } from './errors.ts';
import type { Tls, TlsOptions } from './tls.ts';

export type * from './datagrams.ts';
export type * from './tls.ts';

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly net: Net;
  readonly workers: Workers;
}

export interface Clock {
  /** Never goes back; for durations and deadlines. Its zero means nothing. */
  monotonicMs(): number;
  /** As `monotonicMs`, but goes on while the host sleeps; in steps of some milliseconds. */
  bootMs(): number;
  /** Milliseconds since 1970 as the host believes; for people only, no safety rests on it. */
  wallMs(): number;
  /** Runs `run` once after `delayMs`; 0: once whatever has come meanwhile had its turn. */
  after(delayMs: number, run: () => void, options?: TimerOptions): Timer;
}

/** Without `keepsProcess` a process may end though the timer is pending. */
export type TimerOptions = { readonly keepsProcess?: boolean };

export interface Timer {
  /** Harmless when the timer has fired or was cancelled. */
  cancel(): void;
}

export interface Random {
  /** Fills `target` with bytes that are fit for keys and identifiers. */
  fill(target: Uint8Array): void;
}

/** `create` fails with ENV_EXISTS if the path exists; `write` opens or makes; `read` only reads. */
export type OpenMode = 'read' | 'update' | 'write' | 'create';

export type FileKind = 'file' | 'directory' | 'block-device' | 'other';

export interface FileStat {
  readonly kind: FileKind;
  /** For block devices the real size of the medium. */
  readonly sizeBytes: number;
  /** Bytes that the file system has allocated; equals `sizeBytes` for devices. */
  readonly allocatedBytes: number;
  readonly modifiedMs: number;
  /** When content or anything else about it changed last; nobody can set it. */
  readonly changedMs: number;
  readonly device: number;
  readonly inode: number;
}

export type OpenFileOptions = {
  /**
   * Transfers pass the page cache by: offsets and lengths must be multiples of the medium's sector.
   * ENV_INVALID or ENV_UNSUPPORTED where the file system or this host cannot.
   */
  readonly directIo?: boolean;
  /**
   * A block device must be in use by nobody else: ENV_ACCESS if it is mounted, or part of a volume
   * group or an array (O_EXCL, open(2)). Means nothing to a file.
   */
  readonly exclusive?: boolean;
};

export interface Files {
  open(path: string, mode: OpenMode, options?: OpenFileOptions): Promise<OpenFile>;
  /** Follows symbolic links. ENV_NOT_FOUND if there is nothing. */
  stat(path: string): Promise<FileStat>;
  /** Like `stat`, but a symbolic link is answered for itself, as `other`, and not followed. */
  statEntry(path: string): Promise<FileStat>;
  /** Names in a directory, without `.` and `..`, sorted by code unit. */
  list(path: string): Promise<string[]>;
  /** Makes one directory; an existing one is fine. The parent must exist. */
  makeDirectory(path: string): Promise<void>;
  /** A second name for a file; ENV_EXISTS if `to` is there: the atomic put-if-absent. */
  link(from: string, to: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  /** Makes the names in a directory durable. */
  syncDirectory(path: string): Promise<void>;
  /**
   * Takes an exclusive lock that dies with the process, on the file at `path` (made if absent).
   * Answers undefined at once if somebody holds it.
   */
  lock(path: string): Promise<FileLock | undefined>;
}

export interface FileLock {
  release(): Promise<void>;
}

/** `error` is null on success; `bytes` counts what was transferred, possibly short. */
export type FileDone = (error: EnvError | null, bytes: number) => void;

/**
 * An open file or block device. Calls may overlap. Buffers belong to the caller and are not touched
 * after `done`. Short transfers are possible and are the caller's to continue (`readFully`,
 * `writeFully` in file-io.ts do); 0 bytes read means the end.
 */
export interface OpenFile {
  readonly path: string;
  stat(): Promise<FileStat>;
  read(target: Uint8Array, offsetBytes: number, done: FileDone): void;
  write(source: Uint8Array, offsetBytes: number, done: FileDone): void;
  /**
   * True if the whole transfer was done before it returned, without waiting for the medium. False,
   * whatever the reason: it must be made with `read` or `write`, which also tell what is wrong.
   */
  readAtOnce?(target: Uint8Array, offsetBytes: number): boolean;
  writeAtOnce?(source: Uint8Array, offsetBytes: number): boolean;
  /** fdatasync: everything written before survives a power cut once this resolves. */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  /** Deallocates; the range then reads as zero. False where the medium cannot: nothing happened. */
  punchHole(offsetBytes: number, lengthBytes: number): boolean;
  /**
   * The first run of possibly non-zero bytes that ends after `offsetBytes`, or undefined if only
   * holes follow. A medium that does not know its holes answers with all of the rest.
   */
  nextData(offsetBytes: number): { offsetBytes: number; lengthBytes: number } | undefined;
  /**
   * Makes this empty file share all blocks of `source`, as they are at one moment, until one of
   * both is written (FICLONE). ENV_UNSUPPORTED if the file system cannot. Absent: the host cannot.
   */
  shareFrom?(source: OpenFile): void;
  /**
   * Where the bytes from `offsetBytes` on lie in the file system, ascending, with gaps where holes
   * are; some hundred extents at most, none if only holes follow (FIEMAP). What is written and not
   * placed yet is placed first. ENV_UNSUPPORTED as above; absent: the host cannot.
   */
  placement?(offsetBytes: number): readonly PlacedExtent[];
  close(): Promise<void>;
}

export type PlacedExtent = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Bytes at equal places of one file system are the same bytes. */
  readonly placeBytes: number;
  /** False: `placeBytes` means nothing, the content is packed, encrypted, or elsewhere. */
  readonly isCertain: boolean;
  /** Reads as zero, whatever lies there. */
  readonly isUnwritten: boolean;
};

export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export interface Net {
  /** TCP port 0 picks a free one; the listener tells. A stale unix socket file is replaced. */
  listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener>;
  connect(address: Address, timeoutMs: number): Promise<Stream>;
  /** A UDP socket. ENV_ADDRESS_IN_USE, ENV_INVALID as for `listen`. */
  openDatagrams(options: DatagramOptions, handlers: DatagramHandlers): Promise<DatagramSocket>;
  /** Credentials made ready for use; fails with ENV_TLS if they are unusable. */
  tls(options: TlsOptions): Tls;
  /**
   * Takes the socket out of a stream that was not started yet, for `adopt` on another thread of
   * this process; the stream is over, and its peer hears nothing of it. The number must be adopted
   * or discarded, once. ENV_UNSUPPORTED where sockets cannot move.
   */
  handOver(stream: Stream): number;
  /** The socket that was handed over, as a stream of this thread. */
  adopt(descriptor: number, peer: string): Stream;
  /** Closes a socket that was handed over and that nobody adopts. */
  discard(descriptor: number): void;
}

export interface Listener {
  readonly address: Address;
  /** Stops accepting and removes a unix socket file; open streams go on. */
  close(): Promise<void>;
}

export interface StreamHandlers {
  /** `view` is borrowed: it is overwritten after the call returns. */
  onBytes(view: Uint8Array): void;
  /** The outgoing queue, once full, is empty again. */
  onDrained(): void;
  /** The peer will send no more; writing is still possible. */
  onEnd(): void;
  /** The last call; `error` is undefined after an orderly close. */
  onClosed(error: EnvError | undefined): void;
}

/** A duplex byte stream: TCP, a unix socket, a socket pair, a simulated link. */
export interface Stream {
  /** Names the peer in logs. */
  readonly peer: string;
  /** The peer's address in numbers; undefined where it has none. */
  readonly remoteHost?: string | undefined;
  /** Must be called once, in the tick in which the stream was handed over. */
  start(handlers: StreamHandlers): void;
  /**
   * Queues `buffers` in order, in one system call where possible. They are given away until
   * `written`, if passed, is called (not called if the stream dies first: then `onClosed` is).
   * False: the queue is full; wait for `onDrained` before more.
   */
  write(buffers: readonly Uint8Array[], written?: () => void): boolean;
  /**
   * Sends as much of `buffers`, in order, as goes without waiting, and answers how many bytes that
   * were: 0 while anything written before is still queued, or whatever the reason. The rest is the
   * caller's to `write`. Nothing of the buffers is kept.
   */
  writeNow?(buffers: readonly Uint8Array[]): number;
  /**
   * Says that all that came is answered, and that the peer has nothing to do but to ask again: the
   * thread may stay awake for that for a moment. A hint: nothing depends on it.
   */
  expectMore?(): void;
  /** Bytes accepted by `write` that the kernel has not taken yet. */
  readonly queuedBytes: number;
  pause(): void;
  resume(): void;
  /** Sends what is queued, then half-closes. */
  end(): void;
  /** Closes at once, dropping what is queued. */
  destroy(): void;
}

export interface Workers {
  /** How many can usefully run at once. */
  readonly parallelism: number;
  /** Starts a thread that imports `module` and calls its export `serve(port)`. */
  start(module: URL, handlers: WorkerHandlers, options?: WorkerOptions): WorkerPort;
  /** Frees memory that was shared with threads that have ended; takes some milliseconds. */
  reclaim?(): void;
  /**
   * From now on what large buffers took goes back to the system when they are freed, though fresh
   * ones cost more: for who uses most of them again, and goes on for long.
   */
  returnLargeMemory?(): void;
}

export type WorkerOptions = {
  /** Memory for objects that die young; where many live at once, little of it means slow. */
  readonly youngMiB?: number;
  /** As nice(1): above 0 it gives way to others. A wish, where the host knows none for threads. */
  readonly niceness?: number;
};

export interface WorkerHandlers {
  onMessage(message: unknown): void;
  /** The thread died; no message follows. */
  onError(error: EnvError): void;
}

/** One end of a channel. Messages are structured clones; SharedArrayBuffers are shared. */
export interface WorkerPort {
  post(message: unknown): void;
  terminate(): Promise<void>;
}

/** What a worker module exports: takes the channel, answers with its handler of messages. */
export type ServeWorker = (post: (message: unknown) => void) => (message: unknown) => void;
