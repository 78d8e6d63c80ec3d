/** Goal: far away, what a reader will want is fetched ahead, and nothing for random reads. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadAhead } from './read-ahead.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function recorded(readsInFlight: number | undefined) {
  const fetched: [number, number][] = [];
  const ahead = new ReadAhead(readsInFlight, async (from, to) => void fetched.push([from, to]));
  return { fetched, ahead };
}

test('a near store is never asked for more', () => {
  const { fetched, ahead } = recorded(undefined);
  for (let at = 0; at < MIB; at += 4 * KIB) ahead.reading(at, 4 * KIB);
  assert.deepEqual(fetched, []);
});

test('a read is fetched as a whole, and no more than it', () => {
  const { fetched, ahead } = recorded(32);
  ahead.reading(5 * MIB, 3 * MIB);
  ahead.reading(40 * MIB, 64 * KIB);
  assert.deepEqual(fetched, [
    [5 * MIB, 8 * MIB],
    [40 * MIB, 40 * MIB + 64 * KIB],
  ]);
});

test('reads in order are fetched ahead in large steps, without a gap and nothing twice', () => {
  const { fetched, ahead } = recorded(32);
  for (let at = 0; at < 64 * MIB; at += 128 * KIB) ahead.reading(at, 128 * KIB);
  let end = 0;
  for (const [from, to] of fetched) {
    assert.equal(from, end);
    end = to;
  }
  assert.ok(end >= 64 * MIB && end <= 80 * MIB);
  assert.ok(fetched.length <= 20, `${fetched.length} steps`);
});

test('runs that are mixed with each other and with random reads are told apart', () => {
  const { fetched, ahead } = recorded(32);
  for (let step = 0; step < 100; step++) {
    ahead.reading(step * 64 * KIB, 64 * KIB);
    ahead.reading(500 * MIB + step * 64 * KIB, 64 * KIB);
    ahead.reading(((step * 7919) % 1000) * MIB + 13, 4 * KIB);
  }
  const random = fetched.filter(([from]) => from % KIB === 13);
  assert.equal(random.length, 100);
  for (const [from, to] of random) assert.equal(to - from, 4 * KIB);
  assert.ok(fetched.length - random.length <= 10);
});

test("a failed fetch is nobody's failure here", async () => {
  const ahead = new ReadAhead(32, () => Promise.reject(new Error('lost')));
  ahead.reading(0, MIB);
  await new Promise((resolve) => setImmediate(resolve));
});
