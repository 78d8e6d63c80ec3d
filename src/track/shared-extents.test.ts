/** Goal: what two lists of places do not share is found to the byte, however they are cut. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PlacedExtent } from '../core/index.ts';
import { unshared } from './shared-extents.ts';

const SIZE = 64;

/** Each byte of a file: where it lies, 0 for a hole, negative for what is uncertain there. */
const places = fc.array(fc.constantFrom(0, 0, 1, 2, -1), { minLength: SIZE, maxLength: SIZE });

/** Extents of `kinds`, cut at random where they could be one. */
function extentsOf(kinds: readonly number[], cuts: readonly boolean[]): PlacedExtent[] {
  const extents: PlacedExtent[] = [];
  for (const [at, kind] of kinds.entries()) {
    if (kind === 0) continue;
    const last = extents.at(-1);
    const goesOn = last !== undefined && last.offsetBytes + last.lengthBytes === at && !cuts[at];
    if (goesOn && kinds[at - 1] === kind) {
      extents[extents.length - 1] = { ...last, lengthBytes: last.lengthBytes + 1 };
      continue;
    }
    extents.push({
      offsetBytes: at,
      lengthBytes: 1,
      placeBytes: Math.abs(kind) * 1000 + at,
      isCertain: kind > 0,
      isUnwritten: false,
    });
  }
  return extents;
}

const cuts = fc.array(fc.boolean(), { minLength: SIZE, maxLength: SIZE });

test('a byte is told unless it lies at the same certain place, or both are holes', () => {
  fc.assert(
    fc.property(places, places, cuts, cuts, (before, after, cutsA, cutsB) => {
      const told = new Set<number>();
      let end = -1;
      for (const run of unshared(extentsOf(before, cutsA), extentsOf(after, cutsB), SIZE)) {
        assert.ok(run.offsetBytes > end && run.lengthBytes > 0);
        end = run.offsetBytes + run.lengthBytes;
        for (let at = run.offsetBytes; at < end; at++) told.add(at);
      }
      for (let at = 0; at < SIZE; at++) {
        const differs = before[at] !== after[at] || before[at]! < 0;
        assert.equal(told.has(at), differs, `byte ${at}`);
      }
    }),
  );
});

test('what reads as zero is not what lies there', () => {
  const piece = { offsetBytes: 0, lengthBytes: 8, placeBytes: 100, isCertain: true };
  const written = [{ ...piece, isUnwritten: false }];
  const unwritten = [{ ...piece, isUnwritten: true }];
  assert.deepEqual([...unshared(unwritten, written, 8)], [{ offsetBytes: 0, lengthBytes: 8 }]);
  assert.deepEqual([...unshared(unwritten, unwritten, 8)], []);
});
