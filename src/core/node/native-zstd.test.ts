/** Goal: the zstd that is called directly and node:zlib read each other, and fail within bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { nativeUnzstd } from './native-zstd.ts';
import { nativeZstd } from './native-zstd-encoder.ts';

const native = nativeZstd();
const unzstd = nativeUnzstd();
assert(native !== undefined && unzstd !== undefined, 'koffi must load where tests run');

const LEVELS = [-5, 1, 3, 12, 19];

/** Repeats itself, in part, and shares something with its dictionary. */
const content = fc
  .record({
    part: fc.uint8Array({ minLength: 1, maxLength: 4000 }),
    lengthBytes: fc.nat(200_000),
    step: fc.nat(5),
  })
  .map(({ part, lengthBytes, step }) => {
    // As the sources of jobs: in memory that threads share, and not at its beginning.
    const bytes = new Uint8Array(new SharedArrayBuffer(lengthBytes + 3), 3);
    for (let at = 0; at < lengthBytes; at++) {
      bytes[at] = part[at % part.byteLength]! + (at >>> 12) * step;
    }
    return bytes;
  });

const dictionaries = fc.option(
  content.map((bytes) => Buffer.concat([Uint8Array.of(0), bytes])),
  { nil: undefined },
);

function mostBytes(lengthBytes: number): number {
  return lengthBytes + (lengthBytes >>> 7) + 512;
}

test('what either encoder makes, both decoders read, with a dictionary and without', () =>
  fc.assert(
    fc.property(content, dictionaries, fc.constantFrom(...LEVELS), (bytes, dictionary, level) => {
      const memory = new Uint8Array(mostBytes(bytes.byteLength) + 7).fill(0xa5);
      const target = memory.subarray(2, memory.byteLength - 5);
      const windowLog = dictionary === undefined ? 19 : 0;
      const lengthBytes = native(bytes, target, { level, windowLog, dictionary });
      assert(lengthBytes > 0, `level ${level}: nothing was made of ${bytes.byteLength} bytes`);
      assert(memory[1] === 0xa5 && memory.at(-5) === 0xa5, 'it wrote outside of its target');
      const params = { [constants.ZSTD_c_compressionLevel]: level };
      const options = dictionary === undefined ? {} : { dictionary };
      const made = [
        target.subarray(0, lengthBytes),
        zstdCompressSync(bytes, { ...options, params }),
      ];
      for (const stored of made) {
        assert.equal(Buffer.compare(zstdDecompressSync(stored, options), bytes), 0);
        const back = new Uint8Array(bytes.byteLength);
        assert.equal(unzstd(stored, back, dictionary), bytes.byteLength);
        assert.equal(Buffer.compare(back, bytes), 0);
      }
    }),
    { numRuns: 60 },
  ));

test('one call leaves nothing behind for the next', () => {
  const bytes = new Uint8Array(70_000).map((_, at) => (at * at) % 253);
  const target = new Uint8Array(mostBytes(bytes.byteLength));
  const plain = { level: 3, windowLog: 19, dictionary: undefined };
  const first = target.slice(0, native(bytes, target, plain));
  const dictionary = Buffer.concat([Uint8Array.of(0), bytes]);
  assert(native(bytes, target, { ...plain, windowLog: 0, dictionary }) < 200);
  assert.equal(native(bytes, target.subarray(0, 20), plain), -1);
  assert.equal(native(bytes, target.subarray(0, 20), { ...plain, dictionary }), -1);
  assert.deepEqual(target.slice(0, native(bytes, target, plain)), first);
});

test('what needs too much memory, or settings that do not exist, is refused', () => {
  const bytes = new Uint8Array(1000);
  const target = new Uint8Array(2000);
  assert.equal(native(bytes, target, { level: 3, windowLog: 99, dictionary: undefined }), -1);
  assert.equal(native(bytes, target, { level: 22, windowLog: 0, dictionary: undefined }), -1);
  assert(native(bytes, target, { level: 3, windowLog: 19, dictionary: undefined }) > 0);
});
