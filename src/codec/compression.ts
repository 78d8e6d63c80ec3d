/** Raw, LZ4 and zstd behind two functions; decompression is bounded by the declared length. */
import { createRequire } from 'node:module';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { nativeUnzstd, nativeZstd } from '../core/index.ts';
import { damaged } from './errors.ts';

/** The numbers are part of the format. */
export const ALGORITHM_RAW = 0;
export const ALGORITHM_LZ4 = 1;
export const ALGORITHM_ZSTD = 2;

export type Compression =
  | { readonly algorithm: 'raw' }
  | { readonly algorithm: 'lz4' }
  | { readonly algorithm: 'zstd'; readonly level: number };

/** Level 3 gives 3 % more than level 1 on system disks and still outruns a disk on two cores. */
export const defaultCompression: Compression = { algorithm: 'zstd', level: 3 };

type Lz4 = typeof import('lz4-napi');
let lz4Module: Lz4 | undefined;

/** Loaded at first use: most runs never need it, and a native module costs start-up time. */
function lz4(): Lz4 {
  lz4Module ??= createRequire(import.meta.url)('lz4-napi') as Lz4;
  return lz4Module;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// Frames carry their own checksum and lengths: zstd need not repeat them.
const leanZstd = { [constants.ZSTD_c_checksumFlag]: 0, [constants.ZSTD_c_contentSizeFlag]: 0 };

/** 512 KiB, a frame: a larger window finds nothing more and costs memory and time to set up. */
const FRAME_WINDOW_LOG = 19;

/**
 * No algorithm makes more of so many bytes. Output goes into one buffer of this size: node:zlib's
 * default of 16 KiB pieces would be glued together afterwards.
 */
export function compressedBytesMax(rawBytes: number): number {
  return Math.max(4096, rawBytes + (rawBytes >>> 7) + 512);
}

/**
 * The algorithm's number and the bytes; falls back to raw where compressing does not pay. The
 * result may be a view of `bytes`, or of `memory`, which has room for `compressedBytesMax`.
 */
export function compress(
  bytes: Uint8Array,
  compression: Compression,
  memory?: Uint8Array,
): { algorithm: number; stored: Uint8Array } {
  if (compression.algorithm === 'lz4') {
    // lz4-napi prefixes the raw length (4 bytes), which `decompress` checks before it allocates.
    const stored = lz4().compressSync(asBuffer(bytes));
    if (stored.byteLength < bytes.byteLength) return { algorithm: ALGORITHM_LZ4, stored };
  } else if (compression.algorithm === 'zstd') {
    const stored = zstd(bytes, compression.level, undefined, memory);
    if (stored.byteLength < bytes.byteLength) return { algorithm: ALGORITHM_ZSTD, stored };
  }
  return { algorithm: ALGORITHM_RAW, stored: bytes };
}

/**
 * Exactly `rawBytes` bytes, or CODEC_DAMAGED; never allocates more than was declared. They lie at
 * the start of `memory`, where that is given and serves.
 */
export function decompress(
  algorithm: number,
  stored: Uint8Array,
  rawBytes: number,
  memory?: Uint8Array,
): Uint8Array {
  let raw: Uint8Array;
  if (algorithm === ALGORITHM_RAW) raw = stored;
  else if (algorithm === ALGORITHM_ZSTD) raw = unzstd(stored, rawBytes, undefined, memory);
  else if (algorithm === ALGORITHM_LZ4) raw = unlz4(stored, rawBytes);
  else throw damaged(`unknown compression algorithm ${algorithm}`);
  if (raw.byteLength !== rawBytes) {
    throw damaged(`${raw.byteLength} bytes decoded where ${rawBytes} were declared`);
  }
  return raw;
}

function unlz4(stored: Uint8Array, rawBytes: number): Uint8Array {
  const declared = stored.byteLength < 4 ? -1 : asBuffer(stored).readUInt32LE(0);
  if (declared !== rawBytes) throw damaged(`LZ4 declares ${declared} bytes, not ${rawBytes}`);
  try {
    return lz4().uncompressSync(asBuffer(stored));
  } catch (cause) {
    throw damaged('LZ4 data does not decode', cause);
  }
}

/** Less is not worth loading the native part for. */
const NATIVE_FROM_BYTES = 32 * 1024;

/** A zstd frame without checksum or size; `dictionary` as raw content. Perhaps in `memory`. */
export function zstd(
  bytes: Uint8Array,
  level: number,
  dictionary: Uint8Array | undefined,
  memory?: Uint8Array,
): Uint8Array {
  const windowLog = dictionary === undefined ? FRAME_WINDOW_LOG : 0;
  const chunkSize = compressedBytesMax(bytes.byteLength);
  const native = bytes.byteLength >= NATIVE_FROM_BYTES ? nativeZstd() : undefined;
  if (native !== undefined) {
    const target = memory ?? Buffer.allocUnsafeSlow(chunkSize);
    const lengthBytes = native(bytes, target, { level, windowLog, dictionary });
    // The highest levels are left to the other way, which also tells what is wrong.
    if (lengthBytes !== -1) return target.subarray(0, lengthBytes);
  }
  const params = { ...leanZstd, [constants.ZSTD_c_compressionLevel]: level };
  return dictionary === undefined
    ? zstdCompressSync(bytes, {
        params: { ...params, [constants.ZSTD_c_windowLog]: windowLog },
        chunkSize,
      })
    : zstdCompressSync(bytes, { params, chunkSize, dictionary });
}

/** At most `rawBytes` bytes; CODEC_DAMAGED. */
export function unzstd(
  stored: Uint8Array,
  rawBytes: number,
  dictionary: Uint8Array | undefined,
  memory?: Uint8Array,
): Uint8Array {
  const native = rawBytes >= NATIVE_FROM_BYTES ? nativeUnzstd() : undefined;
  if (native !== undefined) {
    const target = memory?.subarray(0, rawBytes) ?? Buffer.allocUnsafeSlow(rawBytes);
    const lengthBytes = native(stored, target, dictionary);
    if (lengthBytes === -1) throw damaged('zstd data does not decode');
    return target.subarray(0, lengthBytes);
  }
  // One byte more than declared, so that too long an output is told from one that fits.
  const options = { chunkSize: Math.max(64, rawBytes + 1), maxOutputLength: rawBytes + 1 };
  try {
    return dictionary === undefined
      ? zstdDecompressSync(stored, options)
      : zstdDecompressSync(stored, { ...options, dictionary });
  } catch (cause) {
    throw damaged('zstd data does not decode', cause);
  }
}
