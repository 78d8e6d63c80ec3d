/** Goal: the search finds what a scan finds. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { partitionPoint } from './search.ts';

test('the first that is not before is found, wherever it is', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 30 }), fc.nat(21), (numbers, wanted) => {
      const sorted = numbers.sort((a, b) => a - b);
      const found = partitionPoint(sorted.length, (index) => sorted[index]! < wanted);
      const scanned = sorted.findIndex((number) => number >= wanted);
      assert.equal(found, scanned === -1 ? sorted.length : scanned);
    }),
  );
});
