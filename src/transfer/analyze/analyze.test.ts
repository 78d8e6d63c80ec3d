/** Goal: the counts are those of a naive count over plain arrays, holes and short ends included. */
import assert from 'node:assert/strict';
import { createHash, randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Device, memory } from '../../device/index.ts';
import { type AnalyzeOptions, analyze } from './analyze.ts';
import { dataWindows } from './windows.ts';

const plain: AnalyzeOptions = { blockSizesBytes: [512], level: 0, sampleEvery: 1 };

async function imageOf(name: string, bytes: Uint8Array) {
  const device = memory(name, bytes.byteLength);
  await device.write(bytes, 0, 0);
  return { name, device };
}

function blocksOf(bytes: Uint8Array, blockSizeBytes: number): string[] {
  const blocks: string[] = [];
  for (let at = 0; at < bytes.byteLength; at += blockSizeBytes) {
    blocks.push(Buffer.from(bytes.subarray(at, at + blockSizeBytes)).toString('latin1'));
  }
  return blocks;
}

const isNotZero = (block: string) => /[^\0]/.test(block);
const totalLength = (blocks: Iterable<string>) =>
  [...blocks].reduce((sum, block) => sum + block.length, 0);

/** Images made of few different pieces of 512 bytes, with an end that may be short. */
const image = fc
  .tuple(fc.array(fc.nat(6), { maxLength: 40 }), fc.nat(511))
  .map(([pieces, restBytes]) => {
    const parts = pieces.map((value) => Buffer.alloc(512, value));
    return new Uint8Array(Buffer.concat([...parts, Buffer.alloc(restBytes, 3)]));
  });

test('counts are those of a naive count, per image and for all, for each block size', () =>
  fc.assert(
    fc.asyncProperty(fc.array(image, { minLength: 1, maxLength: 4 }), async (arrays) => {
      const images = await Promise.all(arrays.map((bytes, at) => imageOf(`${at}`, bytes)));
      const found = await analyze(images, { ...plain, blockSizesBytes: [512, 1024] });
      for (const { blockSizeBytes, images: spaces, total } of found) {
        const everything = new Set<string>();
        for (const [at, bytes] of arrays.entries()) {
          const blocks = blocksOf(bytes, blockSizeBytes);
          const data = blocks.filter(isNotZero);
          const unique = new Set(data);
          const added = [...unique].filter((block) => !everything.has(block));
          for (const block of added) everything.add(block);
          assert.deepEqual(spaces[at], {
            name: `${at}`,
            rawBlocks: blocks.length,
            rawBytes: bytes.byteLength,
            nonZeroBlocks: data.length,
            nonZeroBytes: totalLength(data),
            uniqueBlocks: unique.size,
            uniqueBytes: totalLength(unique),
            compressedBytes: undefined,
            compressedBlocks: 0,
            addedBytes: totalLength(added),
          });
        }
        assert.equal(total.uniqueBlocks, everything.size);
        assert.equal(total.uniqueBytes, totalLength(everything));
        assert.equal(
          total.rawBytes,
          arrays.reduce((sum, bytes) => sum + bytes.byteLength, 0),
        );
      }
    }),
  ));

test('windows cover all data, overlap nowhere and leave large holes out', () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ at: fc.nat(63 * 1024), length: fc.integer({ min: 1, max: 3000 }) })),
      fc.integer({ min: 1, max: 66_000 }),
      async (writes, sizeBytes) => {
        const device = scattered(sizeBytes, writes);
        const covered = new Uint8Array(sizeBytes);
        for await (const { offsetBytes, lengthBytes } of dataWindows(device, 4096)) {
          assert.equal(offsetBytes % 4096, 0);
          assert.equal(lengthBytes, Math.min(4096, sizeBytes - offsetBytes));
          const window = covered.subarray(offsetBytes, offsetBytes + lengthBytes);
          assert.ok(
            window.every((byte) => byte === 0),
            'given twice',
          );
          const touches = writes.some(
            ({ at, length }) => at < offsetBytes + lengthBytes && at + length > offsetBytes,
          );
          assert.ok(touches, 'a window without data');
          window.fill(1);
        }
        for (const { at, length } of writes) {
          assert.ok(covered.subarray(at, at + length).every((byte) => byte === 1));
        }
      },
    ),
  ));

/** Answers `extents` as its writes lie, one at a time, whatever the limit. */
function scattered(sizeBytes: number, writes: { at: number; length: number }[]): Device {
  const isData = new Uint8Array(sizeBytes);
  for (const { at, length } of writes) isData.fill(1, at, at + length);
  const answer: Pick<Device, 'sizeBytes' | 'extents'> = {
    sizeBytes,
    extents(lengthBytes, offsetBytes) {
      let end = offsetBytes;
      while (end < offsetBytes + lengthBytes && isData[end] === isData[offsetBytes]) end += 1;
      const kind = isData[offsetBytes] === 1 ? 'data' : 'hole';
      return [{ offsetBytes, lengthBytes: end - offsetBytes, kind }];
    },
  };
  return answer as Device;
}

test('a hole of an exbibyte costs nothing', async () => {
  const device = memory('sparse', 2 ** 52);
  await device.write(new Uint8Array(4096).fill(1), 2 ** 51, 0);
  const [found] = await analyze([{ name: 'sparse', device }], plain);
  assert.equal(found!.total.rawBlocks, 2 ** 43);
  assert.equal(found!.total.nonZeroBlocks, 8);
  assert.equal(found!.total.uniqueBlocks, 1);
});

test('the compressed size is exact where every block is compressed, near it in a sample', async () => {
  const bytes = new Uint8Array(4096 * 1024);
  randomFillSync(bytes);
  for (let at = 0; at < bytes.byteLength; at += 1024) bytes.fill(7, at, at + 512);
  const images = [await imageOf('half random', bytes)];
  const options = { ...plain, blockSizesBytes: [1024], level: 1 };
  const [whole] = await analyze(images, options);
  const [sampled] = await analyze(images, { ...options, sampleEvery: 16 });
  assert.equal(whole!.total.compressedBlocks, 4096);
  assert.ok(sampled!.total.compressedBlocks < 2048);
  const exact = whole!.total.compressedBytes!;
  assert.ok(exact > bytes.byteLength / 2 && exact < bytes.byteLength * 0.55, `${exact}`);
  assert.ok(Math.abs(sampled!.total.compressedBytes! - exact) < exact * 0.02);
});

test('every block that is not zero reaches the hash list, with its full SHA-256', async () => {
  const bytes = new Uint8Array(512 * 4);
  bytes.fill(1, 512, 1024);
  bytes.fill(2, 1536, 1540);
  const lines: string[] = [];
  let settled = 0;
  await analyze([await imageOf('x', bytes)], {
    ...plain,
    hashes: {
      add: (name, offset, length, digest) =>
        lines.push(`${name} ${offset} ${length} ${Buffer.from(digest).toString('hex')}`),
      async settle() {
        settled += 1;
      },
    },
  });
  const digestOf = (from: number) =>
    createHash('sha256')
      .update(bytes.subarray(from, from + 512))
      .digest('hex');
  assert.deepEqual(lines, [`x 512 512 ${digestOf(512)}`, `x 1536 512 ${digestOf(1536)}`]);
  assert.ok(settled > 0);
});

test('an abort ends it with the reason, a table that is full with a typed error', async () => {
  const bytes = new Uint8Array(512 * 64);
  randomFillSync(bytes);
  const images = [await imageOf('x', bytes)];
  const reason = new Error('enough');
  await assert.rejects(analyze(images, { ...plain, signal: AbortSignal.abort(reason) }), reason);
  await assert.rejects(analyze(images, { ...plain, uniqueBlocksMax: 63 }), {
    code: 'ANALYZE_TOO_MANY_BLOCKS',
  });
  const twice = [...images, await imageOf('y', bytes)];
  const [enough] = await analyze(twice, { ...plain, uniqueBlocksMax: 64 });
  assert.equal(enough!.total.uniqueBlocks, 64);
});

test('progress never goes back and ends at the size of all images', async () => {
  const images = [memory('a', 3_000_000), memory('b', 1_500_000)];
  for (const device of images) await device.write(new Uint8Array(4096).fill(1), 1_200_000, 0);
  const seen: number[] = [];
  await analyze(
    images.map((device) => ({ name: device.name, device })),
    { ...plain, onProgress: (doneBytes) => seen.push(doneBytes) },
  );
  assert.deepEqual(
    seen,
    seen.toSorted((a, b) => a - b),
  );
  assert.equal(seen.at(-1), 4_500_000);
});
