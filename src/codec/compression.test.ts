/** Goal: what is compressed comes back, and no stored bytes make more than was declared. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { equalBytes } from '../core/index.ts';
import {
  ALGORITHM_LZ4,
  ALGORITHM_RAW,
  ALGORITHM_ZSTD,
  type Compression,
  compress,
  decompress,
} from './compression.ts';
import { CodecError } from './errors.ts';

const compressions: readonly Compression[] = [
  { algorithm: 'raw' },
  { algorithm: 'lz4' },
  { algorithm: 'zstd', level: 1 },
  { algorithm: 'zstd', level: 3 },
];

/** Content that shrinks, content that does not, and nothing at all. */
const content = fc.oneof(
  fc.uint8Array({ maxLength: 3000 }),
  fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 9 }), fc.nat(20_000)).map(([part, length]) => {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at++) bytes[at] = part[at % part.byteLength]!;
    return bytes;
  }),
);

for (const compression of compressions) {
  const name = JSON.stringify(compression);
  test(`${name}: what is compressed comes back, and is never larger than it was`, () =>
    fc.assert(
      fc.property(content, (bytes) => {
        const { algorithm, stored } = compress(bytes, compression);
        assert(stored.byteLength <= bytes.byteLength);
        assert(equalBytes(decompress(algorithm, stored, bytes.byteLength), bytes));
      }),
    ));

  test(`${name}: any other declared length is refused`, () =>
    fc.assert(
      fc.property(content, fc.nat(70_000), (bytes, declared) => {
        fc.pre(declared !== bytes.byteLength);
        const { algorithm, stored } = compress(bytes, compression);
        assert.throws(() => decompress(algorithm, stored, declared), { code: 'CODEC_DAMAGED' });
      }),
    ));
}

test('a bomb is refused at the declared length and never unfolds', () => {
  const bomb = zstdCompressSync(Buffer.alloc(256 * 1024 * 1024), {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
    chunkSize: 1024 * 1024,
  });
  assert(bomb.byteLength < 100_000);
  const before = process.memoryUsage().rss;
  for (const declared of [0, 1, 4096, 1024 * 1024]) {
    assert.throws(() => decompress(ALGORITHM_ZSTD, bomb, declared), { code: 'CODEC_DAMAGED' });
  }
  assert(process.memoryUsage().rss - before < 64 * 1024 * 1024, 'it took memory');
});

test('an LZ4 block that declares another length is refused before anything is allocated', () => {
  const stored = new Uint8Array(64);
  new DataView(stored.buffer).setUint32(0, 0xffffffff, true);
  assert.throws(() => decompress(ALGORITHM_LZ4, stored, 4096), { code: 'CODEC_DAMAGED' });
  assert.throws(() => decompress(ALGORITHM_LZ4, stored.subarray(0, 3), 0), {
    code: 'CODEC_DAMAGED',
  });
});

test('arbitrary bytes under any algorithm give the declared length or CODEC_DAMAGED', () =>
  fc.assert(
    fc.property(
      fc.nat(255),
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(5000),
      fc.boolean(),
      (algorithm, noise, declared, honest) => {
        const stored = new Uint8Array(noise);
        // Otherwise LZ4 would never get past its prefix.
        if (honest && stored.byteLength >= 4) {
          new DataView(stored.buffer).setUint32(0, declared, true);
        }
        try {
          assert.equal(decompress(algorithm % 4, stored, declared).byteLength, declared);
        } catch (error) {
          assert(error instanceof CodecError && error.code === 'CODEC_DAMAGED', String(error));
        }
      },
    ),
    { numRuns: 2000 },
  ));

test('every flipped bit of compressed data gives the declared length or CODEC_DAMAGED', () => {
  const text = Buffer.from('the same words again and again, '.repeat(40));
  for (const compression of compressions) {
    const { algorithm, stored } = compress(text, compression);
    for (let bit = 0; bit < stored.byteLength * 8; bit++) {
      const hurt = new Uint8Array(stored);
      hurt[bit >> 3] = hurt[bit >> 3]! ^ (1 << (bit & 7));
      try {
        assert.equal(decompress(algorithm, hurt, text.byteLength).byteLength, text.byteLength);
      } catch (error) {
        assert(error instanceof CodecError, String(error));
      }
    }
  }
});

test('an unknown algorithm is refused', () => {
  assert.throws(() => decompress(ALGORITHM_ZSTD + 1, new Uint8Array(1), 1), {
    code: 'CODEC_DAMAGED',
  });
  assert.equal(ALGORITHM_RAW, 0);
});
