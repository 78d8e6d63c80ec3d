/** Goal: stripes exclude other threads exactly as long as they must, and nobody waits for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { STRIPE_BYTES, STRIPES, THREADS_MAX } from './limits.ts';
import { newStripes, releaseStripes, Stripes } from './stripes.ts';

function threads(count: number): { memory: SharedArrayBuffer; all: Stripes[] } {
  const memory = newStripes();
  return { memory, all: Array.from({ length: count }, (_, at) => new Stripes(memory, at)) };
}

function isEmpty(memory: SharedArrayBuffer): boolean {
  return new Int32Array(memory).every((word) => word === 0);
}

test('readers of several threads share, a writer is alone, and its own thread comes in', () => {
  const { memory, all } = threads(3);
  const [one, two, three] = all as [Stripes, Stripes, Stripes];
  assert.equal(one.tryEnter(0, 10, false), true);
  assert.equal(two.tryEnter(5, 10, false), true);
  assert.equal(three.tryEnter(0, 10, true), false);
  assert.equal(one.tryEnter(0, 10, true), false, 'two reads it still');
  two.leave(5, 10);
  assert.equal(one.tryEnter(0, 10, true), true, 'only its own thread reads it');
  assert.equal(two.tryEnter(0, 1, false), false);
  one.leave(0, 10);
  assert.equal(two.tryEnter(0, 1, false), false, 'one request of two is still inside');
  one.leave(0, 10);
  assert.equal(two.tryEnter(0, 1, true), true);
  two.leave(0, 1);
  assert(isEmpty(memory));
});

test('every thread there can be has its own bit', () => {
  const { memory, all } = threads(THREADS_MAX);
  for (const stripes of all) assert.equal(stripes.tryEnter(0, 1, false), true);
  for (const stripes of all) stripes.leave(0, 1);
  for (const stripes of all) {
    assert.equal(stripes.tryEnter(0, 1, true), true);
    assert.equal(all.filter((other) => other !== stripes && other.tryEnter(0, 1, false)).length, 0);
    stripes.leave(0, 1);
  }
  assert(isEmpty(memory));
});

test('a range over several stripes is had whole or not at all, also around the end', () => {
  const { memory, all } = threads(2);
  const [one, two] = all as [Stripes, Stripes];
  const end = STRIPES * STRIPE_BYTES;
  assert.equal(one.tryEnter(end, 1, true), true);
  assert.equal(two.tryEnter(end - STRIPE_BYTES, 2 * STRIPE_BYTES, true), false);
  assert.equal(one.tryEnter(end - STRIPE_BYTES, STRIPE_BYTES, true), true, 'nothing was kept');
  one.leave(end - STRIPE_BYTES, STRIPE_BYTES);
  one.leave(end, 1);
  assert.equal(two.tryEnter(123, 3 * end, true), true);
  for (const at of [0, STRIPE_BYTES, end - 1]) assert.equal(one.tryEnter(at, 1, false), false);
  two.leave(123, 3 * end);
  assert(isEmpty(memory));
});

test('whoever waits gets its turn though the holders go on coming', async () => {
  const { memory, all } = threads(2);
  const [one, two] = all as [Stripes, Stripes];
  assert.equal(one.tryEnter(0, 1, true), true);
  let isIn = false;
  const waiting = two.enter(0, 1, true).then(() => {
    isIn = true;
  });
  assert.equal(one.tryEnter(0, 1, true), false, 'the holder may not come again');
  assert.equal(isIn, false);
  one.leave(0, 1);
  await waiting;
  assert.equal(one.tryEnter(0, 1, false), false);
  two.leave(0, 1);
  assert(isEmpty(memory));
});

test('what a dead thread held is free, and those who waited for it go on', async () => {
  const { memory, all } = threads(2);
  const [one, two] = all as [Stripes, Stripes];
  assert.equal(one.tryEnter(0, 2 * STRIPE_BYTES, true), true);
  assert.equal(one.tryEnter(9 * STRIPE_BYTES, 1, false), true);
  const waiting = two.enter(STRIPE_BYTES, 1, false);
  releaseStripes(memory, 0);
  await waiting;
  two.leave(STRIPE_BYTES, 1);
  assert(isEmpty(memory));
});

test('any requests of any threads all get in, never together with what conflicts', async () => {
  const request = fc.record({
    thread: fc.nat(2),
    first: fc.nat(5),
    count: fc.integer({ min: 1, max: 4 }),
    writes: fc.boolean(),
    turns: fc.nat(4),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 2, maxLength: 30 }), async (requests) => {
      const { memory, all } = threads(3);
      // Per stripe: how many of each thread are inside, negative for writers.
      const inside = Array.from({ length: 10 }, () => [0, 0, 0]);
      const writers = Array.from({ length: 10 }, () => [0, 0, 0]);
      const step = async ({ thread, first, count, writes, turns }: (typeof requests)[number]) => {
        const stripes = all[thread]!;
        const [offset, length] = [first * STRIPE_BYTES + 7, count * STRIPE_BYTES - 7];
        if (!stripes.tryEnter(offset, length, writes)) await stripes.enter(offset, length, writes);
        for (let at = first; at < first + count; at++) {
          inside[at]![thread]! += 1;
          if (writes) writers[at]![thread]! += 1;
          for (const other of [0, 1, 2].filter((number) => number !== thread)) {
            assert.equal(writers[at]![other], 0, 'another thread writes here');
            if (writes) assert.equal(inside[at]![other], 0, 'another thread reads here');
          }
        }
        for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
        for (let at = first; at < first + count; at++) {
          inside[at]![thread]! -= 1;
          if (writes) writers[at]![thread]! -= 1;
        }
        stripes.leave(offset, length);
      };
      await Promise.all(requests.map(step));
      assert(isEmpty(memory));
    }),
    { numRuns: 60 },
  );
});
