/** Goal: a policy keeps what it says, whatever clocks said. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parsePeriod } from '../core/index.ts';
import { type RetentionPolicy, retention } from './retention.ts';
import type { Snapshot } from './snapshot.ts';

function snapshot(time: string, more: Partial<Snapshot> = {}): Snapshot {
  return {
    id: '0'.repeat(32),
    volume: 'disk',
    time,
    sizeBytes: 0,
    chunkBytes: 65536,
    root: undefined,
    digest: '0'.repeat(64),
    parent: undefined,
    source: 'full',
    origin: '',
    readBytes: 0,
    changedBytes: 0,
    storedBytes: 0,
    unreadable: [],
    tags: [],
    held: false,
    ...more,
  };
}

/** Times that are kept, with the reasons. */
function keptOf(times: readonly string[], policy: RetentionPolicy): Record<string, string> {
  const snapshots = times.map((time) => snapshot(`${time}:00.000Z`));
  const kept = retention(snapshots, policy).filter(({ reasons }) => reasons.length > 0);
  return Object.fromEntries(
    kept.map((each) => [each.snapshot.time.slice(0, 16), each.reasons.join(' ')]),
  );
}

test('the newest of each bucket is kept, by as many buckets as have one', () => {
  const times = [
    '2023-12-31T12:00',
    '2024-01-01T10:00',
    '2024-01-01T11:00',
    '2024-01-03T09:00',
    '2024-01-03T09:30',
    '2024-01-08T08:00',
  ];
  assert.deepEqual(keptOf(times, { daily: 2 }), {
    '2024-01-03T09:30': 'daily',
    '2024-01-08T08:00': 'daily',
  });
  assert.deepEqual(keptOf(times, { hourly: 3, weekly: 2 }), {
    '2024-01-01T11:00': 'hourly',
    '2024-01-03T09:30': 'hourly weekly',
    '2024-01-08T08:00': 'hourly weekly',
  });
  assert.deepEqual(keptOf(times, { weekly: 9 }), {
    '2023-12-31T12:00': 'weekly',
    '2024-01-03T09:30': 'weekly',
    '2024-01-08T08:00': 'weekly',
  });
  assert.deepEqual(keptOf(times, { monthly: 1, yearly: Number.POSITIVE_INFINITY, last: 2 }), {
    '2023-12-31T12:00': 'yearly',
    '2024-01-03T09:30': 'last',
    '2024-01-08T08:00': 'last monthly yearly',
  });
});

test('within counts from the newest snapshot, by the calendar, and looks at no clock', () => {
  const times = ['2023-02-27T23:59', '2023-02-28T12:00', '2023-03-30T12:00', '2023-03-31T12:00'];
  const kept = (period: string) => Object.keys(keptOf(times, { within: parsePeriod(period)! }));
  assert.deepEqual(kept('1m'), times.slice(1));
  assert.deepEqual(kept('23h'), times.slice(3));
  assert.deepEqual(kept('24h'), times.slice(2));
  assert.deepEqual(kept('1d'), times.slice(2));
  assert.deepEqual(kept('1m1d'), times);
});

test('periods are read as people write them, and nothing else is', () => {
  assert.deepEqual(parsePeriod('1y2m3w4d5h'), { years: 1, months: 2, days: 25, hours: 5 });
  for (const wrong of ['', '5', 'd', '1d1y', '-1d', '1.5d', '1D', ' 1d']) {
    assert.equal(parsePeriod(wrong), undefined, wrong);
  }
});

test('tags and holds keep whatever their age', () => {
  const snapshots = [
    snapshot('2020-01-01T00:00:00Z', { tags: ['keep', 'x'] }),
    snapshot('2020-01-02T00:00:00Z', { held: true }),
    snapshot('not a time'),
    snapshot('2024-01-01T00:00:00Z'),
  ];
  const reasons = retention(snapshots, { last: 1, tags: ['keep', 'none'] });
  assert.deepEqual(
    reasons.map((each) => each.reasons),
    [['tag keep'], ['held'], [], ['last']],
  );
});

const policies = fc.record({
  last: fc.nat(5),
  hourly: fc.nat(5),
  daily: fc.nat(5),
  weekly: fc.nat(5),
  monthly: fc.nat(5),
  yearly: fc.nat(5),
});
const histories = fc.array(
  fc.date({
    min: new Date('2019-12-25T00:00:00Z'),
    max: new Date('2021-01-20T00:00:00Z'),
    noInvalidDate: true,
  }),
  { maxLength: 60 },
);

test("properties: the newest stays if anything does, counts bound, order is the log's", () => {
  fc.assert(
    fc.property(policies, histories, (policy, dates) => {
      const snapshots = dates.map((date) => snapshot(date.toISOString()));
      const plan = retention(snapshots, policy);
      assert.deepEqual(
        plan.map((each) => each.snapshot),
        snapshots,
      );
      for (const [rule, count] of Object.entries(policy)) {
        const by = plan.filter(({ reasons }) => reasons.includes(rule));
        assert(by.length <= count, `${rule} kept ${by.length} of ${count}`);
        // As long as a rule keeps anything, it keeps the newest.
        if (count > 0 && plan.length > 0) assert(plan.at(-1)!.reasons.includes(rule));
      }
      const more = { ...policy, daily: policy.daily + 1 };
      const then = retention(snapshots, more);
      for (const [at, { reasons }] of plan.entries()) {
        if (reasons.length > 0) assert(then[at]!.reasons.length > 0, 'a wider policy keeps more');
      }
    }),
  );
});

test('what a policy keeps it keeps again: forgetting twice forgets no more', () => {
  fc.assert(
    fc.property(policies, histories, (policy, dates) => {
      const sorted = dates.map((date) => date.toISOString()).sort();
      const kept = (list: readonly Snapshot[]) =>
        retention(list, policy).flatMap((each) => (each.reasons.length > 0 ? [each.snapshot] : []));
      const once = kept(sorted.map((time) => snapshot(time)));
      assert.deepEqual(kept(once), once);
    }),
  );
});
