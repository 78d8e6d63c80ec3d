/** Goal: no job needs more frames at once than a few MiB, however a volume's chunks are strewn. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CodecPool, codecPool, type DecodePlan } from '../../codec/index.ts';
import { type Env, equalBytes, nodeEnv } from '../../core/index.ts';
import { memoryStore } from '../../objects/index.ts';
import { check, Repository } from '../../store/index.ts';
import { backUp, noise, open, restored } from './model-repository.fixture.ts';

const env = nodeEnv();
const CHUNK = 4096;
const SIZE = 16 * 2 ** 20;
const FRAMES_BYTES_MAX = 8 * 2 ** 20;

/** A pool, and the bytes of the frames that each of its jobs was given. */
function watchedPool(env: Env): { pool: CodecPool; take: () => number[] } {
  const pool = codecPool(env, 0);
  let frames: number[] = [];
  const watched: CodecPool = {
    ...pool,
    run(job) {
      const { plan } = job as { plan?: DecodePlan };
      if (plan !== undefined) frames.push(sum(plan.frames.map(({ lengthBytes }) => lengthBytes)));
      return pool.run(job);
    },
  };
  const take = () => {
    const taken = frames;
    frames = [];
    return taken;
  };
  return { pool: watched, take };
}

function assertBounded(jobs: readonly number[], what: string): void {
  assert(jobs.length > 0, what);
  const most = Math.max(...jobs);
  assert(most <= FRAMES_BYTES_MAX, `${what}: a job with ${most} bytes of frames`);
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

/** The volume's chunks in another order, each far from where its neighbour went. */
function permuted(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array(bytes.byteLength);
  const count = bytes.byteLength / CHUNK;
  for (let to = 0; to < count; to++) {
    const from = (to * 1231 + 5) % count;
    result.set(bytes.subarray(from * CHUNK, (from + 1) * CHUNK), to * CHUNK);
  }
  return result;
}

test('patches all over a volume: backup, restore and check hold a few frames at a time', async () => {
  const { pool, take } = watchedPool(env);
  const objects = memoryStore('memory');
  await Repository.init(env, objects, { chunkBytes: CHUNK });
  const bytes = noise(SIZE, 1);
  await backUp(env, await open(env, objects), bytes);
  for (let at = 0; at < SIZE; at += 2 ** 18) bytes[at + 5 * CHUNK + 9]! ^= 1;
  take();
  const { snapshot } = await backUp(env, await open(env, objects), bytes, { pool });
  assertBounded(take(), 'backup');
  assert(snapshot.storedBytes < 2 ** 18, `${snapshot.storedBytes} bytes: no patches`);
  const repository = await open(env, objects);
  assert(equalBytes(await restored(env, repository, snapshot, { pool }), bytes));
  assertBounded(take(), 'restore');
  assert.deepEqual((await check(repository, { readData: true, pool })).problems, []);
  assertBounded(take(), 'check');
});

test('a volume in another order than its chunks were stored reads no frame over and over', async () => {
  const { pool, take } = watchedPool(env);
  const objects = memoryStore('memory');
  await Repository.init(env, objects, { chunkBytes: CHUNK });
  const bytes = noise(SIZE, 2);
  await backUp(env, await open(env, objects), bytes);
  const other = permuted(bytes);
  const { snapshot } = await backUp(env, await open(env, objects), other, { volume: 'other' });
  assert(snapshot.storedBytes < 2 ** 18, `${snapshot.storedBytes} bytes: it was stored again`);
  take();
  assert(equalBytes(await restored(env, await open(env, objects), snapshot, { pool }), other));
  const jobs = take();
  assertBounded(jobs, 'restore');
  assert(sum(jobs) <= 2 * SIZE, `${sum(jobs)} bytes of frames for ${SIZE}`);
});
