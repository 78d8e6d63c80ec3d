/** What is taken holds its frame's bytes until it is given back; what is kept is read once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bytesOf } from '../codec/index.ts';
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import type { Location } from './chunk-index.ts';
import { FrameCache, type KeptFrame } from './frame-cache.ts';
import { packKey } from './pack-file.ts';
import { plainPack } from './pack-seal.ts';
import { PackTable, RECORD_CHUNK } from './pack-table.ts';

const PACK_ID = 'ab'.repeat(32);
const FRAME_COUNT = 6;
const FRAME_BYTES = 1000;
const RAW_BYTES = 3000;

type Pack = { readonly objects: ObjectStore; readonly location: Location; reads: number };

/** Frame n is FRAME_BYTES of n, and has one plain record. */
async function pack(): Promise<Pack> {
  const bytes = new Uint8Array(FRAME_COUNT * FRAME_BYTES);
  const table = new PackTable(plainPack);
  for (let frame = 0; frame < FRAME_COUNT; frame++) {
    bytes.fill(frame, frame * FRAME_BYTES, (frame + 1) * FRAME_BYTES);
    table.add(RECORD_CHUNK, new Uint8Array(32), 0, RAW_BYTES);
    table.addFrame(frame, frame * FRAME_BYTES, FRAME_BYTES);
  }
  const memory = memoryStore('frames');
  await memory.putIfAbsent(packKey(PACK_ID), bytes);
  const objects: ObjectStore = Object.create(memory, {
    getRange: {
      value: (key: string, target: Uint8Array, offsetBytes: number) => {
        made.reads++;
        return memory.getRange(key, target, offsetBytes);
      },
    },
  });
  const location = { pack: 0, packId: PACK_ID, ordinal: 0, table };
  const made: Pack = { objects, location, reads: 0 };
  return made;
}

test('a frame has its own bytes for as long as somebody uses it, however little is kept', () => {
  const step = fc.record({ frame: fc.nat(FRAME_COUNT - 1), gives: fc.boolean() });
  const keptBytesMax = fc.nat(3 * (FRAME_BYTES + RAW_BYTES));
  return fc.assert(
    fc.asyncProperty(keptBytesMax, fc.array(step, { maxLength: 40 }), async (most, steps) => {
      const { objects, location } = await pack();
      const cache = new FrameCache(objects, { keptBytesMax: most });
      const used: { kept: KeptFrame; frame: number }[] = [];
      for (const { frame, gives } of steps) {
        const oldest = gives ? used.shift() : undefined;
        if (oldest !== undefined) cache.give(oldest.kept);
        const kept = cache.take(location, frame);
        used.push({ kept, frame });
        await kept.ready;
        for (const { kept: each, frame: number } of used) {
          const bytes = bytesOf(each.frame);
          assert.equal(bytes.byteLength, FRAME_BYTES);
          assert(bytes.every((byte) => byte === number));
        }
        const inUse = new Map(used.map((each) => [each.kept, each.kept.sizeBytes]));
        const least = [...inUse.values()].reduce((sum, bytes) => sum + bytes, 0);
        const sections = [...inUse.keys()].filter((each) => each.frame.section !== undefined);
        assert(sections.length === 0 || least <= most + inUse.size * FRAME_BYTES);
      }
    }),
  );
});

test('what fits is read once, for those that want it at the same time and later', async () => {
  const made = await pack();
  const cache = new FrameCache(made.objects, {
    keptBytesMax: 2 * (FRAME_BYTES + RAW_BYTES),
  });
  const use = async (...frames: number[]) => {
    const kept = frames.map((frame) => cache.take(made.location, frame));
    for (const { ready } of kept) await ready;
    for (const each of kept) cache.give(each);
  };
  await use(0, 1, 0);
  await use(1);
  assert.equal(made.reads, 2);
  await use(2); // Frame 0 has been used longest ago.
  await use(1);
  assert.equal(made.reads, 3);
  await use(0);
  assert.equal(made.reads, 4);
});

test('a frame that could not be read is read again', async () => {
  const made = await pack();
  const cache = new FrameCache(made.objects);
  const lost = { ...made.location, pack: 1, packId: 'cd'.repeat(32) };
  for (let attempt = 0; attempt < 2; attempt++) {
    const kept = cache.take(lost, 0);
    await assert.rejects(kept.ready, { code: 'STORE_MISSING' });
    cache.give(kept);
  }
  assert.equal(made.reads, 2);
});
