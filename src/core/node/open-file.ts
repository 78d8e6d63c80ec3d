/** An open file or block device of the real disk. */
import fs from 'node:fs';
import { constants } from 'node:os';
import type { FileDone, FileKind, FileStat, OpenFile, PlacedExtent } from '../env.ts';
import { EnvError } from '../errors.ts';
import { INTERRUPTED_RETRIES_MAX, TRANSFER_BYTES_MAX } from '../limits.ts';
import { BOUNCE_BYTES, bounces } from './bounce.ts';
import {
  errnoName,
  native,
  PUNCH_HOLE_KEEP_SIZE,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
} from './native.ts';
import { PageCache } from './page-cache.ts';
import { placedExtents, placementRequest, sharingError } from './placement.ts';
import { posixError, posixName, toEnvError } from './posix-error.ts';

type Run = { offsetBytes: number; lengthBytes: number };
type Transfer = (
  fd: number,
  bytes: Uint8Array,
  start: number,
  length: number,
  offsetBytes: number,
  done: (error: NodeJS.ErrnoException | null, count: number) => void,
) => void;

/** What these mean is "this medium cannot punch here", not that it is broken. */
const cannotPunch: ReadonlySet<string> = new Set(['EOPNOTSUPP', 'ENOSYS', 'EINVAL', 'ENODEV']);

/**
 * Buffered writes of this length go one after the other: the kernel lets one writer at a time into
 * a file, and keeps the processors of the others busy with waiting.
 */
const WRITE_ALONE_BYTES = 256 * 1024;

export class NodeFile implements OpenFile {
  readonly path: string;
  readonly #kind: FileKind;
  /** Absent: transfers pass it by. */
  readonly #pageCache: PageCache | undefined;
  #fd: number;
  #closing: Promise<void> | undefined;
  #isWritingAlone = false;
  readonly #writes: (() => void)[] = [];

  constructor(path: string, fd: number, kind: FileKind, isDirect = false) {
    this.path = path;
    this.#fd = fd;
    this.#kind = kind;
    this.#pageCache = isDirect ? undefined : new PageCache(fd, kind);
  }

  async stat(): Promise<FileStat> {
    const stats = await this.#call<fs.Stats>('examine', (done) => fs.fstat(this.#fd, done));
    if (this.#kind !== 'block-device') return statOf(stats, this.#kind, undefined);
    return statOf(stats, this.#kind, deviceSizeBytes(this.#fd, stats.rdev, this.path));
  }

  read(target: Uint8Array, offsetBytes: number, done: FileDone): void {
    if (this.#pageCache === undefined) this.#readDirect(target, offsetBytes, done);
    else this.#transfer('read from', fs.read, target, offsetBytes, done, 0);
  }

  write(source: Uint8Array, offsetBytes: number, done: FileDone): void {
    if (this.#pageCache === undefined) this.#writeDirect(source, offsetBytes, done);
    else if (this.#kind === 'file' && source.byteLength >= WRITE_ALONE_BYTES) {
      this.#writeAlone(source, offsetBytes, done);
    } else this.#transfer('write to', fs.write, source, offsetBytes, done, 0);
  }

  readAtOnce(target: Uint8Array, offsetBytes: number): boolean {
    return this.#fd >= 0 && this.#pageCache?.read(target, offsetBytes) === true;
  }

  writeAtOnce(source: Uint8Array, offsetBytes: number): boolean {
    return this.#fd >= 0 && this.#pageCache?.write(source, offsetBytes) === true;
  }

  sync(): Promise<void> {
    return this.#call('make durable', (done) => fs.fdatasync(this.#fd, done));
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call('resize', (done) => fs.ftruncate(this.#fd, sizeBytes, done));
  }

  punchHole(offsetBytes: number, lengthBytes: number): boolean {
    this.#checkOpen('punch a hole into');
    const system = native();
    if (system === undefined || lengthBytes === 0) return lengthBytes === 0;
    const answer = system.allocate(this.#fd, PUNCH_HOLE_KEEP_SIZE, offsetBytes, lengthBytes);
    if (answer >= 0) return true;
    const name = errnoName(-answer);
    if (cannotPunch.has(name)) return false;
    throw posixError(name, 'punch a hole into', this.path);
  }

  nextData(offsetBytes: number): Run | undefined {
    this.#checkOpen('look for data in');
    const system = native();
    const start = system?.seek(this.#fd, offsetBytes, SEEK_DATA);
    if (start !== undefined && start >= 0) {
      const end = system!.seek(this.#fd, start, SEEK_HOLE);
      // Cut shorter in between: nothing is left there.
      return end > start ? { offsetBytes: start, lengthBytes: end - start } : undefined;
    }
    if (start !== undefined && errnoName(-start) === 'ENXIO') return undefined;
    return this.#rest(offsetBytes);
  }

  shareFrom(source: NodeFile): void {
    this.#checkOpen('share blocks with');
    source.#checkOpen('share blocks of');
    const answer = native()?.share(this.#fd, source.#fd) ?? -constants.errno.EOPNOTSUPP;
    if (answer < 0) throw sharingError(errnoName(-answer), 'share blocks with', this.path);
  }

  placement(offsetBytes: number): PlacedExtent[] {
    this.#checkOpen('find the blocks of');
    const request = placementRequest(offsetBytes);
    const answer = native()?.mapExtents(this.#fd, request) ?? -constants.errno.EOPNOTSUPP;
    if (answer < 0) throw sharingError(errnoName(-answer), 'find the blocks of', this.path);
    return placedExtents(request);
  }

  close(): Promise<void> {
    if (this.#closing === undefined) {
      const fd = this.#fd;
      this.#closing = this.#call('close', (done) => fs.close(fd, done));
      this.#fd = -1; // The number may belong to another file from now on.
    }
    return this.#closing;
  }

  /** All that follows `offsetBytes`: a medium that does not tell its holes. */
  #rest(offsetBytes: number): Run | undefined {
    let sizeBytes: number;
    try {
      const stats = fs.fstatSync(this.#fd);
      const isDevice = this.#kind === 'block-device';
      sizeBytes = isDevice ? deviceSizeBytes(this.#fd, stats.rdev, this.path) : stats.size;
    } catch (error) {
      throw toEnvError(error, 'examine', this.path);
    }
    return offsetBytes < sizeBytes
      ? { offsetBytes, lengthBytes: sizeBytes - offsetBytes }
      : undefined;
  }

  #readDirect(target: Uint8Array, offsetBytes: number, done: FileDone): void {
    const length = Math.min(target.byteLength, BOUNCE_BYTES);
    bounces.take((bounce) => {
      const part = bounce.subarray(0, length);
      const copied: FileDone = (error, count) => {
        target.set(bounce.subarray(0, count));
        bounces.giveBack(bounce);
        done(error, count);
      };
      this.#transfer('read from', fs.read, part, offsetBytes, copied, 0);
    });
  }

  #writeDirect(source: Uint8Array, offsetBytes: number, done: FileDone): void {
    const length = Math.min(source.byteLength, BOUNCE_BYTES);
    bounces.take((bounce) => {
      bounce.set(source.subarray(0, length));
      const written: FileDone = (error, count) => {
        bounces.giveBack(bounce);
        done(error, count);
      };
      this.#transfer('write to', fs.write, bounce.subarray(0, length), offsetBytes, written, 0);
    });
  }

  #writeAlone(source: Uint8Array, offsetBytes: number, done: FileDone): void {
    if (this.#isWritingAlone) {
      this.#writes.push(() => this.#writeAlone(source, offsetBytes, done));
      return;
    }
    this.#isWritingAlone = true;
    const written: FileDone = (error, count) => {
      this.#isWritingAlone = false;
      this.#writes.shift()?.();
      done(error, count);
    };
    this.#transfer('write to', fs.write, source, offsetBytes, written, 0);
  }

  #transfer(
    verb: string,
    start: Transfer,
    bytes: Uint8Array,
    offsetBytes: number,
    done: FileDone,
    tries: number,
  ): void {
    const length = Math.min(bytes.byteLength, TRANSFER_BYTES_MAX);
    try {
      this.#checkOpen(verb);
      start(this.#fd, bytes, 0, length, offsetBytes, (error, count) => {
        if (!error) {
          done(null, count);
          return;
        }
        const name = posixName(error);
        if ((name === 'EINTR' || name === 'EAGAIN') && tries < INTERRUPTED_RETRIES_MAX) {
          this.#transfer(verb, start, bytes, offsetBytes, done, tries + 1);
        } else {
          done(this.#located(error, verb, length, offsetBytes), 0);
        }
      });
    } catch (error) {
      // Later, as for every other failure: a callback in the same tick would surprise the caller.
      process.nextTick(done, this.#located(error, verb, length, offsetBytes), 0);
    }
  }

  #located(error: unknown, verb: string, lengthBytes: number, offsetBytes: number): EnvError {
    return toEnvError(error, verb, `${this.path} (${lengthBytes} bytes at ${offsetBytes})`);
  }

  #checkOpen(verb: string): void {
    if (this.#fd < 0) throw posixError('EBADF', verb, this.path);
  }

  #call<T>(
    verb: string,
    start: (done: (error: NodeJS.ErrnoException | null, value?: T) => void) => void,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      try {
        this.#checkOpen(verb);
        start((error, value) => {
          if (error) reject(toEnvError(error, verb, this.path));
          else resolve(value as T);
        });
      } catch (error) {
        reject(toEnvError(error, verb, this.path));
      }
    });
  }
}

/** `deviceBytes` is the real size of a block device, for which stat says 0. */
export function statOf(stats: fs.Stats, kind: FileKind, deviceBytes: number | undefined): FileStat {
  return {
    kind,
    sizeBytes: deviceBytes ?? stats.size,
    allocatedBytes: deviceBytes ?? stats.blocks * 512, // st_blocks counts 512 bytes: stat(2).
    modifiedMs: stats.mtimeMs,
    changedMs: stats.ctimeMs,
    device: stats.dev,
    inode: stats.ino,
  };
}

function deviceSizeBytes(fd: number, deviceNumber: number, path: string): number {
  const sizeBytes = native()?.seek(fd, 0, SEEK_END) ?? -1;
  if (sizeBytes >= 0) return sizeBytes;
  // makedev(3): the layout of a Linux device number.
  const major = (deviceNumber >>> 8) & 0xfff;
  const minor = (deviceNumber & 0xff) | ((deviceNumber >>> 12) & 0xfff00);
  try {
    const sectors = fs.readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'latin1');
    return Number(sectors) * 512; // Always in units of 512 bytes, whatever the sector size.
  } catch (error) {
    throw new EnvError('ENV_UNSUPPORTED', `the size of ${path} cannot be found out`, {
      hint: 'Install the optional native part (koffi) for this system.',
      cause: error,
    });
  }
}
