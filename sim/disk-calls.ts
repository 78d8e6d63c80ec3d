/** Files and OpenFile over a simulated disk: calls take virtual time, may fail, may fall short. */
import {
  crc32,
  type FileDone,
  type FileLock,
  type FileStat,
  type Files,
  hasCode,
  type OpenFile,
} from '../src/core/index.ts';
import type { SimulatedDisk } from './disk.ts';
import type { DiskFile } from './disk-file.ts';
import { failure, statOf } from './disk-nodes.ts';
import type { DiskOperation } from './fault-plan.ts';
import type { SimulatedProcess } from './process.ts';

export type DiskCallOptions = {
  /** Reads and writes transfer less than asked now and then. */
  readonly shortTransfers: boolean;
};

/** Milliseconds; only their order of magnitude and their spread matter. */
const costMs: Readonly<Partial<Record<DiskOperation, number>>> = {
  sync: 4,
  'sync-directory': 4,
  read: 0.1,
  write: 0.1,
};
const ORDINARY_COST_MS = 0.02;
/** One call in so many takes very long, so that others overtake it. */
const SLOW_CALLS = 16;
const SLOW_FACTOR = 50;
const SHORT_TRANSFERS = 4;

/** What a failed read leaves in its target, so that nobody gets away with using it. */
const UNDEFINED_BYTE = 0xdb;

export function simulatedFiles(
  disk: SimulatedDisk,
  process: SimulatedProcess,
  options: DiskCallOptions,
): Files {
  const call = <T>(operation: DiskOperation, path: string, effect: () => T): Promise<T> =>
    timed(disk, process, operation, path, effect);
  return {
    open: (path, mode) =>
      call('open', path, () => {
        const file = disk.open(path, mode, process.nowMs);
        return new SimulatedFile({ disk, process, file, path, options, writable: mode !== 'read' });
      }),
    stat: (path) => call('stat', path, () => disk.stat(path, true)),
    statEntry: (path) => call('stat', path, () => disk.stat(path, false)),
    list: (path) => call('list', path, () => disk.list(path)),
    makeDirectory: (path) => call('make-directory', path, () => disk.makeDirectory(path)),
    link: (from, to) => call('link', to, () => disk.link(from, to)),
    rename: (from, to) => call('rename', to, () => disk.rename(from, to)),
    remove: (path) => call('remove', path, () => disk.remove(path)),
    removeDirectory: (path) => call('remove-directory', path, () => disk.removeDirectory(path)),
    syncDirectory: async (path) => {
      const mark = disk.mark;
      try {
        await call('sync-directory', path, () => disk.syncDirectory(path, mark));
      } catch (error) {
        if (hasCode(error, 'ENV_IO')) disk.loseDirectory(path, mark);
        throw error;
      }
    },
    lock: (path) => call('lock', path, () => takeLock(disk, process, path)),
  };
}

function takeLock(
  disk: SimulatedDisk,
  process: SimulatedProcess,
  path: string,
): FileLock | undefined {
  const file = disk.open(path, 'write', process.nowMs);
  const holder = {};
  if (!disk.lock(file, holder)) {
    disk.release(file);
    return undefined;
  }
  let held = true;
  const release = (): void => {
    if (!held) return;
    held = false;
    forget();
    disk.unlock(file, holder);
    disk.release(file);
  };
  const forget = process.atDeath(release);
  return { release: () => timed(disk, process, 'close', path, release) };
}

/** Schedules one call; the fault plan may refuse it before, or belie it after, its effect. */
function timed<T>(
  disk: SimulatedDisk,
  process: SimulatedProcess,
  operation: DiskOperation,
  path: string,
  effect: () => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    process.schedule(delayOf(process, operation), `${operation} ${path}`, () => {
      try {
        const value = judged(disk, operation, path, effect);
        process.trace('done');
        resolve(value);
      } catch (error) {
        process.trace(String((error as { code?: unknown }).code));
        reject(error as Error);
      }
    });
  });
}

function judged<T>(
  disk: SimulatedDisk,
  operation: DiskOperation,
  path: string,
  effect: () => T,
): T {
  const verdict = disk.faults.judge(operation, path);
  if (verdict !== undefined && !verdict.applied) throw failure(verdict.code, path);
  const value = effect();
  if (verdict !== undefined) throw failure(verdict.code, path);
  return value;
}

function delayOf(process: SimulatedProcess, operation: DiskOperation): number {
  const draws = process.draws();
  const base = (costMs[operation] ?? ORDINARY_COST_MS) * (0.5 + draws.unit());
  return draws.chance(1 / SLOW_CALLS) ? base * SLOW_FACTOR : base;
}

type Opened = {
  readonly disk: SimulatedDisk;
  readonly process: SimulatedProcess;
  readonly file: DiskFile;
  readonly path: string;
  readonly options: DiskCallOptions;
  readonly writable: boolean;
};

class SimulatedFile implements OpenFile {
  readonly path: string;
  readonly #opened: Opened;
  readonly #forget: () => void;
  #inFlight = 0;
  #open = true;
  #closing: Promise<void> | undefined;

  constructor(opened: Opened) {
    this.path = opened.path;
    this.#opened = opened;
    this.#forget = opened.process.atDeath(() => opened.disk.release(opened.file));
  }

  stat(): Promise<FileStat> {
    return this.#call('stat', () => statOf(this.#opened.file));
  }

  read(target: Uint8Array, offsetBytes: number, done: FileDone): void {
    const { file } = this.#opened;
    this.#transfer('read', target, offsetBytes, done, (part) => {
      if (file.isSpoiled(offsetBytes, part.byteLength)) throw failure('ENV_IO', this.path);
      return file.image.read(part, offsetBytes);
    });
  }

  write(source: Uint8Array, offsetBytes: number, done: FileDone): void {
    const { disk, file, process } = this.#opened;
    const checksum = crc32(source);
    this.#transfer('write', source, offsetBytes, done, (part) => {
      if (crc32(source) !== checksum) {
        process.misuse(`the buffer of a write to ${this.path} was changed before it was done`);
      }
      file.modifiedMs = process.nowMs;
      return disk.write(file, part, offsetBytes, this.path);
    });
  }

  async sync(): Promise<void> {
    const { file } = this.#opened;
    const mark = file.mark;
    try {
      await this.#call('sync', () => file.force(mark));
    } catch (error) {
      if (hasCode(error, 'ENV_IO')) file.loseUnforced(mark);
      throw error;
    }
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call('truncate', () => {
      this.#checkWritable();
      this.#opened.disk.truncate(this.#opened.file, sizeBytes);
    });
  }

  punchHole(offsetBytes: number, lengthBytes: number): boolean {
    this.#checkOpen();
    this.#checkWritable();
    const { disk, file } = this.#opened;
    const verdict = disk.faults.judge('punch-hole', this.path);
    if (verdict?.code === 'ENV_UNSUPPORTED') return false;
    if (verdict !== undefined) throw failure(verdict.code, this.path);
    disk.punchHole(file, offsetBytes, lengthBytes);
    return true;
  }

  nextData(offsetBytes: number): { offsetBytes: number; lengthBytes: number } | undefined {
    this.#checkOpen();
    return this.#opened.file.image.nextData(offsetBytes);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #close(): Promise<void> {
    const { disk, process, file } = this.#opened;
    if (this.#inFlight > 0) {
      process.misuse(`${this.path} was closed with ${this.#inFlight} calls in flight`);
    }
    this.#open = false;
    return timed(disk, process, 'close', this.path, () => {
      this.#forget();
      disk.release(file);
    });
  }

  async #call<T>(operation: DiskOperation, effect: () => T): Promise<T> {
    this.#checkOpen();
    this.#inFlight++;
    try {
      const { disk, process } = this.#opened;
      return await timed(disk, process, operation, this.path, effect);
    } finally {
      this.#inFlight--;
    }
  }

  #transfer(
    operation: 'read' | 'write',
    bytes: Uint8Array,
    offsetBytes: number,
    done: FileDone,
    effect: (part: Uint8Array) => number,
  ): void {
    const { disk, process, options } = this.#opened;
    const draws = process.draws();
    const short = options.shortTransfers && draws.chance(1 / SHORT_TRANSFERS);
    const wanted = short ? Math.ceil(bytes.byteLength * draws.unit()) : bytes.byteLength;
    const part = bytes.subarray(0, Math.max(Math.min(1, bytes.byteLength), wanted));
    const label = `${operation} ${this.path} ${offsetBytes} ${part.byteLength}`;
    this.#inFlight++;
    process.schedule(delayOf(process, operation), label, () => {
      this.#inFlight--;
      let count: number;
      try {
        this.#checkOpen();
        if (operation === 'write') this.#checkWritable();
        count = judged(disk, operation, this.path, () => effect(part));
      } catch (error) {
        if (operation === 'read') bytes.fill(UNDEFINED_BYTE);
        process.trace(String((error as { code?: unknown }).code));
        done(error as ReturnType<typeof failure>, 0);
        return;
      }
      process.trace(`${count} bytes, ${crc32(part.subarray(0, count))}`);
      done(null, count);
    });
  }

  #checkOpen(): void {
    if (!this.#open) throw failure('ENV_CLOSED', this.path);
  }

  #checkWritable(): void {
    if (!this.#opened.writable) throw failure('ENV_CLOSED', this.path);
  }
}
