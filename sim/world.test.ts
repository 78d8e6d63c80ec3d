/** Goal: a world repeats itself under its seed, and tells a hang and a bad program. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Env, type WorkerPort, writeFully } from '../src/core/index.ts';
import { simulatedEnv } from './index.ts';

/** Some of everything: concurrent writes, timers, randomness, a worker. */
async function program(env: Env): Promise<string> {
  const order: string[] = [];
  const id = new Uint8Array(4);
  const write = async (name: string): Promise<void> => {
    const file = await env.files.open(name, 'create');
    env.random.fill(id);
    await writeFully(file, id.slice(), 0);
    await file.sync();
    await file.close();
    order.push(name);
  };
  const echo = new Promise<void>((resolve, reject) => {
    const worker: WorkerPort = env.workers.start(new URL('./echo-worker.ts', import.meta.url), {
      onMessage: (message) => {
        order.push(String(message));
        resolve();
      },
      onError: reject,
    });
    worker.post('hello');
  });
  const timer = new Promise<void>((resolve) => env.clock.after(3, resolve));
  await Promise.all([write('/a'), write('/b'), write('/c'), write('/d'), echo, timer]);
  return order.join(' ');
}

async function runOnce(seed: number): Promise<{ order: string; digest: string }> {
  const world = simulatedEnv(seed, { shortTransfers: true });
  const order = await world.run(() => program(world.env));
  return { order, digest: world.digest() };
}

test('one seed gives one order of events and one digest', async () => {
  for (let seed = 0; seed < 20; seed++) {
    assert.deepEqual(await runOnce(seed), await runOnce(seed));
  }
});

test('different seeds give different orders', async () => {
  const runs = [];
  for (let seed = 0; seed < 20; seed++) runs.push(await runOnce(seed));
  assert.equal(new Set(runs.map(({ digest }) => digest)).size, 20);
  assert(new Set(runs.map(({ order }) => order)).size > 5);
});

test('what differs in the bytes written differs in the digest', async () => {
  const digests = [];
  for (const byte of [1, 2]) {
    const world = simulatedEnv(5);
    await world.run(async () => {
      const file = await world.env.files.open('/a', 'create');
      await writeFully(file, Uint8Array.of(byte), 0);
    });
    digests.push(world.digest());
  }
  assert.notEqual(digests[0], digests[1]);
});

test('a task that waits for nothing is a deadlock, not a hang', async () => {
  const world = simulatedEnv(1);
  await assert.rejects(
    world.run(() => new Promise(() => undefined)),
    { name: 'SimulationError', code: 'SIM_DEADLOCK' },
  );
});

test('hours pass at once, in order, and a cancelled timer stays silent', async () => {
  const world = simulatedEnv(1);
  const rung: number[] = [];
  await world.run(
    () =>
      new Promise<void>((resolve) => {
        const { clock } = world.env;
        clock.after(3_600_000, () => {
          rung.push(clock.monotonicMs());
          resolve();
        });
        clock.after(1000, () => void rung.push(clock.monotonicMs()));
        clock.after(2000, () => void rung.push(-1)).cancel();
      }),
  );
  assert.deepEqual(rung, [1000, 3_600_000]);
});

test('the wall clock jumps without moving durations', async () => {
  const world = simulatedEnv(1, { wallMs: 5000 });
  assert.equal(world.env.clock.wallMs(), 5000);
  world.setWallMs(-1000);
  assert.equal(world.env.clock.wallMs(), -1000);
  assert.equal(world.env.clock.monotonicMs(), 0);
});

test('a power cut ends the run where it is, and nothing runs afterwards', async () => {
  const world = simulatedEnv(1);
  let steps = 0;
  const outcome = await world.runObserved(
    async () => {
      for (;;) {
        await world.env.files.makeDirectory(`/${steps}`);
        steps++;
      }
    },
    (events) => (events === 10 ? 'cut' : 'go-on'),
  );
  assert(outcome.cut);
  assert.equal(steps, 10);
  await assert.rejects(
    world.run(async () => undefined),
    { code: 'ERR_ASSERTION' },
  );
});

test('a killed process stands still while others go on', async () => {
  const world = simulatedEnv(1);
  const victim = world.startProcess('victim');
  let survived = false;
  await world.run(async () => {
    victim.env.files.makeDirectory('/a').then(
      () => {
        survived = true;
      },
      () => {
        survived = true;
      },
    );
    victim.kill();
    await world.env.files.makeDirectory('/b');
    await new Promise<void>((resolve) => world.env.clock.after(1000, resolve));
  });
  assert(!survived);
  assert(!world.disk.has('/a'));
});

test('changing the buffer of a write in flight ends the run', async () => {
  const world = simulatedEnv(1);
  await assert.rejects(
    world.run(async () => {
      const file = await world.env.files.open('/a', 'create');
      const bytes = new Uint8Array(100);
      const writing = writeFully(file, bytes, 0);
      bytes[0] = 1;
      await writing;
    }),
    { code: 'SIM_MISUSE' },
  );
});

test('closing a file under its calls ends the run', async () => {
  const world = simulatedEnv(1);
  await assert.rejects(
    world.run(async () => {
      const file = await world.env.files.open('/a', 'create');
      const syncing = file.sync().catch(() => undefined);
      await file.close();
      await syncing;
    }),
    { code: 'SIM_MISUSE' },
  );
});

test('a worker keeps the order of its messages, shares shared memory, and fails aloud', async () => {
  const world = simulatedEnv(3);
  await world.run(async () => {
    const shared = new Int32Array(new SharedArrayBuffer(4));
    const answers: unknown[] = [];
    const failure = await new Promise((resolve) => {
      const worker = world.env.workers.start(new URL('./echo-worker.ts', import.meta.url), {
        onMessage: (message) => void answers.push(message),
        onError: resolve,
      });
      for (let index = 0; index < 5; index++) worker.post(index);
      worker.post(shared);
      worker.post('fail');
      worker.post('too late');
    });
    assert.deepEqual(answers.slice(0, 5), [0, 1, 2, 3, 4]);
    assert.equal(shared[0], 1);
    assert.equal((failure as { code: string }).code, 'ENV_WORKER');
    assert(!answers.includes('too late'));
  });
});
