/** Goal: damage to a map loses no mark and invents none: another copy has it, or it is refused. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { crc32, type Files, type OpenFile } from '../core/index.ts';
import { BlockMap } from './block-map.ts';
import { faulty, files, scratch } from './scratch.suite.ts';

const at = scratch();
const PAGE = 4096;
const BLOCKS_PER_PAGE = (PAGE / 4 - 1) * 32;
const sync = async (): Promise<void> => {};

type Made = { path: string; identity: string; sizeBytes: number; bytes: Buffer };

async function make(name: string, blocks: number, marks: readonly number[]): Promise<Made> {
  const header = { path: at(name), identity: 'snapshot 1', sizeBytes: blocks * 4096 };
  await BlockMap.create(files, header);
  const map = await BlockMap.open(files, header);
  for (const block of marks) {
    map.bitmap.set(block);
    map.marked(block, 1);
  }
  await map.flush(sync);
  await map.close();
  return { ...header, bytes: fs.readFileSync(header.path) };
}

/** Opens `bytes` as a map, in memory: the files of a test with thousands of openings. */
async function marksOf(bytes: Buffer, made: Made): Promise<number[]> {
  const file: Partial<OpenFile> = {
    read: (target, offsetBytes, done) => done(null, bytes.copy(target, 0, offsetBytes)),
    close: sync,
  };
  const memory: Partial<Files> = { open: async () => file as OpenFile };
  const { bitmap } = await BlockMap.open(memory as Files, made);
  const marks: number[] = [];
  for (let block = bitmap.nextSet(0); block < bitmap.size; block = bitmap.nextSet(block + 1)) {
    marks.push(block);
  }
  return marks;
}

function flipped(bytes: Buffer, ...offsets: number[]): Buffer {
  const copy = Buffer.from(bytes);
  for (const offset of offsets) copy[offset]! ^= 1 << (offset % 8);
  return copy;
}

const damaged = { code: 'DEVICE_LAYER', message: /flips/, hint: /remove its directory/ };

test('one wrong byte anywhere is made good by the other copy, or refused in the header', async () => {
  const marks = [0, 2, 31, 999];
  const made = await make('flips-1', 1000, marks);
  assert.equal(made.bytes.byteLength, 3 * PAGE);
  for (let offset = 0; offset < made.bytes.byteLength; offset++) {
    const bytes = flipped(made.bytes, offset);
    if (offset < PAGE) await assert.rejects(marksOf(bytes, made), damaged, `byte ${offset}`);
    else assert.deepEqual(await marksOf(bytes, made), marks, `byte ${offset}`);
  }
});

test('a wrong byte in both copies of a page is refused, whichever it is', async () => {
  const made = await make('flips-2', 1000, [0, 2, 31, 999]);
  for (let offset = PAGE; offset < 2 * PAGE; offset++) {
    const other = 3 * PAGE - 1 - ((offset * 7) % PAGE);
    await assert.rejects(marksOf(flipped(made.bytes, offset, other), made), damaged);
  }
});

test('a mark behind the end is refused though its CRC-32 is right', async () => {
  const made = await make('flips-end', 1000, []);
  const larger = await make('larger', 1010, [1000]);
  const bytes = Buffer.concat([made.bytes.subarray(0, PAGE), larger.bytes.subarray(PAGE)]);
  await assert.rejects(marksOf(bytes, made), { code: 'DEVICE_LAYER', message: /behind the end/ });
});

test('a map of an older version is refused by its version', async () => {
  const made = await make('older', 1000, [1]);
  const header = made.bytes.subarray(0, PAGE);
  header.writeUInt16LE(1, 8);
  header.writeUInt32LE(crc32(header.subarray(0, PAGE - 4)), PAGE - 4);
  const refused = { code: 'DEVICE_LAYER', message: /version 1, not 2/, hint: /remove its dir/ };
  await assert.rejects(marksOf(made.bytes, made), refused);
});

test('each page stands for itself: the copies of two pages may be wrong crosswise', async () => {
  const marks = [5, BLOCKS_PER_PAGE - 1, BLOCKS_PER_PAGE, 2 * BLOCKS_PER_PAGE + 7];
  const made = await make('flips-3', 3 * BLOCKS_PER_PAGE, marks);
  const [first, second] = [PAGE + 1, PAGE + 4 * PAGE + 1]; // Page 0 in copy 0, page 1 in copy 1.
  assert.deepEqual(await marksOf(flipped(made.bytes, first, second), made), marks);
  await assert.rejects(marksOf(flipped(made.bytes, second, second - 3 * PAGE), made), damaged);
});

test('taking up a map writes its wrong copy first, and then has two right ones again', async () => {
  for (const wrong of [0, 1]) {
    const made = await make(`flips-heal-${wrong}`, 1000, [3]);
    fs.writeFileSync(made.path, flipped(made.bytes, PAGE * (1 + wrong) + 9));
    const atSync: Buffer[] = [];
    const watched = faulty(files, (call) => {
      if (call === 'sync') atSync.push(fs.readFileSync(made.path));
    });
    const map = await BlockMap.open(watched, made);
    await map.flush(sync);
    await map.close();
    assert.equal(atSync.length, 2);
    for (const bytes of atSync) assert.deepEqual(bytes, made.bytes);
  }
});
