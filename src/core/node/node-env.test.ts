/** Goal: the real clock, randomness and threads keep the promises of env.ts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { getPriority, setPriority } from 'node:os';
import { test } from 'node:test';
import type { WorkerHandlers } from '../env.ts';
import type { EnvError } from '../errors.ts';
import { siblingModule } from '../sibling-module.ts';
import { nodeEnv } from './node-env.ts';

const env = nodeEnv();
const echo = siblingModule(import.meta.url, 'echo.fixture');

test('a timer fires once, and a cancelled one never', async () => {
  const fired: string[] = [];
  const cancelled = env.clock.after(1, () => fired.push('cancelled'));
  cancelled.cancel();
  const keepAlive = setInterval(() => undefined, 1000);
  await new Promise<void>((resolve) => {
    env.clock.after(2 ** 32, () => fired.push('far too early')).cancel();
    const far = env.clock.after(2 ** 32, () => fired.push('far too early'));
    env.clock.after(5, () => {
      far.cancel();
      resolve();
    });
  });
  clearInterval(keepAlive);
  cancelled.cancel();
  assert.deepEqual(fired, []);
});

test('the monotonic clock does not go back', () => {
  let last = env.clock.monotonicMs();
  for (let i = 0; i < 1000; i++) {
    const now = env.clock.monotonicMs();
    assert.ok(now >= last);
    last = now;
  }
});

test('random bytes fill the whole target and differ', () => {
  const [one, two] = [new Uint8Array(32), new Uint8Array(32)];
  env.random.fill(one);
  env.random.fill(two);
  assert.notDeepEqual(one, two);
  assert.ok(one.subarray(16).some((byte) => byte !== 0));
});

test('a worker gets messages that were posted before it was ready, in order', async () => {
  const answers: unknown[] = [];
  await new Promise<void>((resolve, reject) => {
    const port = env.workers.start(echo, {
      onMessage(message) {
        answers.push(message);
        if (answers.length === 3) port.terminate().then(resolve, reject);
      },
      onError: reject,
    });
    for (const value of [1, 2, 3]) port.post({ value });
  });
  assert.deepEqual(answers, [{ value: 1 }, { value: 2 }, { value: 3 }]);
});

test('shared memory is shared with a worker', async () => {
  const bytes = new Uint8Array(new SharedArrayBuffer(4));
  await new Promise<void>((resolve, reject) => {
    const port = env.workers.start(echo, {
      onMessage: () => port.terminate().then(resolve, reject),
      onError: reject,
    });
    port.post({ fill: bytes });
  });
  assert.deepEqual([...bytes], [9, 9, 9, 9]);
});

test('a worker that throws, exits or is not there is one ENV_WORKER error', async () => {
  const dying = [
    { module: echo, message: { throw: true }, words: /echo\.fixture\.ts failed: on purpose/ },
    { module: echo, message: { exit: true }, words: /ended by itself, status 3/ },
    { module: siblingModule(import.meta.url, 'absent'), message: {}, words: /absent/ },
  ];
  for (const { module, message, words } of dying) {
    const errors: EnvError[] = [];
    await new Promise<void>((resolve, reject) => {
      const port = env.workers.start(module, {
        onMessage: () => reject(new Error('no message was expected')),
        onError: (error) => {
          errors.push(error);
          setImmediate(() => port.terminate().then(resolve, reject));
        },
      });
      port.post(message);
    });
    assert.equal(errors.length, 1);
    assert.equal(errors[0]!.code, 'ENV_WORKER');
    assert.match(errors[0]!.message, words);
  }
});

test('making an Env loads neither threads nor the foreign function interface', () => {
  const core = JSON.stringify(new URL('../index.ts', import.meta.url).href);
  const script = `
    const { nodeEnv } = await import(${core});
    nodeEnv();
    const loaded = process.moduleLoadList.filter((name) => name === 'NativeModule worker_threads');
    const maps = (await import('node:fs')).readFileSync('/proc/self/maps', 'latin1');
    console.log(loaded.length, maps.includes('koffi'));`;
  const run = execFileSync(process.execPath, ['--input-type=module', '-e', script]);
  assert.equal(String(run), '0 false\n');
});

const noNiceThreads = process.platform !== 'linux' && 'only Linux has a niceness for each thread';

test('a nice thread gives way to its process, and lives', { skip: noNiceThreads }, async () => {
  for (const ownNiceness of [getPriority(), 19]) {
    if (ownNiceness > getPriority()) setPriority(ownNiceness);
    const niceness = await new Promise((resolve, reject) => {
      const handlers: WorkerHandlers = {
        onMessage: (message) => port.terminate().then(() => resolve(message), reject),
        onError: reject,
      };
      const port = env.workers.start(echo, handlers, { niceness: 5 });
      port.post({ niceness: true });
    });
    assert.equal(niceness, Math.min(19, ownNiceness + 5));
  }
});
