/** Whole transfers over OpenFile, whose single calls may be short. */
import type { FileDone, OpenFile } from './env.ts';
import { EnvError } from './errors.ts';

/** Fills `target` as far as the file goes; answers how many bytes it got, fewer only at the end. */
export function readFully(
  file: OpenFile,
  target: Uint8Array,
  offsetBytes: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    readFullyThen(file, target, offsetBytes, (error, bytes) => {
      if (error === null) resolve(bytes);
      else reject(error);
    });
  });
}

/** What is asked for at a time: more is left to the thread pool by who has one. */
const AT_ONCE_BYTES = 128 * 1024;

/** Fills `target` if all of it is in memory; false, with any content in it, otherwise. */
export function readNow(file: OpenFile, target: Uint8Array, offsetBytes: number): boolean {
  for (let at = 0; at < target.byteLength; at += AT_ONCE_BYTES) {
    const part = target.subarray(at, at + AT_ONCE_BYTES);
    if (file.readAtOnce?.(part, offsetBytes + at) !== true) return false;
  }
  return true;
}

/** Writes all of `source`. */
export function writeFully(file: OpenFile, source: Uint8Array, offsetBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    writeFullyThen(file, source, offsetBytes, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

/** `readFully` for callers that cannot afford a promise per request. */
export function readFullyThen(
  file: OpenFile,
  target: Uint8Array,
  offsetBytes: number,
  done: FileDone,
): void {
  let filledBytes = 0;
  function next(error: EnvError | null, bytes: number): void {
    filledBytes += bytes;
    if (error !== null || bytes === 0 || filledBytes >= target.byteLength) {
      done(error, filledBytes);
    } else {
      file.read(target.subarray(filledBytes), offsetBytes + filledBytes, next);
    }
  }
  file.read(target, offsetBytes, next);
}

/** `writeFully` for callers that cannot afford a promise per request. */
export function writeFullyThen(
  file: OpenFile,
  source: Uint8Array,
  offsetBytes: number,
  done: FileDone,
): void {
  let writtenBytes = 0;
  function next(error: EnvError | null, bytes: number): void {
    writtenBytes += bytes;
    if (error !== null || writtenBytes >= source.byteLength) {
      done(error, writtenBytes);
    } else if (bytes === 0) {
      done(stuck(file, offsetBytes + writtenBytes), writtenBytes);
    } else {
      file.write(source.subarray(writtenBytes), offsetBytes + writtenBytes, next);
    }
  }
  file.write(source, offsetBytes, next);
}

function stuck(file: OpenFile, offsetBytes: number): EnvError {
  return new EnvError('ENV_IO', `${file.path} takes no more bytes at ${offsetBytes}`, {
    hint: 'If it is a block device, compare its size with what is written to it.',
  });
}
