/** Goal: what is shown of a size is short and never wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSize } from '../core/index.ts';
import { formatDuration, formatPercent, formatRate, formatSize, formatSizeExact } from './sizes.ts';

test('an exact size reads back as itself', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseSize(formatSizeExact(bytes)), bytes)),
  );
});

test('sizes are shown with three digits', () => {
  assert.equal(formatSize(0), '0 B');
  assert.equal(formatSize(999), '999 B');
  assert.equal(formatSize(1000), '0.98 KiB');
  assert.equal(formatSize(1536), '1.50 KiB');
  assert.equal(formatSize(64 * 1024), '64.0 KiB');
  assert.equal(formatSize(2 ** 30), '1.00 GiB');
  assert.equal(formatSize(1023 * 2 ** 20), '1.00 GiB');
  assert.equal(formatRate(3 * 2 ** 20), '3.00 MiB/s');
});

test('a shown size is at most half a percent off', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 50 }), (bytes) => {
      const shown = formatSize(bytes);
      if (/^\d+ B$/.test(shown)) assert.equal(parseSize(shown), bytes);
      else {
        const [number, unit] = shown.split(' ');
        const back = Number(number) * 1024 ** (' KMGTPE'.indexOf(unit![0]!) || 1);
        assert.ok(Math.abs(back - bytes) <= bytes * 0.0052, shown);
      }
    }),
  );
});

test('durations grow from seconds to hours', () => {
  assert.equal(formatDuration(420), '0.42 s');
  assert.equal(formatDuration(12_340), '12.3 s');
  assert.equal(formatDuration(59_960), '1:00');
  assert.equal(formatDuration(185_000), '3:05');
  assert.equal(formatDuration(7_809_000), '2:10:09');
});

test('a share of nothing is zero', () => {
  assert.equal(formatPercent(0, 0), '0.0 %');
  assert.equal(formatPercent(1, 3), '33.3 %');
});
