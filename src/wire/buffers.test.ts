/** Goal: buffers are used again, within a bound, whatever sizes were asked for before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from './buffers.ts';
import { POOL_IDLE_BYTES_MAX } from './limits.ts';

const KIB = 1024;

test('a buffer that was given back is lent again, to whoever wants about as much', () => {
  const pool = new BufferPool();
  const buffer = pool.take(200 * KIB);
  assert.equal(buffer.byteLength, 256 * KIB);
  pool.giveBack(buffer);
  assert.equal(pool.take(250 * KIB), buffer);
  assert.notEqual(pool.take(250 * KIB), buffer);
});

test('sizes of earlier times make room for those of now, and idle ones have a bound', () => {
  let made = 0;
  const pool = new BufferPool((sizeBytes) => {
    made += 1;
    return new Uint8Array(sizeBytes);
  });
  const use = (count: number, sizeBytes: number) => {
    const all = Array.from({ length: count }, () => pool.take(sizeBytes));
    for (const buffer of all) pool.giveBack(buffer);
  };
  const large = POOL_IDLE_BYTES_MAX / 16;
  use(16, large);
  use(64, 256 * KIB);
  made = 0;
  use(64, 256 * KIB);
  assert.equal(made, 0);
  use(16, large);
  const most = POOL_IDLE_BYTES_MAX / (256 * KIB);
  use(2 * most, 256 * KIB);
  made = 0;
  use(2 * most, 256 * KIB);
  assert.equal(made, most);
});
