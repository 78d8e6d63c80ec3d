/** Goal: a map of marks has every block that was marked, in little memory, through its file too. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ChangedRange } from '../change-source.ts';
import { DirtyMap, PageBudget } from './dirty-map.ts';
import { BLOCK_BYTES, PAGE_BYTES_PER_VOLUME_BYTE, REGION_BYTES_MIN } from './limits.ts';
import { decodeEmpties, decodePage, encodeEmpties, encodePage } from './record.ts';
import { marksOf, putMarks } from './set-file.ts';
import { shapeOf } from './shape.ts';

const SIZE = 3 * REGION_BYTES_MIN + 5000; // The last region and the last block are short.
const shape = shapeOf(SIZE);
const plenty = () => new PageBudget(Number.POSITIVE_INFINITY);

type Step = { readonly kind: 'data' | 'zero' | 'discarded'; offset: number; length: number };

const edge = fc
  .tuple(fc.nat(3), fc.integer({ min: -9000, max: 9000 }))
  .map(([region, delta]) => Math.max(0, Math.min(SIZE - 1, region * REGION_BYTES_MIN + delta)));
const step: fc.Arbitrary<Step> = fc
  .record({
    kind: fc.constantFrom('data', 'data', 'zero', 'discarded'),
    offset: fc.oneof(edge, fc.nat(SIZE - 1)),
    wanted: fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.integer({ min: 1, max: SIZE })),
  })
  .map(({ kind, offset, wanted }) => ({ kind, offset, length: Math.min(wanted, SIZE - offset) }));

type Model = (Step['kind'] | undefined)[];

function apply(map: DirtyMap, model: Model, { kind, offset, length }: Step): void {
  const first = Math.floor(offset / BLOCK_BYTES);
  const last = Math.floor((offset + length - 1) / BLOCK_BYTES);
  if (kind === 'data') map.mark(first, last);
  else map.markEmpty(kind, offset, length);
  for (let block = first; block <= last; block++) {
    const end = Math.min(SIZE, (block + 1) * BLOCK_BYTES);
    const isWhole = offset <= block * BLOCK_BYTES && offset + length >= end;
    model[block] = isWhole ? kind : 'data';
  }
}

function rangesOf(model: Model): ChangedRange[] {
  const ranges: { offsetBytes: number; lengthBytes: number; kind: Step['kind'] }[] = [];
  for (const [block, kind] of model.entries()) {
    if (kind === undefined) continue;
    const offsetBytes = block * BLOCK_BYTES;
    const lengthBytes = Math.min(BLOCK_BYTES, SIZE - offsetBytes);
    const last = ranges.at(-1);
    if (last?.kind === kind && last.offsetBytes + last.lengthBytes === offsetBytes) {
      last.lengthBytes += lengthBytes;
    } else ranges.push({ offsetBytes, lengthBytes, kind });
  }
  return ranges;
}

const blank = (): Model => Array.from({ length: shape.blockCount }, () => undefined);

test('marks, zeroes and discards are told as a plain list of blocks would', () =>
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const map = new DirtyMap(shape, plenty());
      const model = blank();
      for (const one of steps) apply(map, model, one);
      assert.deepEqual([...map.ranges()], rangesOf(model));
      for (const { offset } of steps) {
        const block = Math.floor(offset / BLOCK_BYTES);
        assert.equal(map.test(block), model[block] !== undefined);
      }
      assert.equal(map.isEmpty, steps.length === 0);
    }),
    { numRuns: 200 },
  ));

test('the union of two maps is what both would be in one', () =>
  fc.assert(
    fc.property(fc.array(step, { maxLength: 6 }), fc.array(step, { maxLength: 6 }), (a, b) => {
      const map = new DirtyMap(shape, plenty());
      const later = new DirtyMap(shape, plenty());
      const model = blank();
      for (const one of a) apply(map, model, one);
      for (const one of b) apply(later, blank(), one);
      const laterModel = blank();
      for (const one of b) apply(new DirtyMap(shape, plenty()), laterModel, one);
      map.union(later);
      const both = model.map((kind, block) => laterModel[block] ?? kind);
      assert.deepEqual([...map.ranges()], rangesOf(both));
    }),
    { numRuns: 100 },
  ));

test('pages and empty stretches come back from their bytes as they were', () =>
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const map = new DirtyMap(shape, plenty());
      for (const one of steps) apply(map, blank(), one);
      const copy = new DirtyMap(shape, plenty());
      for (let region = 0; region < shape.regionCount; region++) {
        const page = decodePage(encodePage(region, marksOf(map, region)), shape);
        assert.equal(page.region, region);
        putMarks(copy, region, page.marks);
      }
      for (const { kind, offsetBytes, lengthBytes } of decodeEmpties(
        encodeEmpties(map.empties()),
      )) {
        copy.markEmpty(kind, offsetBytes, lengthBytes);
      }
      assert.deepEqual([...copy.ranges()], [...map.ranges()]);
    }),
    { numRuns: 100 },
  ));

test('beyond its memory a map counts whole regions, never less than was marked', () => {
  const map = new DirtyMap(shape, new PageBudget(2 * shape.wordsPerRegion * 4));
  for (let region = 0; region < 3; region++) {
    map.mark(region * shape.blocksPerRegion + 7, region * shape.blocksPerRegion + 7);
  }
  assert.deepEqual(
    [0, 1, 2].map((region) => map.isWhole(region)),
    [false, false, true],
  );
  assert.equal(map.unsureCount, 1);
  map.mark(0, shape.blocksPerRegion - 1); // All of it was written: that is known.
  assert.equal(map.unsureCount, 1);
});

test('a TiB with a mark in every other block takes 32 MiB, one with little a few hundred KiB', () => {
  const large = shapeOf(2 ** 40);
  assert.deepEqual([large.regionCount, large.regionBytes], [65_536, 16 * 2 ** 20]);
  const budget = new PageBudget(large.sizeBytes * PAGE_BYTES_PER_VOLUME_BYTE);
  const before = process.memoryUsage().arrayBuffers;
  const map = new DirtyMap(large, budget);
  for (let at = 0; at < 100; at++) map.mark(at * 31, at * 31);
  const little = process.memoryUsage().arrayBuffers - before;
  assert.ok(little < 400 * 1024, `${little} bytes`);
  for (let block = 0; block < large.blockCount; block += 2048) map.mark(block, block);
  const much = process.memoryUsage().arrayBuffers - before;
  assert.ok(much <= 33 * 2 ** 20, `${much} bytes`);
  assert.ok(budget.usedBytes <= 32 * 2 ** 20);
});

test('what is zeroed and written again in part is data there', () => {
  const map = new DirtyMap(shape, plenty());
  map.markEmpty('zero', 0, 10 * BLOCK_BYTES);
  map.mark(3, 4);
  const kinds = [...map.ranges()].map((range) => [range.kind, range.lengthBytes / BLOCK_BYTES]);
  assert.deepEqual(kinds, [
    ['zero', 3],
    ['data', 2],
    ['zero', 5],
  ]);
});
