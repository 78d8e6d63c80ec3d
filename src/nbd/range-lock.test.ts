/** Goal: conflicting claims run one after the other in the order they came, all others at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Claim, RangeLock } from './range-lock.ts';

type Range = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly writes: boolean;
};

class TestClaim implements Claim {
  readonly number: number;
  offsetBytes: number;
  lengthBytes: number;
  writes: boolean;
  earlier: Claim | undefined;
  later: Claim | undefined;
  waiting: Claim | undefined;
  nextWaiting: Claim | undefined;
  runs = false;

  constructor(number: number, { offsetBytes, lengthBytes, writes }: Range) {
    this.number = number;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.writes = writes;
  }

  proceed(): void {
    assert.ok(!this.runs, 'a claim proceeds once');
    this.runs = true;
  }
}

function conflict(a: Range, b: Range, align: number): boolean {
  const start = (range: Range) => Math.floor(range.offsetBytes / align) * align;
  const end = (range: Range) => Math.ceil((range.offsetBytes + range.lengthBytes) / align) * align;
  return (a.writes || b.writes) && start(a) < end(b) && start(b) < end(a);
}

const granule = 64 * 1024;
const offset = fc.oneof(
  fc.nat(64),
  fc.nat(8).map((block) => block * granule),
  fc.nat(8).map((block) => block * granule - 1 + granule),
);
const length = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.constant(granule),
  fc.nat(granule * 40),
);
const ranges = fc.record({
  offsetBytes: offset,
  lengthBytes: length.map((bytes) => Math.max(1, bytes)),
  writes: fc.boolean(),
});
const steps = fc.array(fc.oneof(ranges, fc.nat(50)), { maxLength: 60 });

test('at each moment exactly those run that conflict with nothing before them', () => {
  fc.assert(
    fc.property(steps, fc.constantFrom(1, 512, 4096, 4 * granule), (list, align) => {
      const lock = new RangeLock(align);
      const held: TestClaim[] = [];
      const check = () => {
        assert.equal(lock.count, held.length);
        held.forEach((claim, at) => {
          const blocked = held.slice(0, at).some((earlier) => conflict(earlier, claim, align));
          assert.equal(claim.runs, !blocked, `claim ${claim.number}`);
        });
      };
      list.forEach((step, number) => {
        if (typeof step === 'number') {
          const running = held.filter((claim) => claim.runs);
          const leaving = running[step % Math.max(1, running.length)];
          if (leaving === undefined) return;
          held.splice(held.indexOf(leaving), 1);
          lock.leave(leaving);
        } else {
          const claim = new TestClaim(number, step);
          const { offsetBytes, lengthBytes, writes } = step;
          const isFree = lock.isFree(offsetBytes, lengthBytes, writes);
          assert.equal(lock.enter(claim), isFree);
          claim.runs = isFree;
          held.push(claim);
        }
        check();
      });
      while (held.length > 0) {
        const at = held.findIndex((claim) => claim.runs);
        const [leaving] = held.splice(at, 1);
        lock.leave(leaving!);
        check();
      }
    }),
    { numRuns: 300 },
  );
});
