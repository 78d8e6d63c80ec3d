/** Goal: what was seen last is found, what nobody touched for long goes first, within bounds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { simulatedEnv } from '../../../../sim/index.ts';
import { runJob, SIMILAR_TABLE_BYTES } from '../../../codec/index.ts';
import { memory } from '../../../device/index.ts';
import { PLACED_PIECES_MAX } from '../limits.ts';
import { Likeness } from './likeness.ts';
import { PlacedPatches } from './placed-patches.ts';
import { WindowMemory } from './window-memory.ts';

const CHUNK = 64 * 1024;

/** Bytes that repeat nowhere (xorshift32, Marsaglia 2003). */
function noise(seed: number): Uint8Array {
  const bytes = new Uint8Array(CHUNK);
  let state = (seed * 0x9e3779b1 + 1) | 0;
  for (let at = 0; at < CHUNK; at += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state >>> 8;
  }
  return bytes;
}

/** Chunks that it would stand on. */
function found({ tables }: Likeness, content: Uint8Array): number[] {
  const memory = new SharedArrayBuffer(content.byteLength);
  new Uint8Array(memory).set(content);
  const chunks = [{ memory, at: 0, lengthBytes: content.byteLength }];
  return runJob<'match'>({ kind: 'match', chunks, tables, limit: 8 })[0]!;
}

async function withLikeness(
  sizeBytes: number,
  work: (likeness: Likeness, again: () => Promise<Likeness>) => Promise<void>,
): Promise<void> {
  const world = simulatedEnv(1);
  await world.run(async () => {
    const open = () => Likeness.open(world.env, { path: '/samples', sizeBytes });
    await work(await open(), open);
  });
}

test('content is found where it was learned last, also by the next run', async () => {
  await withLikeness(2 ** 30, async (likeness, again) => {
    likeness.learn(noise(1), 5 * CHUNK);
    likeness.learn(noise(2), 6 * CHUNK);
    likeness.learn(noise(1), 9 * CHUNK + 4096);
    assert.deepEqual(found(likeness, noise(1)), [9]);
    await likeness.save({ isLast: true });
    const next = await again();
    assert.deepEqual([found(next, noise(1)), found(next, noise(2))], [[9], [6]]);
    assert.deepEqual(found(next, noise(3)), []);
  });
});

test('little is not written down before the end, and a full table makes room for a new one', async () => {
  const chunks = 16;
  await withLikeness(chunks * CHUNK, async (likeness, again) => {
    likeness.learn(noise(0), 0);
    await likeness.save();
    assert.deepEqual(found(await again(), noise(0)), []);
    // Over and over: what is known is at most twice what the volume holds.
    for (let seed = 1; seed < 5 * chunks; seed += 1) {
      likeness.learn(noise(seed), (seed % chunks) * CHUNK);
      assert.ok(likeness.tables.length <= 2);
    }
    assert.deepEqual(found(likeness, noise(0)), []);
    assert.deepEqual(found(likeness, noise(5 * chunks - 1)), [chunks - 1]);
  });
});

test('a table has a bound, however large the volume is; chunks beyond 128 TiB are left out', async () => {
  await withLikeness(2 ** 52, async (likeness) => {
    assert.equal(likeness.tables[0]!.byteLength, SIMILAR_TABLE_BYTES);
    likeness.learn(noise(1), 2 ** 47);
    assert.deepEqual(found(likeness, noise(1)), []);
  });
});

test('where looking does not serve, only one window in sixteen is looked at until it does', async () => {
  await withLikeness(CHUNK, async (likeness) => {
    const looks = () => Array.from({ length: 32 }, () => likeness.isWorthLooking());
    assert.ok(looks().every(Boolean));
    likeness.judge(Array.from({ length: 600 }, () => ({ isPlaced: false })));
    assert.equal(looks().filter(Boolean).length, 2);
    likeness.judge(Array.from({ length: 600 }, (_, at) => ({ isPlaced: at < 60 })));
    assert.ok(looks().every(Boolean));
  });
});

test('pieces of their own epoch are stood on as long as the provider is sure to find them', async () => {
  await withLikeness(2 ** 30, async (likeness) => {
    const device = memory('volume', 8 * CHUNK);
    for (let chunk = 0; chunk < 8; chunk += 1) await device.write(noise(1), chunk * CHUNK, 0);
    const options = {
      likeness,
      read: async () => false,
      device,
      pool: undefined,
      turns: undefined,
    };
    const placed = new PlacedPatches({ ...options, changedBytes: 8 * CHUNK });
    const placesOf = async (chunk: number, recordCount: number) => {
      const extents = [{ offsetBytes: chunk * CHUNK, lengthBytes: CHUNK }];
      const held = new WindowMemory({ extents, isEmpty: false }, undefined);
      held.content.set(noise(1));
      const likes = await placed.find(held, held.pieces, recordCount);
      likes.packed((await held.pack(held.pieces, undefined, likes)).pieces);
      likes.over();
      return likes.places[0]!.length;
    };
    assert.equal(await placesOf(0, 0), 0);
    assert.equal(await placesOf(1, PLACED_PIECES_MAX / 2 - 1), 1);
    assert.equal(await placesOf(2, PLACED_PIECES_MAX / 2), 0);
  });
});
