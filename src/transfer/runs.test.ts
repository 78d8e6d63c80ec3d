/** Goal: a volume is cut into runs without gaps, and nothing that holds data is called empty. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Extent, ExtentSet } from '../core/index.ts';
import { type Device, ExtentList, memory } from '../device/index.ts';
import { alignedRuns, changedRuns, type Keep, type Run, withoutHoles } from './runs.ts';

const ALIGN = 65_536;
const MIB = 2 ** 20;

/** Memory that has data in some places only. */
function sparse(sizeBytes: number, data: ExtentSet): Device {
  return Object.assign(memory('sparse', sizeBytes), {
    extents(lengthBytes: number, offsetBytes: number, limit: number) {
      const list = new ExtentList(lengthBytes, offsetBytes, limit);
      const end = offsetBytes + lengthBytes;
      for (const one of data) {
        if (one.offsetBytes + one.lengthBytes <= list.atBytes) continue;
        if (one.offsetBytes >= end || list.full) break;
        if (one.offsetBytes > list.atBytes) list.add(one.offsetBytes, 'hole');
        if (!list.full) list.add(Math.min(end, one.offsetBytes + one.lengthBytes), 'data');
      }
      if (!list.full) list.add(end, 'hole');
      return list.extents;
    },
  });
}

const extents = fc.array(
  fc.record({ offsetBytes: fc.nat(20 * MIB), lengthBytes: fc.integer({ min: 1, max: 3 * MIB }) }),
  { maxLength: 6 },
);

function inside(all: readonly Extent[], sizeBytes: number): ExtentSet {
  const set = new ExtentSet();
  for (const { offsetBytes, lengthBytes } of all) {
    const end = Math.min(sizeBytes, offsetBytes + lengthBytes);
    if (end > offsetBytes) set.add(offsetBytes, end - offsetBytes);
  }
  return set;
}

test('what has changed is data or a hole, what has not is kept, and holes are holes', async () => {
  const sizes = fc.integer({ min: 1, max: 20 * MIB });
  await fc.assert(
    fc.asyncProperty(sizes, extents, extents, async (sizeBytes, changed, filled) => {
      const data = inside(filled, sizeBytes);
      const device = sparse(sizeBytes, data);
      const ranges = [...inside(changed, sizeBytes)];
      const options = { sizeBytes, stableBytes: sizeBytes, alignBytes: ALIGN };
      const kinds = { data: new ExtentSet(), hole: new ExtentSet(), zero: new ExtentSet() };
      let at = 0;
      const runs = withoutHoles(changedRuns(ranges, options), device, ALIGN);
      for await (const { kind, offsetBytes, lengthBytes } of runs as AsyncIterable<Run | Keep>) {
        assert.equal(offsetBytes, at);
        at += lengthBytes;
        if (kind !== 'keep') kinds[kind].add(offsetBytes, lengthBytes);
        if (kind === 'hole') {
          assert.ok(!data.intersects(offsetBytes, lengthBytes));
          assert.ok(offsetBytes % ALIGN === 0 && (at % ALIGN === 0 || at === sizeBytes));
        }
      }
      assert.equal(at, sizeBytes);
      const told = new ExtentSet([...kinds.data, ...kinds.hole]);
      for (const one of ranges) assert.ok(told.contains(one.offsetBytes, one.lengthBytes));
    }),
    { numRuns: 60 },
  );
});

test('without changes to go by, the whole device is data and holes', async () => {
  const data = new ExtentSet([{ offsetBytes: 100_000, lengthBytes: 10 }]);
  const runs = await Array.fromAsync(alignedRuns(sparse(10 * ALIGN + 5, data), ALIGN));
  assert.deepEqual(runs, [
    { kind: 'hole', offsetBytes: 0, lengthBytes: ALIGN },
    { kind: 'data', offsetBytes: ALIGN, lengthBytes: ALIGN },
    { kind: 'hole', offsetBytes: 2 * ALIGN, lengthBytes: 8 * ALIGN + 5 },
  ]);
});
