/** Goal: the bitmap agrees with an array of booleans, also beyond 2^32 bits. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Bitmap } from './bitmap.ts';

const size = 150; // Four words and a part of a fifth.
const range = fc
  .tuple(fc.nat(size), fc.nat(size))
  .map(([index, count]) => [index, Math.min(count, size - index)] as const);
const step = fc.record({ range, single: fc.boolean(), value: fc.boolean() });

test('setting, clearing, finding and counting agree with a plain array', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), range, (steps, [from, count]) => {
      const bitmap = new Bitmap(size);
      const model = new Array<boolean>(size).fill(false);
      for (const { range: changed, single, value } of steps) {
        const index = Math.min(changed[0], size - 1);
        if (single) {
          bitmap[value ? 'set' : 'clear'](index);
          model[index] = value;
        } else {
          bitmap[value ? 'setRange' : 'clearRange'](...changed);
          model.fill(value, changed[0], changed[0] + changed[1]);
        }
      }
      assert.deepEqual(
        Array.from(model, (_, index) => bitmap.test(index)),
        model,
      );
      const part = model.slice(from, from + count);
      const firstOf = (value: boolean): number => {
        const found = part.indexOf(value);
        return from + (found < 0 ? count : found);
      };
      assert.equal(bitmap.nextSet(from, from + count), firstOf(true));
      assert.equal(bitmap.nextClear(from, from + count), firstOf(false));
      assert.equal(bitmap.count(from, count), part.filter(Boolean).length);
      assert.equal(bitmap.count(), model.filter(Boolean).length);
      assert.equal(bitmap.testRange(from, count), !part.includes(false));
    }),
    { numRuns: 500 },
  );
});

test('bits beyond 2^32 are their own and not those of the low blocks', () => {
  const bitmap = new Bitmap(2 ** 32 + 100);
  bitmap.set(2 ** 32 + 7);
  assert.equal(bitmap.test(7), false);
  assert.equal(bitmap.nextSet(2 ** 32 - 1000), 2 ** 32 + 7);
  bitmap.setRange(2 ** 32 - 5, 10);
  assert.equal(bitmap.count(2 ** 32 - 1000, 1100), 11);
  assert.equal(bitmap.nextClear(2 ** 32 - 5), 2 ** 32 + 5);
  bitmap.clearRange(2 ** 32 - 5, 105);
  assert.equal(bitmap.nextSet(2 ** 32 - 1000), bitmap.size);
});

test('an index past the end is a mistake of the caller', () => {
  const bitmap = new Bitmap(33);
  assert.throws(() => bitmap.set(33), /bitmap of 33/);
  assert.throws(() => bitmap.test(-1), /bad range/);
  assert.throws(() => bitmap.setRange(30, 4), /bitmap of 33/);
  assert.equal(new Bitmap(0).nextSet(0), 0);
});
