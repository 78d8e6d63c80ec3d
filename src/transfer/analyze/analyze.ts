/** Reads each image once and tells, per block size, what deduplication would save. */
import assert from 'node:assert/strict';
import { mapOrdered } from '../../core/index.ts';
import type { Device } from '../../device/index.ts';
import { type Space, Tally } from './tally.ts';
import { dataWindows, type Window } from './windows.ts';

export { AnalyzeError, type Space, UNIQUE_BLOCKS_MAX } from './tally.ts';

/** Read in one call: large enough for any disk, small enough to stay in the processor's cache. */
const WINDOW_BYTES_MIN = 1024 * 1024;
/** One is read while the other is hashed. */
const WINDOWS_AT_ONCE = 2;

export const BLOCK_SIZE_BYTES_MIN = 512;
export const BLOCK_SIZE_BYTES_MAX = 16 * 1024 * 1024;

export type ImageSource = {
  /** As the person wrote it. */
  readonly name: string;
  /** Borrowed until `analyze` has settled. */
  readonly device: Device;
};

/** A list of every block that is not zero. `settle` is awaited often: its queue stays short. */
export type HashList = {
  add(image: string, offsetBytes: number, lengthBytes: number, digest: Uint8Array): void;
  settle(): Promise<void>;
};

export type AnalyzeOptions = {
  /** Powers of two from BLOCK_SIZE_BYTES_MIN to BLOCK_SIZE_BYTES_MAX. */
  readonly blockSizesBytes: readonly number[];
  /** Of zstd; 0 leaves compression out. */
  readonly level: number;
  /** After the first thousand, every Nth unique block is compressed; 1: all. */
  readonly sampleEvery: number;
  readonly signal?: AbortSignal;
  readonly hashes?: HashList | undefined;
  /** How far all images together have been read or skipped. */
  readonly onProgress?: (doneBytes: number) => void;
  readonly uniqueBlocksMax?: number;
};

export type ImageAnalysis = Space & {
  readonly name: string;
  /** Unique bytes that no image before it has. */
  readonly addedBytes: number;
};

export type Analysis = {
  readonly blockSizeBytes: number;
  readonly images: readonly ImageAnalysis[];
  readonly total: Space;
};

/** One analysis per block size. Memory: 30 to 90 bytes per unique block and size at most. */
export async function analyze(
  images: readonly ImageSource[],
  options: AnalyzeOptions,
): Promise<Analysis[]> {
  const { blockSizesBytes, level, signal, onProgress } = options;
  blockSizesBytes.forEach(checkBlockSize);
  const tallies = blockSizesBytes.map((blockSizeBytes) => {
    const compression = level === 0 ? undefined : ({ algorithm: 'zstd', level } as const);
    return new Tally({ ...options, blockSizeBytes, compression });
  });
  const windowBytes = Math.max(WINDOW_BYTES_MIN, ...blockSizesBytes);
  const buffers = Array.from({ length: WINDOWS_AT_ONCE }, () => new Uint8Array(windowBytes));
  let doneBefore = 0;
  for (const image of images) {
    for (const tally of tallies) tally.beginImage(image.device.sizeBytes);
    const read = (window: Window, index: number) => {
      const target = buffers[index % WINDOWS_AT_ONCE]!.subarray(0, window.lengthBytes);
      return readWindow(image.device, target, window);
    };
    const windows = dataWindows(image.device, windowBytes);
    for await (const { offsetBytes, bytes } of mapOrdered(windows, WINDOWS_AT_ONCE, read)) {
      signal?.throwIfAborted();
      for (const tally of tallies) tally.add(bytes, offsetBytes, listener(image, options));
      await options.hashes?.settle();
      onProgress?.(doneBefore + offsetBytes + bytes.byteLength);
    }
    doneBefore += image.device.sizeBytes;
    onProgress?.(doneBefore);
  }
  return tallies.map((tally, index) => {
    const { images: spaces, total } = tally.result();
    const named = spaces.map((space, at) => ({ name: images[at]!.name, ...space }));
    return { blockSizeBytes: blockSizesBytes[index]!, images: named, total };
  });
}

async function readWindow(device: Device, target: Uint8Array, { offsetBytes }: Window) {
  await device.read(target, offsetBytes);
  return { offsetBytes, bytes: target };
}

function listener({ name }: ImageSource, { hashes }: AnalyzeOptions) {
  if (hashes === undefined) return undefined;
  return (offsetBytes: number, lengthBytes: number, digest: Uint8Array) =>
    hashes.add(name, offsetBytes, lengthBytes, digest);
}

function checkBlockSize(bytes: number): void {
  const isAllowed = bytes >= BLOCK_SIZE_BYTES_MIN && bytes <= BLOCK_SIZE_BYTES_MAX;
  assert(isAllowed && Number.isInteger(Math.log2(bytes)), `bad block size: ${bytes}`);
}
