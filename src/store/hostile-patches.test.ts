/** Goal: patches that are made to take for ever are refused, by whoever reads chunk by chunk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, encodePatch, FRAME_STORED_MAX, type FrameInput } from '../codec/index.ts';
import { crc32, nodeEnv, sha256 } from '../core/index.ts';
import { ChunkIndex } from './chunk-index.ts';
import { ChunkReader } from './chunk-reader.ts';
import { RECORD_CHUNK } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import { referenceOf } from './parent-choice.ts';
import { plainMemory } from './plain-objects.fixture.ts';
import { rescueFrames } from './rescue-frames.ts';

const PARENTS = 8;

/** Levels of so many chunks; each stands on all of the level below, eight parents in all. */
async function ladder(levels: number, width: number, rawBytes: number) {
  const objects = plainMemory('ladder');
  const writer = new PackWriter(objects, nodeEnv().random);
  const { table } = writer;
  const target = new Uint8Array(FRAME_STORED_MAX);
  const chunks: Uint8Array[] = [];
  for (let level = 0; level < levels; level++) {
    const firstRecord = table.count;
    const inputs: FrameInput[] = [];
    for (let at = 0; at < width; at++) {
      const chunk = new Uint8Array(rawBytes);
      chunk.set([1 + level, 1 + at]);
      const below = Array.from({ length: PARENTS }, (_, each) => {
        return firstRecord - width + (each % width);
      });
      if (level === 0) inputs.push({ kind: 'plain', bytes: chunk.subarray(0, 2), rawBytes });
      else {
        const patch = encodePatch(
          chunk,
          below.map((parent) => chunks[parent]!),
        )!;
        const parents = below.map((parent) => {
          return referenceOf(table.id(parent), table.checksums[parent]!);
        });
        inputs.push({ kind: 'patch', rawBytes, patch, parents });
      }
      const place = table.add(RECORD_CHUNK, sha256(chunk), crc32(chunk), rawBytes);
      table.depths[place] = level;
      chunks.push(chunk);
    }
    const frame = target.subarray(0, encodeFrame(inputs, { algorithm: 'raw' }, target));
    await writer.appendFrame(frame, { firstRecord, number: writer.numberFrame() });
  }
  await writer.seal();
  return { objects, writer, table };
}

test('a reader refuses a chunk for which it would decode others again and again', async () => {
  const { objects, writer, table } = await ladder(5, PARENTS, 1024 * 1024);
  const index = new ChunkIndex(objects);
  index.addTable(writer.id, table);
  const chunks = new ChunkReader(objects, index);
  const at = (ordinal: number) => chunks.bytes({ pack: 0, packId: writer.id, ordinal, table });
  await assert.rejects(async () => at(table.count - 1), { code: 'STORE_DAMAGED' });
  assert.equal((await at(2 * PARENTS)).at(0), 3);
});

test('a rescue passes over chunks that would take it for ever', async () => {
  const levels = 7;
  const { objects, writer } = await ladder(levels, 1, 64 * 1024);
  const kept = await rescueFrames(objects, new ChunkIndex(objects), writer.id, undefined);
  assert.equal(kept, 4);
});
