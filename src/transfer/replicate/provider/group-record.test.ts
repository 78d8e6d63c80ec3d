/** Goal: what a journal says of a group is read by every later version. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromHex, toHex } from '../../../core/index.ts';
import { decodeReady, encodeReady } from './group-record.ts';

/** Changing this line changes what journals hold that are there already. */
const READY =
  '210000007b226e616d65223a226462222c226d656d62657273223a5b2261222c2262225d7d' +
  `07092002${'ab'.repeat(32)}00`;

test('the record "ready" keeps its bytes', () => {
  const digest = new Uint8Array(32).fill(0xab);
  const commit = { volume: 7, epoch: 9, messageCount: 32, recordCount: 2, digest };
  const ready = { group: { name: 'db', members: ['a', 'b'] }, commit };
  assert.equal(toHex(encodeReady(ready)), READY);
  assert.deepEqual(decodeReady(fromHex(READY, READY.length / 2)!), ready);
});
