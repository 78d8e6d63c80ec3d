/**
 * Compression with the zstd that Node carries and exports, called directly: a context that is used
 * again, output into memory of the caller. See docs/decisions/native-zstd.md.
 */
import { createRequire } from 'node:module';
import { zstdDecompressSync } from 'node:zlib';

export type ZstdSettings = {
  readonly level: number;
  /** Matches lie at most 2 to this many bytes back; 0 leaves it to the level. */
  readonly windowLog: number;
  /** Raw content that stands before the source. */
  readonly dictionary: Uint8Array | undefined;
};

/** Makes one frame, without size and checksum; its length, or -1 if it does not fit or fails. */
export type NativeZstd = (source: Uint8Array, target: Uint8Array, how: ZstdSettings) => number;

type Call = (...words: unknown[]) => number | bigint | null;
type Koffi = { load(path: null): { func(prototype: string): Call } };
/** The memory belongs to this thread and ends with it: nothing has to be given back. */
type Context = { readonly pointer: unknown; readonly memory: Uint8Array };

// zstd.h
const COMPRESSION_LEVEL = 100;
const WINDOW_LOG = 101;
const CONTENT_SIZE_FLAG = 200;
const RESET_SESSION = 1;

/** What the estimate is for a level is for sources of any size; prefixes need a little more. */
const MEMORY_FACTOR = 1.25;
const MEMORY_MORE_BYTES = 64 * 1024;
/** The highest levels want hundreds of MiB: those are left to node:zlib. */
const MEMORY_BYTES_MAX = 128 * 1024 * 1024;

let loaded: NativeZstd | null | undefined;

/** Undefined where koffi is missing, or where this Node does not export zstd. */
export function nativeZstd(): NativeZstd | undefined {
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

function load(): NativeZstd | null {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const zstd = encoder(koffi.load(null));
    return works(zstd) ? zstd : null;
  } catch {
    return null; // Callers have a way without it.
  }
}

function encoder(node: ReturnType<Koffi['load']>): NativeZstd {
  const estimate = node.func('size_t ZSTD_estimateCCtxSize(int)');
  const init = node.func('void *ZSTD_initStaticCCtx(void *, size_t)');
  const set = node.func('size_t ZSTD_CCtx_setParameter(void *, int, int)');
  const reset = node.func('size_t ZSTD_CCtx_reset(void *, int)');
  const prefix = node.func('size_t ZSTD_CCtx_refPrefix(void *, void *, size_t)');
  const compress = node.func('size_t ZSTD_compress2(void *, void *, size_t, void *, size_t)');
  // A failure is a number close to 2^64, and so no safe integer.
  const succeeds = (answer: ReturnType<Call>) => typeof answer === 'number';
  const contexts = new Map<number, Context | null>();

  function open(level: number): Context | null {
    const bytes = Number(estimate(level)) * MEMORY_FACTOR + MEMORY_MORE_BYTES;
    if (!(bytes <= MEMORY_BYTES_MAX)) return null;
    // Aligned to 8 bytes, as all memory of its own.
    const memory = new Uint8Array(Math.ceil(bytes / 8) * 8);
    const pointer = init(memory, memory.byteLength);
    if (pointer === null) return null;
    const ready =
      succeeds(set(pointer, COMPRESSION_LEVEL, level)) &&
      succeeds(set(pointer, CONTENT_SIZE_FLAG, 0));
    return ready ? { pointer, memory } : null;
  }

  return (source, target, { level, windowLog, dictionary }) => {
    if (!contexts.has(level)) contexts.set(level, open(level));
    const context = contexts.get(level) ?? null;
    if (context === null) return -1;
    const { pointer } = context;
    const ready =
      succeeds(set(pointer, WINDOW_LOG, windowLog)) &&
      (dictionary === undefined || succeeds(prefix(pointer, dictionary, dictionary.byteLength)));
    const length = ready
      ? compress(pointer, target, target.byteLength, source, source.byteLength)
      : -1;
    if (typeof length === 'number' && length >= 0 && length <= target.byteLength) return length;
    reset(pointer, RESET_SESSION);
    return -1;
  };
}

/** Proves the binding once: another build may export something else under these names. */
function works(zstd: NativeZstd): boolean {
  // In shared memory, as the sources of jobs are.
  const text = new Uint8Array(new SharedArrayBuffer(5000)).map((_, at) => (at * at) % 251);
  const target = new Uint8Array(text.byteLength + 100);
  for (const dictionary of [undefined, text.slice(0, 3000), undefined]) {
    const settings = { level: 3, windowLog: 0, dictionary };
    const length = zstd(text, target, settings);
    if (length <= 0 || zstd(text, target.subarray(0, length - 1), settings) !== -1) return false;
    if (zstd(text, target, settings) !== length) return false;
    const stored = target.subarray(0, length);
    const back = zstdDecompressSync(stored, dictionary === undefined ? {} : { dictionary });
    if (Buffer.compare(back, text) !== 0) return false;
  }
  return true;
}
