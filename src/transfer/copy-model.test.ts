/** Goal: whatever is backed up, copied, forgotten and collected on both sides, copies are right. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import { forget, gc } from './backup/gc.fixture.ts';
import {
  backUp,
  type Expected,
  init,
  kinds,
  noise,
  open,
} from './backup/model-repository.fixture.ts';
import { copyAll, env, verifyCopies } from './copy.fixture.ts';

const KiB = 1024;
const actions = ['backup', 'backup', 'copy', 'copy', 'forget', 'gc'] as const;

/** What is done, on which side, and numbers from which it draws the rest. */
const step = fc.record({
  action: fc.constantFrom(...actions),
  side: fc.nat(1),
  place: fc.nat(2 ** 20),
  seed: fc.nat(20),
});

const repository = fc.record({
  kind: fc.constantFrom(...kinds),
  chunkBytes: fc.constantFrom(64 * KiB, 64 * KiB, 16 * KiB),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
type World = {
  readonly sides: readonly [ObjectStore, ObjectStore];
  readonly expected: Expected;
  bytes: Uint8Array;
};

/** Every run has something to go on from. */
const first: Step[] = (['backup', 'copy', 'backup', 'copy'] as const).map((action, at) => ({
  ...{ action, side: 0, place: 100_000 * at, seed: at + 1 },
}));

/** What all runs did, to show that they did something. */
const tally = { copied: 0, kept: 0, forgotten: 0 };

async function take({ sides, expected, ...world }: World, { action, side, place, seed }: Step) {
  const [here, there] = [sides[side]!, sides[1 - side]!];
  if (action === 'backup') {
    const bytes = world.bytes.slice(0, world.bytes.byteLength - (seed % 3) * 1000);
    bytes.set(noise(3000, seed), place % (bytes.byteLength - 3000));
    if (seed % 4 === 0) bytes.fill(0, 100_000, 250_000);
    const request = { packTargetBytes: 60_000, volume: seed % 5 === 0 ? 'other' : 'disk' };
    const { snapshot } = await backUp(env, await open(env, here), bytes, request);
    expected.set(snapshot.id, bytes);
    return bytes;
  }
  if (action === 'copy') {
    const { copied, refused } = await copyAll(here, there);
    assert.deepEqual(refused, []);
    tally.copied += copied.length;
    for (const { base } of copied) if (base !== undefined) tally.kept++;
    assert.deepEqual((await copyAll(here, there)).copied, []);
  } else if (action === 'forget') {
    const all = (await open(env, here)).snapshots();
    const gone = all[place % Math.max(1, all.length)];
    if (gone !== undefined) await forget(here, new Map(), [gone.id]);
    tally.forgotten++;
  } else await gc(here);
  return world.bytes;
}

test('two repositories that copy each other, each with a life of its own', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.tuple(repository, repository),
      fc.array(step, { minLength: 4, maxLength: 12, size: 'max' }),
      async (made, steps) => {
        const sides = [memoryStore('left'), memoryStore('right')] as const;
        for (const [at, { kind, chunkBytes }] of made.entries()) {
          await init(env, sides[at]!, kind, { chunkBytes });
        }
        const world = { sides, expected: new Map(), bytes: noise(420_000, 1) };
        for (const each of [...first, ...steps]) world.bytes = await take(world, each);
        for (const objects of sides) await verifyCopies(objects, world.expected);
      },
    ),
    { numRuns: 25 },
  );
  // Steps are drawn at random: far fewer than these would be no accident.
  assert(tally.copied >= 50 && tally.kept >= 15 && tally.forgotten >= 8, JSON.stringify(tally));
});
