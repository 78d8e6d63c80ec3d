/** Goal: whoever forges parity makes nobody take more memory than a pack and its parity need. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SHA256_BYTES } from '../core/index.ts';
import { PACK_ID_BYTES, STRIPE_BYTES } from './limits.ts';
import { encodeParity, type ParityShape, parityShape, parseParity } from './parity-file.ts';

const packId = 'ab'.repeat(PACK_ID_BYTES);

/** Heads that are whole, and no rows between them. */
function headsOnly(shape: ParityShape): Uint8Array {
  const stripes = Math.ceil(shape.packBytes / STRIPE_BYTES);
  const sums = new Uint32Array(stripes + shape.columns * shape.parityRows);
  const packHash = new Uint8Array(SHA256_BYTES);
  return encodeParity({ packId, packHash, shape, sums, parity: new Uint8Array(0) });
}

test('shapes that no pack has are refused before there is memory for them', () => {
  const packBytes = 200 * STRIPE_BYTES;
  for (const shape of [
    { packBytes, columns: 20_000, dataRows: 1, parityRows: 1 },
    { packBytes, columns: 200, dataRows: 1, parityRows: 50 },
  ]) {
    assert.throws(() => parseParity(headsOnly(shape), packId), { code: 'STORE_DAMAGED' });
  }
  for (const stripes of [1, 2, 3, 99, 100, 101, 8191]) {
    for (const percent of [1, 10, 50]) {
      const shape = parityShape(stripes * STRIPE_BYTES - 1, percent);
      assert.deepEqual(parseParity(headsOnly(shape), packId).shape, shape);
    }
  }
});
