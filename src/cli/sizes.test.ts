/** Goal: sizes are read exactly and strictly, and what is shown is short and never wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  formatDuration,
  formatPercent,
  formatRate,
  formatSize,
  formatSizeExact,
  parseSize,
} from './sizes.ts';

test('units are powers of 1024, in any case, with or without iB or B', () => {
  assert.equal(parseSize('4096'), 4096);
  assert.equal(parseSize('512B'), 512);
  assert.equal(parseSize('64K'), 65536);
  assert.equal(parseSize('64kib'), 65536);
  assert.equal(parseSize('64KB'), 65536);
  assert.equal(parseSize('1.5G'), 1.5 * 2 ** 30);
  assert.equal(parseSize('1 TiB'), 2 ** 40);
});

test('what is no size, not whole or too large is refused', () => {
  for (const text of ['', 'K', '-1', '0x10', '1.5', '1e3', '64 Q', '9007199254740992']) {
    assert.throws(() => parseSize(text), /size|whole/, text);
  }
});

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
