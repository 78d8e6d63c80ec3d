/** The few system calls that Node lacks, through koffi, which is loaded at the first use. */
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { INTERRUPTED_RETRIES_MAX } from '../limits.ts';

/** Each answers 0 or more, or, unless it says otherwise, minus an error number of this system. */
export type Native = {
  seek(fd: number, offsetBytes: number, whence: number): number;
  allocate(fd: number, mode: number, offsetBytes: number, lengthBytes: number): number;
  lock(fd: number, operation: number): number;
  /** Has one file share the blocks of another (ioctl_ficlonerange(2)). */
  share(fd: number, sourceFd: number): number;
  /** Fills the request of FIEMAP with extents, in place. */
  mapExtents(fd: number, request: Uint8Array): number;
  /** Fills `target` as far as the page cache can at once (preadv2(2), RWF_NOWAIT); or -1. */
  readCached(fd: number, target: Uint8Array, offsetBytes: number): number;
  /** Writes what goes at once to a descriptor that does not block (writev(2)); or -1. */
  writeVector(fd: number, buffers: readonly Uint8Array[]): number;
  /** Wants large pages under whole pages of memory (madvise(2), MADV_HUGEPAGE). */
  adviseHuge(address: number, lengthBytes: number): number;
  /** Where in memory `bytes` begin. */
  addressOf(bytes: Uint8Array): number;
};

// Linux numbers (lseek(2), fallocate(2), flock(2)); those of flock hold on macOS too.
export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
export const PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01;
export const LOCK_EXCLUSIVE_NOW = 2 | 4;
const NO_WAITING = 8; // RWF_NOWAIT
const HUGE_PAGES = 14; // MADV_HUGEPAGE
// linux/fs.h: _IOW(0x94, 9, int) and _IOWR('f', 11, struct fiemap).
const IOCTL_CLONE = 0x40049409;
const IOCTL_FIEMAP = 0xc020660b;
/** Buffers that one call takes; the caller goes on with the rest. Far below the system's 1,024. */
const VECTORS_MAX = 64;

let loaded: Native | null | undefined;

/** Undefined where koffi is missing; a call that the system lacks answers EOPNOTSUPP. */
export function native(): Native | undefined {
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

/** The name of an error number, for example `EINVAL`. */
export function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(constants.errno)) if (value === errno) return name;
  return `errno ${errno}`;
}

type Call = (...numbers: number[]) => number;
type MapCall = (fd: number, request: number, bytes: Uint8Array) => number;
type Koffi = {
  load(path: null): { func(prototype: string): Call };
  errno(): number;
  address(bytes: Uint8Array): bigint;
};

function load(): Native | null {
  if (process.platform !== 'linux' && process.platform !== 'darwin') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const libc = koffi.load(null);
    const addressOf = (bytes: Uint8Array): number => Number(koffi.address(bytes));
    const bind = (prototype: string): Call =>
      retryInterrupted(libc.func(prototype), () => koffi.errno());
    const lock = bind('int flock(int, int)');
    if (process.platform === 'darwin') {
      const absent = { seek: unsupported, allocate: unsupported, readCached: unsupported };
      const others = { writeVector: unsupported, share: unsupported, mapExtents: unsupported };
      return { lock, addressOf, ...absent, ...others, adviseHuge: unsupported };
    }
    // On 32-bit systems the plain names take a 32-bit offset.
    const wide = process.arch === 'ia32' || process.arch === 'arm' ? '64' : '';
    const locate = locator(addressOf);
    const share = bind('int ioctl(int, unsigned long, long)');
    const map = libc.func('int ioctl(int, unsigned long, void *)') as unknown as MapCall;
    const advise = bind('int madvise(uintptr_t, size_t, int)');
    return {
      lock,
      addressOf,
      seek: bind(`int64_t lseek${wide}(int, int64_t, int)`),
      allocate: bind(`int fallocate${wide}(int, int, int64_t, int64_t)`),
      readCached: bindReadCached(locate, libc),
      writeVector: bindWriteVector(locate, libc),
      share: (fd, sourceFd) => share(fd, IOCTL_CLONE, sourceFd),
      adviseHuge: (address, lengthBytes) => advise(address, lengthBytes, HUGE_PAGES),
      mapExtents: (fd, request) => (map(fd, IOCTL_FIEMAP, request) < 0 ? -koffi.errno() : 0),
    };
  } catch {
    return null; // No prebuilt binary for this system: callers have a way without it.
  }
}

/** Writes where `bytes` lie and how many they are into a vector of two words of 64 bits each. */
export type Locate = (vector: Uint32Array, at: number, bytes: Uint8Array) => void;

export function locator(addressOf: (bytes: Uint8Array) => number): Locate {
  // Memory never moves while its ArrayBuffer lives; one that was given away has no bytes left.
  const addresses = new WeakMap<ArrayBufferLike, number>();
  return (vector, at, bytes) => {
    const { buffer } = bytes;
    let address = addresses.get(buffer);
    if (address === undefined) {
      address = addressOf(new Uint8Array(buffer));
      addresses.set(buffer, address);
    }
    const start = address + bytes.byteOffset;
    vector[at] = start % 2 ** 32;
    vector[at + 1] = Math.floor(start / 2 ** 32);
    vector[at + 2] = bytes.byteLength;
  };
}

/** One vector, described once: an object per call would cost as much as the call. */
function bindWriteVector(locate: Locate, libc: { func(prototype: string): unknown }) {
  if (process.arch !== 'x64' && process.arch !== 'arm64') return unsupported;
  type Write = (fd: number, vector: Uint32Array, count: number) => number;
  const write = libc.func('int64_t writev(int, void *, int)') as Write;
  const vector = new Uint32Array(4 * VECTORS_MAX);
  return (fd: number, buffers: readonly Uint8Array[]): number => {
    const count = Math.min(buffers.length, VECTORS_MAX);
    for (let index = 0; index < count; index += 1) locate(vector, 4 * index, buffers[index]!);
    return write(fd, vector, count);
  };
}

function bindReadCached(locate: Locate, libc: { func(prototype: string): unknown }) {
  // The vector is two words of 64 bits, written in halves below.
  if (process.arch !== 'x64' && process.arch !== 'arm64') return unsupported;
  let read: (fd: number, vector: Uint32Array, count: 1, at: number, flags: number) => number;
  try {
    read = libc.func('int64_t preadv2(int, void *, int, int64_t, int)') as typeof read;
  } catch {
    return unsupported; // A libc older than the call.
  }
  const vector = new Uint32Array(4);
  return (fd: number, target: Uint8Array, offsetBytes: number): number => {
    locate(vector, 0, target);
    return read(fd, vector, 1, offsetBytes, NO_WAITING);
  };
}

function unsupported(): number {
  return -constants.errno.EOPNOTSUPP;
}

function retryInterrupted(call: Call, errno: () => number): Call {
  return (...numbers) => {
    let failure = 0;
    for (let tries = 0; tries <= INTERRUPTED_RETRIES_MAX; tries++) {
      const answer = call(...numbers);
      if (answer >= 0) return answer;
      failure = errno();
      if (failure !== constants.errno.EINTR) break;
    }
    return -failure;
  };
}
