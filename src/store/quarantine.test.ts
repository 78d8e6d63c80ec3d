/** Goal: what is set aside is all that can be read, wherever the medium fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryStore, ObjectError, type ObjectStore } from '../objects/index.ts';
import { STRIPE_BYTES } from './limits.ts';
import { quarantine } from './quarantine.ts';

test('a sector that fails at the very end of a large object is but a sector', async () => {
  const objects = memoryStore('end');
  const bytes = new Uint8Array(4 * 1024 * 1024 + 3000).fill(7);
  await objects.putIfAbsent('packs/a', bytes);
  const badFrom = bytes.byteLength - 3000;
  const failing: ObjectStore = {
    ...objects,
    async getRange(key, target, offsetBytes) {
      if (offsetBytes + target.byteLength > badFrom) {
        throw new ObjectError('OBJECT_IO', 'a bad sector', { hint: '' });
      }
      return objects.getRange(key, target, offsetBytes);
    },
  };
  const aside = await quarantine(failing, 'packs/a');
  const expected = bytes.slice().fill(0, badFrom - (badFrom % STRIPE_BYTES));
  assert.deepEqual(await objects.get(aside!, 2 ** 24), expected);
  await assert.rejects(objects.size('packs/a'), { code: 'OBJECT_NOT_FOUND' });
});
