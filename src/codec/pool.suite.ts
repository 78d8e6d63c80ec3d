/** For tests of the pool: a small volume, and pools of every kind. */
import assert from 'node:assert/strict';
import { simulatedEnv } from '../../sim/index.ts';
import { type Env, nodeEnv } from '../core/index.ts';
import { type CodecPool, codecPool } from './pool.ts';
import type { SharedRange } from './shared-frame.ts';

export const CHUNK = 4096;

export function shared(content: Uint8Array): SharedRange {
  const memory = new SharedArrayBuffer(content.byteLength);
  new Uint8Array(memory).set(content);
  return { memory, at: 0, lengthBytes: content.byteLength };
}

/** Four chunks: a text, zeroes, another text, and a short one. */
export function volume(): Uint8Array {
  const bytes = new Uint8Array(3 * CHUNK + 100);
  for (let at = 0; at < CHUNK; at++) bytes[at] = (at * 7) % 50;
  for (let at = 2 * CHUNK; at < bytes.byteLength; at++) bytes[at] = (at * at) % 251;
  return bytes;
}

/** Runs `work` with a pool in place, one of threads, and one of simulated threads. */
export async function onEveryPool(
  work: (pool: CodecPool, env: Env) => Promise<void>,
): Promise<void> {
  {
    await using pool = codecPool(nodeEnv(), 0);
    await work(pool, nodeEnv());
  }
  await onThreads(nodeEnv(), work);
  await onThreads(nodeEnv(), work, { callerHelps: true });
  const world = simulatedEnv(1);
  await world.run(() => onThreads(world.env, work));
}

/** Begins when all are up: until then jobs run in place. */
export async function onThreads(
  env: Env,
  work: (pool: CodecPool, env: Env) => Promise<void>,
  { callerHelps = false } = {},
) {
  const ups: Promise<void>[] = [];
  const start: Env['workers']['start'] = (module, handlers, options) => {
    const up = Promise.withResolvers<void>();
    ups.push(up.promise);
    const onMessage = (message: unknown) => {
      handlers.onMessage(message);
      up.resolve();
    };
    return env.workers.start(module, { ...handlers, onMessage }, options);
  };
  const watched = { ...env, workers: { ...env.workers, start } };
  await using pool = codecPool(watched, 2, { atOnce: true, callerHelps });
  await Promise.all(ups);
  assert.equal(ups.length, callerHelps ? 1 : 2);
  await work(pool, env);
}
