/** Goal: a set of extents is a set of bytes, in its shortest form. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Extent, ExtentSet } from './extents.ts';

const sizeBytes = 48;
const range = fc
  .tuple(fc.nat(sizeBytes), fc.nat(12))
  .map(([offset, length]) => [offset, Math.min(length, sizeBytes - offset)] as const);
const step = fc.record({ kind: fc.constantFrom('add', 'remove', 'clear'), range });
// Clearing is rare, or few sets would grow.
const steps = fc.array(
  step.filter(({ kind, range: [offset] }) => kind !== 'clear' || offset === 0),
  { maxLength: 40 },
);

function extentsOf(model: readonly boolean[]): Extent[] {
  const extents: Extent[] = [];
  for (let i = 0; i < sizeBytes; i++) {
    if (!model[i]) continue;
    let end = i;
    while (model[end]) end++;
    extents.push({ offsetBytes: i, lengthBytes: end - i });
    i = end;
  }
  return extents;
}

test('adding and removing do what they do to a set of bytes', () => {
  fc.assert(
    fc.property(steps, range, (all, [offset, length]) => {
      const set = new ExtentSet();
      const model = new Array<boolean>(sizeBytes).fill(false);
      for (const { kind, range: changed } of all) {
        if (kind === 'clear') {
          set.clear();
          model.fill(false);
        } else {
          set[kind as 'add' | 'remove'](...changed);
          model.fill(kind === 'add', changed[0], changed[0] + changed[1]);
        }
        assert.deepEqual([...set], extentsOf(model));
        assert.equal(set.count, extentsOf(model).length);
        assert.equal(set.totalBytes, model.filter(Boolean).length);
      }
      const part = model.slice(offset, offset + length);
      assert.equal(set.intersects(offset, length), part.includes(true));
      assert.equal(set.contains(offset, length), !part.includes(false));
      const clipped = model.map((has, i) => has && i >= offset && i < offset + length);
      assert.deepEqual([...set.within(offset, length)], extentsOf(clipped));
    }),
    { numRuns: 500 },
  );
});

test('extents that touch are one, in whatever order they come', () => {
  const set = new ExtentSet([
    { offsetBytes: 20, lengthBytes: 10 },
    { offsetBytes: 0, lengthBytes: 10 },
  ]);
  assert.equal(set.count, 2);
  set.add(10, 10);
  assert.deepEqual([...set], [{ offsetBytes: 0, lengthBytes: 30 }]);
});

test('offsets near 2^53 work, and what ends beyond is refused', () => {
  const set = new ExtentSet();
  set.add(Number.MAX_SAFE_INTEGER - 1, 1);
  assert.ok(set.contains(Number.MAX_SAFE_INTEGER - 1, 1));
  assert.throws(() => set.add(Number.MAX_SAFE_INTEGER, 1), /beyond 2\^53/);
  assert.throws(() => set.add(-1, 1), /bad offset/);
  assert.throws(() => set.add(0, 0.5), /bad length/);
});
