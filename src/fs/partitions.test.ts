/** Goal: partitions are found as sfdisk made them; a table that contradicts itself is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceOf, type ImageName, imageBytes } from '../../test/golden/images/images.ts';
import { readPartitions } from './index.ts';

const SECTOR = 512;

async function rows(name: ImageName, change: (view: DataView) => void = () => {}) {
  const bytes = imageBytes(name).slice();
  change(new DataView(bytes.buffer));
  const table = await readPartitions(deviceOf(bytes));
  return table?.partitions.map((one) => [
    one.number,
    one.offsetBytes / SECTOR,
    one.lengthBytes / SECTOR,
  ]);
}

const inMbr = [
  [1, 2048, 4096],
  [5, 10_240, 2048],
  [6, 14_336, 4096],
];
const inGpt = [
  [1, 2048, 4096],
  [2, 8192, 10_240],
];

test('an MBR with logical partitions, and a GPT, are read as they were made', async () => {
  assert.deepEqual(await rows('mbr.disk'), inMbr);
  assert.deepEqual(await rows('gpt.disk'), inGpt);
});

test('no table is no error', async () => {
  assert.equal(await readPartitions(deviceOf(new Uint8Array(100))), undefined);
  assert.equal(await readPartitions(deviceOf(new Uint8Array(4096))), undefined);
  const bootCode = new Uint8Array(4096);
  bootCode.set([0x55, 0xaa], 510);
  assert.equal(await readPartitions(deviceOf(bootCode)), undefined);
});

test('of a GPT the copy at the end serves where the first one is damaged', async () => {
  assert.deepEqual(await rows('gpt.disk', (view) => view.setUint8(SECTOR + 40, 99)), inGpt);
  assert.deepEqual(await rows('gpt.disk', (view) => view.setUint8(2 * SECTOR + 40, 99)), inGpt);
  const both = (view: DataView) => {
    view.setUint8(SECTOR + 40, 99);
    view.setUint8(view.byteLength - SECTOR + 40, 99);
  };
  await assert.rejects(rows('gpt.disk', both), { code: 'FS_DAMAGED' });
});

test('partitions that overlap, pass the end or go round in circles are refused', async () => {
  const [first, second] = [446, 462];
  const cases: [string, (view: DataView) => void, string][] = [
    ['overlap', (view) => view.setUint32(first + 12, 9000, true), 'FS_DAMAGED'],
    ['behind the end', (view) => view.setUint32(first + 8, 40_000, true), 'FS_DAMAGED'],
    ['extended at the end', (view) => view.setUint32(second + 8, 32_768, true), 'FS_DAMAGED'],
  ];
  for (const [what, change, code] of cases) {
    await assert.rejects(rows('mbr.disk', change), { code }, what);
  }
  // The second record of the chain names itself as the next one.
  const circle = (view: DataView) => {
    const record = view.getUint32(second + 8, true) * SECTOR;
    const next = view.getUint32(record + second + 8, true);
    const at = record + next * SECTOR;
    view.setUint8(at + second + 4, 5);
    view.setUint32(at + second + 8, next, true);
    view.setUint32(at + second + 12, 1, true);
  };
  await assert.rejects(rows('mbr.disk', circle), { code: 'FS_LIMIT' });
});
