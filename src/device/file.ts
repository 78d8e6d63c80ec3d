/** File device: a regular file or a block device of the host. */
import {
  type EnvError,
  type Files,
  type OpenFile,
  readFullyThen,
  writeFully,
  writeFullyThen,
} from '../core/index.ts';
import {
  type Answer,
  anyBlockSizes,
  type BlockSizes,
  checkRange,
  checkWritable,
  type Device,
  DeviceError,
  type DeviceExtent,
  type DeviceHints,
  FAST_ZERO,
  FUA,
  NO_HOLE,
} from './device.ts';
import { closedError, toDeviceError } from './device-error.ts';
import { ExtentList } from './extent-list.ts';
import { FlushGroup } from './flush-group.ts';
import { EXTENTS_AT_ONCE, PUNCH_BYTES_MAX, ZERO_WRITE_BYTES } from './limits.ts';

export type OpenFileOptions = {
  readonly readOnly: boolean;
  /** Passes the host's page cache by; requests are whole sectors then, see `blockSizes`. */
  readonly directIo?: boolean;
};

/** A file or block device that is there, at its real size. */
export async function openFile(
  files: Files,
  path: string,
  { readOnly, directIo = false }: OpenFileOptions,
): Promise<Device> {
  return opening(path, async () => {
    const file = await files.open(path, readOnly ? 'read' : 'update', { directIo });
    return adopt(file, readOnly, directIo ? directSectorBytes : 1);
  });
}

/** A new, empty file of `sizeBytes`, all hole; DEVICE_EXISTS if the name is taken. */
export async function createFile(files: Files, path: string, sizeBytes: number): Promise<Device> {
  return opening(path, async () => resized(await files.open(path, 'create'), sizeBytes));
}

export type Target = {
  readonly device: Device;
  /** It reads as zero everywhere: what is zero need not be written. */
  readonly zeroed: boolean;
};

/**
 * What a restore writes to. A file is made, or emptied if it is there, and has `sizeBytes` then; a
 * block device keeps its content and its size, which must suffice, and must not be in use.
 */
export async function openTarget(files: Files, path: string, sizeBytes: number): Promise<Target> {
  return opening(path, async () => {
    const file = await files.open(path, 'write', { exclusive: true });
    const { kind } = await orClose(file, () => file.stat());
    if (kind !== 'block-device') return { device: await resized(file, sizeBytes), zeroed: true };
    const device = await adopt(file, false);
    if (device.sizeBytes >= sizeBytes) return { device, zeroed: false };
    await device[Symbol.asyncDispose]();
    throw new DeviceError(
      'DEVICE_SIZE',
      `${path} has ${device.sizeBytes} bytes, ${sizeBytes} are needed`,
      { hint: 'Use a larger device.' },
    );
  });
}

async function opening<T>(path: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    throw toDeviceError(error, nameOf(path));
  }
}

function nameOf(path: string): string {
  return `file:${path.slice(path.lastIndexOf('/') + 1)}`;
}

async function resized(file: OpenFile, sizeBytes: number): Promise<Device> {
  await orClose(file, async () => {
    await file.truncate(0);
    await file.truncate(sizeBytes);
  });
  return new FileDevice(file, sizeBytes, false);
}

/** The sector that every disk takes; older ones would take less. */
const directSectorBytes = 4096;

async function adopt(file: OpenFile, readOnly: boolean, sectorBytes = 1): Promise<Device> {
  const { sizeBytes } = await orClose(file, () => file.stat());
  if (sizeBytes % sectorBytes !== 0) {
    await file.close();
    throw new DeviceError(
      'DEVICE_SIZE',
      `${file.path} has ${sizeBytes} bytes, no multiple of ${sectorBytes}`,
      { hint: 'Direct transfers need whole sectors; do without --direct-io.' },
    );
  }
  if (Number.isSafeInteger(sizeBytes)) {
    return new FileDevice(file, sizeBytes, readOnly, sectorBytes);
  }
  await file.close();
  throw new DeviceError('DEVICE_SIZE', `${file.path} is too large`, {
    hint: 'Volumes of 2^53 bytes (8 PiB) and more are not supported.',
  });
}

async function orClose<T>(file: OpenFile, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** What every block device takes: the largest logical sector in use. */
const PUNCH_ALIGNMENT_BYTES = 4096;

let zeroes: Uint8Array | undefined;

class FileDevice implements Device {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly: boolean;
  readonly durable = true;
  /** What passes the page cache by is kept nowhere. */
  readonly cache?: () => Answer;
  readonly #file: OpenFile;
  readonly #flushes: FlushGroup;
  /** False once the medium has refused to punch a hole. */
  #punches = true;
  #closing: Promise<void> | undefined;

  constructor(file: OpenFile, sizeBytes: number, readOnly: boolean, sectorBytes = 1) {
    this.name = nameOf(file.path);
    this.sizeBytes = sizeBytes;
    this.readOnly = readOnly;
    this.blockSizes = { ...anyBlockSizes, minimumBytes: sectorBytes };
    if (sectorBytes > 1) this.cache = () => undefined;
    this.#file = file;
    this.#flushes = new FlushGroup(this.name, () => file.sync());
  }

  get hints(): DeviceHints {
    return { rotational: false, fastZero: this.#punches };
  }

  read(target: Uint8Array, offsetBytes: number): Answer {
    this.#check(target.byteLength, offsetBytes);
    if (target.byteLength === 0) return undefined;
    if (this.#file.readAtOnce?.(target, offsetBytes) === true) return undefined;
    return new Promise((resolve, reject) => {
      readFullyThen(this.#file, target, offsetBytes, (error, bytes) => {
        if (error !== null) reject(toDeviceError(error, this.name));
        else if (bytes < target.byteLength) reject(this.#shrunk(offsetBytes + bytes));
        else resolve();
      });
    });
  }

  write(source: Uint8Array, offsetBytes: number, flags: number): Answer {
    this.#check(source.byteLength, offsetBytes);
    checkWritable(this);
    if (source.byteLength === 0) return undefined;
    if (this.#file.writeAtOnce?.(source, offsetBytes) === true) {
      return (flags & FUA) !== 0 ? this.#flushes.flush() : undefined;
    }
    return new Promise((resolve, reject) => {
      writeFullyThen(this.#file, source, offsetBytes, (error: EnvError | null) => {
        if (error !== null) reject(toDeviceError(error, this.name));
        else if ((flags & FUA) !== 0) resolve(this.#flushes.flush());
        else resolve();
      });
    });
  }

  writeAtOnce(source: Uint8Array, offsetBytes: number): boolean {
    this.#check(source.byteLength, offsetBytes);
    checkWritable(this);
    return this.#file.writeAtOnce?.(source, offsetBytes) === true;
  }

  flush(): Answer {
    if (this.#closing !== undefined) throw closedError(this.name);
    return this.readOnly ? undefined : this.#flushes.flush();
  }

  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    this.#check(lengthBytes, offsetBytes);
    checkWritable(this);
    return this.#calling(async () => {
      const end = offsetBytes + lengthBytes;
      const fast = (flags & FAST_ZERO) !== 0;
      let at = offsetBytes;
      if ((flags & NO_HOLE) === 0) at = await this.#punch(offsetBytes, end);
      if (at < end && fast) throw this.#cannotZeroFast();
      await this.#writeZeroes(at, end);
      if ((flags & FUA) !== 0) await this.#flushes.flush();
    });
  }

  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer {
    this.#check(lengthBytes, offsetBytes);
    checkWritable(this);
    return this.#calling(async () => {
      await this.#punch(offsetBytes, offsetBytes + lengthBytes); // Where it cannot: a wish only.
      if ((flags & FUA) !== 0) await this.#flushes.flush();
    });
  }

  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]> {
    this.#check(lengthBytes, offsetBytes);
    const list = new ExtentList(lengthBytes, offsetBytes, limit);
    const mayGoOn = this.#describe(list);
    if (list.full) return list.extents;
    return this.#describeRest(list, offsetBytes + lengthBytes, mayGoOn);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#calling(() => this.#file.close());
    return this.#closing;
  }

  #check(lengthBytes: number, offsetBytes: number): void {
    if (this.#closing !== undefined) throw closedError(this.name);
    checkRange(this, lengthBytes, offsetBytes);
  }

  async #calling<T>(act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      throw toDeviceError(error, this.name);
    }
  }

  /** Adds some pieces, at once; false if no data follow. */
  #describe(list: ExtentList): boolean {
    try {
      for (let count = 0; count < EXTENTS_AT_ONCE && !list.full; count += 1) {
        const data = this.#file.nextData(list.atBytes);
        if (data === undefined) return false;
        list.add(data.offsetBytes, 'hole');
        if (!list.full) list.add(data.offsetBytes + data.lengthBytes, 'data');
      }
      return true;
    } catch (error) {
      throw toDeviceError(error, this.name);
    }
  }

  /** A file in a thousand pieces takes its time: others get their turn in between. */
  async #describeRest(
    list: ExtentList,
    endBytes: number,
    mayGoOn: boolean,
  ): Promise<DeviceExtent[]> {
    const stat = () => this.#calling(() => this.#file.stat());
    for (let goesOn = mayGoOn; goesOn && !list.full; ) {
      await stat();
      goesOn = this.#describe(list);
    }
    if (list.full) return list.extents;
    // No data up to the end of the range: a hole, or a file that has become shorter meanwhile.
    const { sizeBytes } = await stat();
    if (sizeBytes < endBytes) throw this.#shrunk(sizeBytes);
    list.add(endBytes, 'hole');
    return list.extents;
  }

  /** Punches from `at` on; answers where it could not go on. Lets others run between pieces. */
  async #punch(offsetBytes: number, endBytes: number): Promise<number> {
    for (let at = offsetBytes; at < endBytes; ) {
      const length = Math.min(PUNCH_BYTES_MAX, endBytes - at);
      if (!this.#file.punchHole(at, length)) {
        // Block devices refuse what is not aligned, which says nothing about the rest.
        if (at % PUNCH_ALIGNMENT_BYTES === 0 && length % PUNCH_ALIGNMENT_BYTES === 0) {
          this.#punches = false;
        }
        return at;
      }
      at += length;
      if (at < endBytes) await this.#file.stat(); // Any call that waits: others get their turn.
    }
    return endBytes;
  }

  async #writeZeroes(offsetBytes: number, endBytes: number): Promise<void> {
    for (let at = offsetBytes; at < endBytes; at += ZERO_WRITE_BYTES) {
      zeroes ??= new Uint8Array(ZERO_WRITE_BYTES);
      await writeFully(this.#file, zeroes.subarray(0, endBytes - at), at);
    }
  }

  #shrunk(sizeBytes: number): DeviceError {
    const was = `it had ${this.sizeBytes} when it was opened`;
    return new DeviceError('DEVICE_SHRUNK', `${this.name} ends at ${sizeBytes}, ${was}`, {
      hint: 'Something truncates the source while it is in use; stop that and start again.',
    });
  }

  #cannotZeroFast(): DeviceError {
    return new DeviceError('DEVICE_UNSUPPORTED', `${this.name} cannot zero without writing`, {
      hint: 'Zero without the fast flag.',
    });
  }
}
