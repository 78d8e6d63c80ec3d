/** The device contract: one flat range of bytes that can be read, written and flushed. */
import assert from 'node:assert/strict';
import { FerryError } from '../core/index.ts';
import type { Tracking } from './tracking.ts';

/** Done already, or a promise of it: small requests cannot afford a promise each. */
export type Answer<T = void> = T | Promise<T>;

export type DeviceErrorCode =
  | 'DEVICE_RANGE'
  | 'DEVICE_ALIGNMENT'
  | 'DEVICE_READ_ONLY'
  | 'DEVICE_NO_SPACE'
  | 'DEVICE_IO'
  | 'DEVICE_UNSUPPORTED'
  | 'DEVICE_FLUSH_FAILED'
  | 'DEVICE_SHRUNK'
  | 'DEVICE_NOT_FOUND'
  | 'DEVICE_EXISTS'
  | 'DEVICE_ACCESS'
  | 'DEVICE_SIZE'
  | 'DEVICE_LAYER' // The kept layer of a copy-on-write device is damaged, or of another base.
  | 'DEVICE_CLOSED';

export class DeviceError extends FerryError<DeviceErrorCode> {
  override readonly name = 'DeviceError';
}

/** Flags of a call; a number, so that no object is made per request. */
export const FUA = 1; // Force unit access: this write is durable when it settles.
export const NO_HOLE = 2; // zero(): allocate the range, do not deallocate it.
export const FAST_ZERO = 4; // zero(): fail with DEVICE_UNSUPPORTED rather than write zeroes.

/** What a range of a device holds, as far as the device can tell without reading it. */
export type ExtentKind = 'data' | 'zero' | 'hole';

/** `hole` is not allocated and reads as zero; `zero` is allocated and reads as zero. */
export type DeviceExtent = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: ExtentKind;
};

/** Powers of two; every request's offset and length is a multiple of `minimumBytes`. */
export type BlockSizes = {
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  /** The longest read or write that one call takes. */
  readonly maximumBytes: number;
};

export type DeviceHints = { readonly rotational: boolean; readonly fastZero: boolean };

/**
 * Every image, NBD export, memory region, snapshot and decorator is a Device.
 *
 * Shape:       bytes [0, sizeBytes); offsets and lengths are safe integers, in bytes.
 * Buffers:     the caller owns them and may reuse them as soon as the call has settled; the device
 *              must not touch one after that.
 * Concurrency: calls may overlap. Overlapping writes to one byte leave one of the written values.
 * Answers:     at once (`void`) or later (a promise); a call that fails throws or rejects alike,
 *              with a DeviceError. `settle` in core serves callers that handle both.
 * Rejection:   leaves the target, or the range being written, undefined; never a byte outside it.
 * Lifetime:    whoever opened it disposes it, after every call has settled; twice is harmless.
 *              Disposal does not flush.
 */
export interface Device extends AsyncDisposable {
  /** Short and stable, used in logs and errors, for example `file:root.raw`. */
  readonly name: string;
  /** Changes only by an announced resize. */
  readonly sizeBytes: number;
  readonly blockSizes: BlockSizes;
  readonly readOnly: boolean;
  readonly hints: DeviceHints;
  /** False if a settled flush does not promise durability (memory, a source opened without it). */
  readonly durable: boolean;
  /**
   * True if reads and writes never answer with a promise and keep nothing of the buffer, so that a
   * caller may lend memory that is its own only until the call returns. Absent: they may.
   */
  readonly settlesAtOnce?: boolean;

  /** Fills all of `target` from `offsetBytes` or fails; there are no short reads. */
  read(target: Uint8Array, offsetBytes: number): Answer;

  /** Stores all of `source`; visible once settled, durable after flush, or at once with FUA. */
  write(source: Uint8Array, offsetBytes: number, flags: number): Answer;

  /**
   * True: all of `source` is stored, as if `write` had settled, and nothing of it is kept, so that
   * a caller may lend memory for the call alone. False: nothing is known to be stored; call
   * `write`.
   */
  writeAtOnce?(source: Uint8Array, offsetBytes: number): boolean;

  /**
   * Resolves when every write that settled before this call survives a power cut. After a failed
   * flush every later flush fails (DEVICE_FLUSH_FAILED) until the device is opened again.
   */
  flush(): Answer;

  /** The range reads as zero afterwards. Flags: FUA, NO_HOLE, FAST_ZERO. */
  zero(lengthBytes: number, offsetBytes: number, flags: number): Answer;

  /** The range is no longer needed; reads may return anything that was there or zero. */
  trim(lengthBytes: number, offsetBytes: number, flags: number): Answer;

  /**
   * Describes a prefix of the range: at least one extent, at most `limit`, in ascending order,
   * without gaps, clipped to the range. Ask again from the end of the last one for the rest.
   */
  extents(lengthBytes: number, offsetBytes: number, limit: number): Answer<DeviceExtent[]>;

  /**
   * The range will be read soon; settles when it is at hand, as far as that can be had. Nothing
   * rests on it. Absent: reading has the same effect; see `prefetch`, which is what to call.
   */
  cache?(lengthBytes: number, offsetBytes: number): Answer;

  /** There if the device knows what was written since some moment. */
  readonly tracking?: Tracking | undefined;
}

/** The block sizes of a device that takes any range. */
export const anyBlockSizes: BlockSizes = {
  minimumBytes: 1,
  preferredBytes: 4096,
  maximumBytes: 32 * 1024 * 1024,
};

/**
 * First line of every method that takes a range. A broken caller trips an assert, a bad request
 * throws DEVICE_RANGE or DEVICE_ALIGNMENT. Does not look at `maximumBytes`: callers split.
 */
export function checkRange(device: Device, lengthBytes: number, offsetBytes: number): void {
  // The messages are made only in case of need: this runs for every request.
  if (!Number.isSafeInteger(offsetBytes)) assert.fail(`bad offset: ${offsetBytes}`);
  if (!Number.isSafeInteger(lengthBytes) || lengthBytes < 0)
    assert.fail(`bad length: ${lengthBytes}`);
  if (offsetBytes < 0 || offsetBytes + lengthBytes > device.sizeBytes) {
    throw new DeviceError(
      'DEVICE_RANGE',
      `${device.name}: ${lengthBytes} bytes at ${offsetBytes} pass the end, ${device.sizeBytes}`,
      { hint: 'Compare the size on both sides; one of them may have been resized.' },
    );
  }
  const mask = device.blockSizes.minimumBytes - 1;
  // Bitwise operators see 32 bits only; a power of two of at most 2^31 needs no more.
  if (mask !== 0 && (((offsetBytes % 0x100000000) | (lengthBytes % 0x100000000)) & mask) !== 0) {
    throw new DeviceError(
      'DEVICE_ALIGNMENT',
      `${device.name}: ${lengthBytes} bytes at ${offsetBytes} are not multiples of ${mask + 1}`,
      { hint: 'Use the block size that the device announces.' },
    );
  }
}

/** First line, after checkRange, of every method that changes something. */
export function checkWritable(device: Device): void {
  if (!device.readOnly) return;
  throw new DeviceError('DEVICE_READ_ONLY', `${device.name} is read-only`, {
    hint: 'Open or mount it for writing (--rw).',
  });
}
