/** Goal: checkpoints make opening quick, and stay small beside the log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultStore, memoryStore, type ObjectStore } from '../objects/index.ts';
import { checkpointKey, sealCheckpoint } from './checkpoint.ts';
import { CHECKPOINT_BYTES_MAX, CHECKPOINT_INTERVAL, CHECKPOINTS_TRIED_MAX } from './limits.ts';
import { openLog, proposal, volumes } from './log.fixture.ts';
import { plainSealer } from './sealer.ts';

test('checkpoints together say what the log says a few times over, not once for each', async () => {
  const inner = memoryStore('a');
  let written = 0;
  const objects: ObjectStore = {
    ...inner,
    async putIfAbsent(key, bytes) {
      await inner.putIfAbsent(key, bytes);
      if (key.startsWith('checkpoints/')) written += bytes.byteLength;
    },
  };
  const log = await openLog(objects);
  const count = 32 * CHECKPOINT_INTERVAL;
  for (let at = 0; at < count; at++) await log.append(async () => proposal(`${at}`));
  const sizeOf = async (folder: string) => {
    const entries = await Array.fromAsync(inner.list(folder));
    return { count: entries.length, bytes: entries.reduce((sum, each) => sum + each.sizeBytes, 0) };
  };
  const entries = await sizeOf('log/');
  const kept = await sizeOf('checkpoints/');
  // A full one each time would come to 16 times the log.
  assert(written < 4 * entries.bytes, `${written} bytes for ${entries.bytes} of log`);
  assert(kept.count <= 6 && kept.bytes < entries.bytes, JSON.stringify(kept));
  let gets = 0;
  const counted = faultStore(inner, ({ operation }) => {
    if (operation === 'get') gets++;
    return undefined;
  });
  assert.deepEqual(volumes(await openLog(counted)), volumes(log));
  assert(gets < 10, `${gets} objects were read`);
});

test('checkpoints that others remove, damage or lose cost reading, and nothing else', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  const count = 7 * CHECKPOINT_INTERVAL + 5;
  for (let at = 0; at < count; at++) {
    await log.append(async ({ snapshots, generation }) => {
      const [oldest] = snapshots.keys();
      // Some are forgotten, and some changed, long after they came.
      if (at % 5 === 4) return { type: 'forget', snapshots: [oldest!], generation };
      if (at % 7 === 6) return { type: 'hold', snapshots: [oldest!], held: true, generation };
      return proposal(`${at}`);
    });
  }
  const keys = await Array.fromAsync(objects.list('checkpoints/'), ({ key }) => key);
  assert(keys.length > 2, `${keys}`);
  const expected = sealCheckpoint(plainSealer, log.state);
  for (const key of [undefined, ...keys]) {
    const copy = memoryStore('copy');
    for await (const each of objects.list('')) {
      if (each.key !== key) await copy.putIfAbsent(each.key, await objects.get(each.key, 2 ** 24));
    }
    assert.deepEqual(sealCheckpoint(plainSealer, (await openLog(copy)).state), expected);
  }
});

test('what a host forges costs whoever opens a bounded number of reads, and loses nothing', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  for (let at = 0; at < 5; at++) await log.append(async () => proposal(`${at}`));
  for (let at = 1; at <= 3 * CHECKPOINTS_TRIED_MAX; at++) {
    await objects.putIfAbsent(checkpointKey(1000 * at), new Uint8Array(100));
  }
  const asked: number[] = [];
  const counted: ObjectStore = {
    ...objects,
    get(key, bytesMax) {
      if (key.startsWith('checkpoints/')) asked.push(bytesMax);
      return objects.get(key, bytesMax);
    },
  };
  assert.deepEqual(volumes(await openLog(counted)), volumes(log));
  assert.deepEqual(asked, Array(CHECKPOINTS_TRIED_MAX).fill(CHECKPOINT_BYTES_MAX));
});

test('checkpoints that stand upon each other are bounded together', async () => {
  const objects = memoryStore('a');
  const log = await openLog(objects);
  const count = 3 * CHECKPOINT_INTERVAL;
  for (let at = 0; at < count; at++) await log.append(async () => proposal(`${at}`));
  const asked: number[] = [];
  const counted: ObjectStore = {
    ...objects,
    async get(key, bytesMax) {
      const bytes = await objects.get(key, bytesMax);
      if (key.startsWith('checkpoints/')) asked.push(bytesMax - bytes.byteLength);
      return bytes;
    },
  };
  await openLog(counted);
  assert(asked.length > 1 && asked.every((left, at) => at === 0 || left < asked[at - 1]!));
});
