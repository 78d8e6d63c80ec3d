/**
 * The zstd that Node carries and exports, called directly: three times as fast as the stream that
 * node:zlib makes for each call, and into memory of the caller. See docs/decisions/native-zstd.md.
 */
import { createRequire } from 'node:module';
import { zstdCompressSync } from 'node:zlib';

/** Decompresses one frame into `target`; the bytes there, or -1 if it does not decode or fit. */
export type NativeUnzstd = (
  source: Uint8Array,
  target: Uint8Array,
  dictionary: Uint8Array | undefined,
) => number;

type Call = (...words: unknown[]) => number | bigint | null;
type Koffi = { load(path: null): { func(prototype: string): Call } };

let loaded: NativeUnzstd | null | undefined;

/** Undefined where koffi is missing, or where this Node does not export zstd. */
export function nativeUnzstd(): NativeUnzstd | undefined {
  if (loaded === undefined) loaded = load();
  return loaded ?? undefined;
}

function load(): NativeUnzstd | null {
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    const node = koffi.load(null);
    const range = 'void *, size_t, void *, size_t';
    const plain = node.func(`size_t ZSTD_decompressDCtx(void *, ${range})`);
    const withDictionary = node.func(
      `size_t ZSTD_decompress_usingDict(void *, ${range}, void *, size_t)`,
    );
    const estimate = node.func('size_t ZSTD_estimateDCtxSize()');
    const init = node.func('void *ZSTD_initStaticDCtx(void *, size_t)');
    // One context for all calls; its memory is this thread's and ends with it. Aligned to 8 bytes.
    const memory = new Uint8Array(Math.ceil(Number(estimate()) / 8) * 8);
    const context = { pointer: init(memory, memory.byteLength), memory };
    if (context.pointer === null) return null;
    const unzstd: NativeUnzstd = (source, target, dictionary) => {
      const to = [context.pointer, target, target.byteLength, source, source.byteLength];
      const answer =
        dictionary === undefined
          ? plain(...to)
          : withDictionary(...to, dictionary, dictionary.byteLength);
      // A failure is a number close to 2^64.
      return typeof answer === 'number' && answer <= target.byteLength ? answer : -1;
    };
    return works(unzstd) ? unzstd : null;
  } catch {
    return null; // Callers have a way without it.
  }
}

/** Proves the binding once: another build may export something else under these names. */
function works(unzstd: NativeUnzstd): boolean {
  const text = new Uint8Array(1000).map((_, at) => at % 7);
  for (const dictionary of [undefined, text.subarray(0, 500), undefined]) {
    const stored = zstdCompressSync(text, dictionary === undefined ? {} : { dictionary });
    const memory = new Uint8Array(text.byteLength + 8);
    const target = memory.subarray(3, 3 + text.byteLength);
    if (unzstd(stored, target, dictionary) !== text.byteLength) return false;
    if (Buffer.compare(target, text) !== 0 || memory[2] !== 0 || memory.at(-1) !== 0) return false;
    if (unzstd(stored, target.subarray(1), dictionary) !== -1) return false;
  }
  return true;
}
