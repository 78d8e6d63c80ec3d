/** Goal: what resembles something stored elsewhere costs little, and every snapshot stays whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAMES_TOUCHED_MAX, PATCH_DEPTH_MAX } from '../../codec/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import { Repository } from '../../store/index.ts';
import {
  backUp,
  type Expected,
  init,
  kinds,
  noise,
  open,
  restored,
  verifyAll,
} from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65536;
const PAGE = 4096;

async function repository(): Promise<ObjectStore> {
  const objects = memoryStore('similar');
  await Repository.init(env, objects);
  return objects;
}

/** Bytes that do not compress. */
function dense(lengthBytes: number, seed: number): Uint8Array {
  const bytes = noise(lengthBytes, seed);
  const more = noise(lengthBytes, seed + 1000);
  for (let at = 0; at < lengthBytes; at++) bytes[at] = bytes[at]! ^ (more[at]! << 2);
  return bytes;
}

/** Some pages of a table are written anew, and copied to a log behind a head of 24 bytes each. */
function dayOf(before: Uint8Array, logAt: number, day: number): Uint8Array {
  const bytes = before.slice();
  const pages = logAt / PAGE;
  let to = logAt + 32;
  for (let page = day % 5; page < pages && to + PAGE + 24 < bytes.byteLength; page += 5) {
    const at = page * PAGE;
    bytes.set(dense(200, day * 1000 + page), at + 1000);
    bytes.set(dense(24, day * 1000 + page + 500), to);
    bytes.set(bytes.subarray(at, at + PAGE), to + 24);
    to += PAGE + 24;
  }
  return bytes;
}

for (const kind of kinds) {
  test(`${kind}: a log of changed pages is stored as patches against the table they are from`, async () => {
    const objects = memoryStore('similar');
    await init(env, objects, kind);
    const logAt = 24 * CHUNK;
    const first = new Uint8Array(30 * CHUNK);
    first.set(dense(logAt, 1));
    const second = dayOf(first, logAt, 1);
    const expected: Expected = new Map();
    for (const bytes of [first, second]) {
      const { snapshot } = await backUp(env, await open(env, objects), bytes);
      expected.set(snapshot.id, bytes);
    }
    const stored = (await open(env, objects)).snapshots().map(({ storedBytes }) => storedBytes);
    // 78 changed rows of 200 bytes; of five chunks' pages in a chunk of the log, four are found.
    assert(stored[1]! < 80_000, `${stored[1]} bytes for the second day`);
    await verifyAll(env, objects, expected);
  });
}

test('what was copied to other blocks is found again', async () => {
  const objects = await repository();
  const file = dense(20 * CHUNK, 3);
  const first = new Uint8Array(50 * CHUNK);
  first.set(file);
  const second = first.slice();
  second.set(file, 25 * CHUNK + 3 * PAGE);
  await backUp(env, await open(env, objects), first);
  const { snapshot } = await backUp(env, await open(env, objects), second);
  assert(snapshot.storedBytes < file.byteLength / 8, `${snapshot.storedBytes} bytes`);
  assert(equalBytes(await restored(env, await open(env, objects), snapshot), second));
});

test('weeks of changes keep every patch within its bounds, and cost what a few days do', async () => {
  const objects = await repository();
  const logAt = 12 * CHUNK;
  let bytes = new Uint8Array(16 * CHUNK);
  bytes.set(dense(logAt, 1));
  const expected: Expected = new Map();
  const stored: number[] = [];
  for (let day = 0; day < 16; day++) {
    if (day > 0) bytes = dayOf(bytes, logAt, day) as Uint8Array<ArrayBuffer>;
    const { snapshot } = await backUp(env, await open(env, objects), bytes);
    expected.set(snapshot.id, bytes);
    stored.push(snapshot.storedBytes);
  }
  const later = stored.slice(1);
  const mean = later.reduce((sum, each) => sum + each) / later.length;
  assert(mean < stored[0]! / 8, `${stored.join(' ')} bytes`);
  await verifyAll(env, objects, expected);
  const index = await (await open(env, objects)).index();
  for (const pack of index.packIds()) {
    const table = await index.tableOf(pack);
    for (let at = 0; at < table.count; at++) {
      assert(table.depths[at]! <= PATCH_DEPTH_MAX && table.touched[at]! <= FRAMES_TOUCHED_MAX);
    }
  }
});

test('two writers that patch against what the other one stores make no cycle', async () => {
  const objects = await repository();
  const logAt = 8 * CHUNK;
  const first = new Uint8Array(12 * CHUNK);
  first.set(dense(logAt, 1));
  const mirrored = (bytes: Uint8Array) => {
    const other = new Uint8Array(bytes.byteLength);
    other.set(bytes.subarray(logAt));
    other.set(bytes.subarray(0, logAt), bytes.byteLength - logAt);
    return other;
  };
  await backUp(env, await open(env, objects), first, { volume: 'a' });
  await backUp(env, await open(env, objects), mirrored(first), { volume: 'b' });
  const [one, other] = [await open(env, objects), await open(env, objects)];
  const day = dayOf(first, logAt, 1);
  const expected: Expected = new Map();
  const results = await Promise.all([
    backUp(env, one, day, { volume: 'a' }),
    backUp(env, other, mirrored(day), { volume: 'b' }),
  ]);
  expected.set(results[0].snapshot.id, day);
  expected.set(results[1].snapshot.id, mirrored(day));
  const now = await open(env, objects);
  for (const snapshot of now.snapshots()) {
    const bytes = expected.get(snapshot.id);
    if (bytes !== undefined) assert(equalBytes(await restored(env, now, snapshot), bytes));
  }
});
