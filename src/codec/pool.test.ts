/** Goal: jobs give the same on threads as in place, failures keep their type, deaths are told. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  crc32,
  type Env,
  EnvError,
  equalBytes,
  nodeEnv,
  sha256,
  type WorkerHandlers,
} from '../core/index.ts';
import type { JobRequest } from './codec-worker.ts';
import { parseFrame, plainSection } from './frame.ts';
import { DIGEST_ENTRY_BYTES, type EncodeJob, type EncodeRecord } from './jobs.ts';
import { FRAME_STORED_MAX } from './limits.ts';
import { CHUNK, onEveryPool, shared, volume } from './pool.suite.ts';
import { type CodecPool, codecPool } from './pool.ts';
import { bytesOf, FRAME_NOTES_BYTES, type SharedRange } from './shared-frame.ts';

async function digests(pool: CodecPool, bytes: Uint8Array): Promise<Uint8Array> {
  const target = shared(new Uint8Array(4 * DIGEST_ENTRY_BYTES).fill(9));
  const data = shared(bytes);
  await pool.run<'digest'>({
    kind: 'digest',
    data,
    chunkBytes: CHUNK,
    digests: target,
    checksums: true,
  });
  return bytesOf(target).slice();
}

const noPlan = {
  frames: [],
  steps: [],
  ids: new Uint8Array(0),
  checksums: new Uint32Array(0),
};

function encodeJob(data: SharedRange, records: readonly EncodeRecord[]): EncodeJob {
  const target = shared(new Uint8Array(FRAME_STORED_MAX));
  const compression = { algorithm: 'zstd', level: 1 } as const;
  assert(data.lengthBytes > 0);
  return { kind: 'encode', records, plan: noPlan, compression, target };
}

test('the digest job tells zero chunks, checksums and hashes', () =>
  onEveryPool(async (pool) => {
    const bytes = volume();
    const found = await digests(pool, bytes);
    const view = new DataView(found.buffer);
    for (let at = 0; at < 4; at++) {
      const chunk = bytes.subarray(at * CHUNK, (at + 1) * CHUNK);
      const entry = at * DIGEST_ENTRY_BYTES;
      assert.equal(view.getUint32(entry, true), at === 1 ? 1 : 0);
      if (at === 1) continue;
      assert.equal(view.getUint32(entry + 4, true), crc32(chunk));
      assert(equalBytes(found.subarray(entry + 8, entry + DIGEST_ENTRY_BYTES), sha256(chunk)));
    }
  }));

test('what is encoded is decoded and compared with its id, in a check with both signatures', () =>
  onEveryPool(async (pool) => {
    const bytes = volume();
    const data = shared(bytes);
    const own = { ...data, lengthBytes: CHUNK };
    const record = { data: own, rawBytes: CHUNK, skipBytes: 0, choices: [] };
    const job = encodeJob(data, [record]);
    const { storedBytes, chosen } = await pool.run<'encode'>(job);
    assert.deepEqual(chosen, [-1]);
    const frame = shared(bytesOf(job.target).subarray(0, storedBytes));
    assert(equalBytes(plainSection(parseFrame(bytesOf(frame))), bytes.subarray(0, CHUNK)));
    const chunk = bytes.subarray(0, CHUNK);
    const plan = {
      frames: [frame],
      steps: [{ frame: 0, record: 0, parents: [] }],
      ids: sha256(chunk),
      checksums: Uint32Array.of(crc32(chunk)),
    };
    const target = shared(new Uint8Array(2 * CHUNK));
    const outputs = [
      { step: 0, at: 0, lengthBytes: CHUNK },
      { step: 0, at: CHUNK, lengthBytes: CHUNK },
    ];
    await pool.run<'decode'>({ kind: 'decode', plan, outputs, target });
    assert(equalBytes(bytesOf(target).subarray(CHUNK), chunk));
    const short = [{ step: 0, at: 0, lengthBytes: CHUNK - 1 }];
    await assert.rejects(pool.run<'decode'>({ kind: 'decode', plan, outputs: short, target }), {
      code: 'CODEC_DAMAGED',
    });
    const wrongId = { ...plan, ids: sha256(bytes) };
    await assert.rejects(pool.run<'decode'>({ kind: 'decode', plan: wrongId, outputs, target }), {
      name: 'CodecError',
      code: 'CODEC_MISMATCH',
    });
    for (const wrong of [wrongId, { ...plan, checksums: Uint32Array.of(1) }]) {
      const check = { kind: 'decode', plan: wrong, outputs: [], target, checksAll: true } as const;
      await assert.rejects(pool.run<'decode'>(check), { code: 'CODEC_MISMATCH' });
    }
    bytesOf(frame)[20] = bytesOf(frame)[20]! ^ 1;
    await assert.rejects(pool.run<'decode'>({ kind: 'decode', plan, outputs, target }), {
      name: 'CodecError',
      code: 'CODEC_DAMAGED',
    });
  }));

test('a section is decompressed once for all jobs, and its checksum looked at once', () =>
  onEveryPool(async (pool) => {
    const chunk = volume().subarray(0, CHUNK);
    const data = shared(chunk);
    const record = { data, rawBytes: CHUNK, skipBytes: 0, choices: [] };
    const job = encodeJob(data, [record]);
    const { storedBytes: lengthBytes } = await pool.run<'encode'>(job);
    const memory = new SharedArrayBuffer(FRAME_NOTES_BYTES + lengthBytes);
    const frame = { memory, at: FRAME_NOTES_BYTES, lengthBytes, hasNotes: true };
    bytesOf(frame).set(bytesOf(job.target).subarray(0, lengthBytes));
    const section = new SharedArrayBuffer(2 * CHUNK);
    const plan = {
      frames: [{ ...frame, section }],
      steps: [{ frame: 0, record: 0, parents: [] }],
      ids: sha256(chunk),
      checksums: Uint32Array.of(crc32(chunk)),
    };
    const target = shared(new Uint8Array(CHUNK));
    const outputs = [{ step: 0, at: 0, lengthBytes: CHUNK }];
    const decode = () => pool.run<'decode'>({ kind: 'decode', plan, outputs, target });
    await decode();
    assert(equalBytes(new Uint8Array(section, 0, CHUNK), chunk));
    bytesOf(frame).fill(0xff, 50); // No more is read of it than what tells its records.
    bytesOf(target).fill(0);
    await decode();
    assert(equalBytes(bytesOf(target), chunk));
    new Uint8Array(section)[7] = 99; // What comes out is compared with its id all the same.
    await assert.rejects(decode(), { code: 'CODEC_MISMATCH' });
  }));

test('a section that does not decompress stays to be done, and fails again', () =>
  onEveryPool(async (pool) => {
    const chunk = volume().subarray(0, CHUNK);
    const data = shared(chunk);
    const job = encodeJob(data, [{ data, rawBytes: CHUNK, skipBytes: 0, choices: [] }]);
    const { storedBytes: lengthBytes } = await pool.run<'encode'>(job);
    const memory = new SharedArrayBuffer(FRAME_NOTES_BYTES + lengthBytes);
    const frame = { memory, at: FRAME_NOTES_BYTES, lengthBytes, hasNotes: true };
    bytesOf(frame).set(bytesOf(job.target).subarray(0, lengthBytes));
    bytesOf(frame)[lengthBytes - 1]! ^= 1;
    const plan = {
      frames: [{ ...frame, section: new SharedArrayBuffer(CHUNK) }],
      steps: [{ frame: 0, record: 0, parents: [] }],
      ids: sha256(chunk),
      checksums: Uint32Array.of(crc32(chunk)),
    };
    const target = shared(new Uint8Array(CHUNK));
    const outputs = [{ step: 0, at: 0, lengthBytes: CHUNK }];
    for (let attempt = 0; attempt < 2; attempt++) {
      await assert.rejects(pool.run<'decode'>({ kind: 'decode', plan, outputs, target }), {
        code: 'CODEC_DAMAGED',
      });
    }
  }));

test('a parent that does not decode costs the gain, not the frame', () =>
  onEveryPool(async (pool) => {
    const data = shared(volume());
    const choices = [{ steps: [0], references: [new Uint8Array(12)], depth: 0 }];
    const own = { ...data, lengthBytes: CHUNK };
    const job = encodeJob(data, [{ data: own, rawBytes: CHUNK, skipBytes: 0, choices }]);
    const plan = {
      frames: [shared(new Uint8Array(40))],
      steps: [{ frame: 0, record: 0, parents: [] }],
      ids: new Uint8Array(32),
      checksums: new Uint32Array(1),
    };
    const { chosen } = await pool.run<'encode'>({ ...job, plan });
    assert.deepEqual(chosen, [-1]);
  }));

test('many jobs at once each get their own answer', () =>
  onEveryPool(async (pool) => {
    const contents = Array.from({ length: 30 }, (_, at) => new Uint8Array(CHUNK).fill(at + 1));
    const found = await Promise.all(contents.map((content) => digests(pool, content)));
    for (const [at, entries] of found.entries()) {
      assert(equalBytes(entries.subarray(8, 40), sha256(contents[at]!)));
    }
  }));

test('a thread that dies fails its jobs with CODEC_WORKER, and a pool without threads all', async () => {
  const env = nodeEnv();
  let die: (() => void) | undefined;
  let posted = 0;
  const dying: Env = {
    ...env,
    workers: {
      parallelism: 1,
      start: (_module, handlers) => {
        die = () => handlers.onError(new Error('it died') as never);
        queueMicrotask(() => handlers.onMessage('up'));
        return { post: () => void posted++, terminate: async () => undefined };
      },
    },
  };
  await using pool = codecPool(dying, 1, { atOnce: true });
  await digests(pool, volume()); // In place: the thread is not up.
  assert.equal(posted, 0);
  const waiting = digests(pool, volume());
  die!();
  await assert.rejects(waiting, { code: 'CODEC_WORKER' });
  await assert.rejects(digests(pool, volume()), { code: 'CODEC_WORKER' });
});

/** Threads that answer when the test says so. */
function heldThreads(env: Env) {
  const threads: { handlers: WorkerHandlers; posted: JobRequest[] }[] = [];
  const start: Env['workers']['start'] = (_module, handlers) => {
    const posted: JobRequest[] = [];
    threads.push({ handlers, posted });
    queueMicrotask(() => handlers.onMessage('up'));
    return {
      post: (message) => void posted.push(message as JobRequest),
      terminate: async () => undefined,
    };
  };
  return { threads, env: { ...env, workers: { parallelism: 2, start } } };
}

test('a caller that helps does what threads have no time for, the oldest first', async () => {
  const { threads, env } = heldThreads(nodeEnv());
  await using pool = codecPool(env, 2, { atOnce: true, callerHelps: true });
  await Promise.resolve(); // It is up.
  assert.equal(threads.length, 1);
  const { posted, handlers } = threads[0]!;
  const order: number[] = [];
  const jobs = Array.from({ length: 8 }, async (_, at) => {
    const found = await digests(pool, volume());
    order.push(at);
    return found;
  });
  assert.equal(posted.length, 4);
  handlers.onMessage({ number: posted[0]!.number, result: undefined });
  assert.equal(posted.length, 5); // What waits goes to whoever has time first.
  const helped = await Promise.all(jobs.slice(5));
  for (const found of helped)
    assert(equalBytes(found.subarray(8, 40), sha256(volume().subarray(0, CHUNK))));
  assert.deepEqual(order, [0, 5, 6, 7]);
  for (const { number } of posted.slice(1)) handlers.onMessage({ number, result: undefined });
  await Promise.all(jobs);
});

test('a job that fails in the hands of its caller fails as in a thread, others go on', async () => {
  const { threads, env } = heldThreads(nodeEnv());
  const pool = codecPool(env, 2, { atOnce: true, callerHelps: true });
  await Promise.resolve();
  const { posted } = threads[0]!;
  const waiting = Array.from({ length: 4 }, () => digests(pool, volume()));
  const plan = {
    frames: [shared(new Uint8Array(40))],
    steps: [{ frame: 0, record: 0, parents: [] }],
    ids: new Uint8Array(32),
    checksums: new Uint32Array(1),
  };
  const target = shared(new Uint8Array(CHUNK));
  const damaged = pool.run<'decode'>({ kind: 'decode', plan, outputs: [], target });
  const next = digests(pool, volume());
  await assert.rejects(damaged, { code: 'CODEC_DAMAGED' });
  await next;
  assert.equal(posted.length, 4);
  const queued = digests(pool, volume());
  const outcomes = Promise.allSettled([...waiting, queued]);
  await pool[Symbol.asyncDispose]();
  for (const outcome of await outcomes) {
    assert.equal(outcome.status === 'rejected' && outcome.reason.code, 'CODEC_WORKER');
  }
});

test('threads start one by one, when jobs have taken as long as a start is worth', async () => {
  const env = nodeEnv();
  let nowMs = 0;
  const started: { handlers: WorkerHandlers; jobs: number[] }[] = [];
  const start: Env['workers']['start'] = (_module, handlers) => {
    const jobs: number[] = [];
    started.push({ handlers, jobs });
    const post = (message: unknown) => void jobs.push((message as JobRequest).number);
    return { post, terminate: async () => undefined };
  };
  const clock = { ...env.clock, monotonicMs: () => (nowMs += 10) }; // A job in place takes 10 ms.
  await using pool = codecPool({ ...env, clock, workers: { parallelism: 3, start } }, 3);
  for (let job = 1; job < 5; job++) await digests(pool, volume());
  assert.equal(started.length, 0);
  await digests(pool, volume());
  assert.equal(started.length, 1);
  await digests(pool, volume());
  assert.equal(started.length, 1); // It is not up.
  started[0]!.handlers.onMessage('up');
  const work = async (tookMs: number, count = 1) => {
    const done = Promise.all(Array.from({ length: count }, () => digests(pool, volume())));
    nowMs += tookMs;
    for (const { handlers, jobs } of started) {
      for (const number of jobs.splice(0)) handlers.onMessage({ number, result: undefined });
    }
    await done;
  };
  nowMs += 10_000; // Without work, time is nothing.
  for (let job = 0; job < 5; job++) await work(100);
  assert.equal(started.length, 1);
  await work(0);
  assert.equal(started.length, 2);
  await work(1000);
  assert.equal(started.length, 2); // One at a time.
  started[1]!.handlers.onMessage('up');
  await work(1000);
  await work(0);
  assert.equal(started.length, 2); // One of them was enough.
  await work(1000, 2);
  await work(0);
  assert.equal(started.length, 3);
});

test('a pool that is disposed leaves nobody waiting', async () => {
  const pool = codecPool(nodeEnv(), 1, { atOnce: true });
  const waiting = digests(pool, volume());
  waiting.catch(() => undefined);
  await pool[Symbol.asyncDispose]();
  const outcome = await waiting.then(
    () => 'done',
    (error: unknown) => (error as { code: string }).code,
  );
  assert(['done', 'CODEC_WORKER'].includes(outcome), outcome);
});

test('a thread in the background gives way to others, and one that died is replaced', async () => {
  const deaths: ((error: EnvError) => Promise<void>)[] = [];
  const niceness: (number | undefined)[] = [];
  const { workers } = nodeEnv();
  const start: Env['workers']['start'] = (module, handlers, options) => {
    const port = workers.start(module, handlers, options);
    deaths.push(async (error) => {
      await port.terminate(); // A thread that lives on would keep this process.
      handlers.onError(error);
    });
    niceness.push(options?.niceness);
    return port;
  };
  let nowMs = 0;
  // Each look at the clock is 50 ms later: one job in place is enough for threads to be started.
  const clock = { ...nodeEnv().clock, monotonicMs: () => (nowMs += 50) };
  await using pool = codecPool({ ...nodeEnv(), clock, workers: { ...workers, start } }, 1, {
    isBackground: true,
  });
  const expected = await digests(pool, volume());
  assert.equal(deaths.length, 1);
  assert(niceness[0]! > 0);
  await deaths[0]!(new EnvError('ENV_WORKER', 'it has died', { hint: 'none' }));
  assert(equalBytes(await digests(pool, volume()), expected));
  assert.equal(deaths.length, 2);
});
