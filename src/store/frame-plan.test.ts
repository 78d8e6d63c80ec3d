/** Goal: one chunk makes nobody decode more than a bounded amount, however its patches are made. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeFrame, FRAME_STORED_MAX, type FrameInput } from '../codec/index.ts';
import { hasCode, nodeEnv, sha256 } from '../core/index.ts';
import { ChunkIndex, type Location } from './chunk-index.ts';
import { FrameCache } from './frame-cache.ts';
import { FramePlan, STANDS_ON_BYTES_MAX } from './frame-plan.ts';
import { RECORD_CHUNK } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import { planParents, referenceOf } from './parent-choice.ts';
import { plainMemory } from './plain-objects.fixture.ts';

const MiB = 1024 * 1024;
const PARENTS = 4;
const PER_FRAME = 8;

/** Chunks of 1 MiB: 256 plain ones, 64 patches on four of those each, and so on up to one. */
async function pyramid() {
  const objects = plainMemory('pyramid');
  const index = new ChunkIndex(objects);
  const writer = new PackWriter(objects, nodeEnv().random);
  const target = new Uint8Array(FRAME_STORED_MAX);
  for (let depth = 0, width = 256, below = 0; width >= 1; depth++, width /= PARENTS) {
    const firstOfLevel = writer.table.count;
    for (let first = 0; first < width; first += PER_FRAME) {
      const firstRecord = writer.table.count;
      const inputs: FrameInput[] = [];
      for (let at = first; at < Math.min(width, first + PER_FRAME); at++) {
        const bytes = Buffer.from(`chunk ${at} of depth ${depth}`);
        const place = writer.table.add(RECORD_CHUNK, sha256(bytes), at, MiB);
        writer.table.depths[place] = depth;
        const parents = Array.from({ length: PARENTS }, (_, number) => {
          const parent = below + at * PARENTS + number;
          return referenceOf(writer.table.id(parent), writer.table.checksums[parent]!);
        });
        if (depth === 0) inputs.push({ kind: 'plain', bytes, rawBytes: MiB, skipBytes: 0 });
        else inputs.push({ kind: 'patch', rawBytes: MiB, patch: bytes, parents });
      }
      const frame = target.subarray(0, encodeFrame(inputs, { algorithm: 'raw' }, target));
      await writer.appendFrame(frame, { firstRecord, number: writer.numberFrame() });
    }
    below = firstOfLevel;
  }
  await writer.seal();
  index.addTable(writer.id, writer.table);
  const locate = (ordinal: number): Location => {
    return { pack: 0, packId: writer.id, ordinal, table: writer.table };
  };
  const frames = new FrameCache(objects);
  const plan = () => new FramePlan(index, frames);
  return { plan, locate, count: writer.table.count };
}

test('a chunk that stands on 340 MiB of others is refused, one on 84 MiB is read', async () => {
  const { plan, locate, count } = await pyramid();
  const top = count - 1;
  await assert.rejects(plan().add(locate(top)), (error) => hasCode(error, 'STORE_DAMAGED'));
  const reading = plan();
  const step = await reading.add(locate(top - 1));
  assert.equal(reading.standsOnBytes([step]), 85 * MiB);
  assert(85 * MiB < STANDS_ON_BYTES_MAX && reading.heldBytes > 84 * MiB);
});

test('a writer takes no parents that stand on so much', async () => {
  const { plan, locate, count } = await pyramid();
  const [one, two] = [locate(count - PARENTS - 2), locate(count - PARENTS - 3)];
  for (const { table, ordinal } of [one, two]) assert.equal(table.depths[ordinal], 2);
  const planned = await planParents(plan(), [locate(0), one, two]);
  assert.deepEqual(
    planned?.parents.map(({ ordinal }) => ordinal),
    [0, one.ordinal],
  );
});
