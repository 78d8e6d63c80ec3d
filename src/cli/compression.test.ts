/** `--compression`: what it takes, and what it refuses. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compressionOf } from './compression.ts';

test('every form is read', () => {
  assert.equal(compressionOf('auto'), undefined);
  assert.equal(compressionOf('zstd'), undefined);
  assert.deepEqual(compressionOf('lz4'), { algorithm: 'lz4' });
  assert.deepEqual(compressionOf('none'), { algorithm: 'raw' });
  assert.deepEqual(compressionOf('zstd:1'), { algorithm: 'zstd', level: 1 });
  assert.deepEqual(compressionOf('zstd:19'), { algorithm: 'zstd', level: 19 });
});

test('anything else is refused by its name', () => {
  for (const text of ['', 'gzip', 'zstd:', 'zstd:0', 'zstd:20', 'zstd:1.5', 'zstd:3:4', 'lz4:9']) {
    assert.throws(() => compressionOf(text), { message: new RegExp(`not '${text}'$`) });
  }
});
