/** Goal: whatever writers and collectors do at once, every snapshot of the log restores. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { type Env, FerryError, nodeEnv } from '../../core/index.ts';
import { Repository } from '../../store/index.ts';
import { type Process, sharedStore } from './gc-processes.fixture.ts';
import { backUp, type Expected, noise, open, verifyAll } from './model-repository.fixture.ts';

const env: Env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const KiB = 1024;

/** What a run that was overtaken may say; anything else is a failure of the test. */
const REFUSALS = ['STORE_FENCED', 'STORE_PARENT_GONE', 'STORE_BUSY', 'OBJECT_IO'];

type Running = {
  readonly process: Process;
  readonly what: string;
  /** Resolves in any case; throws only what must not happen. */
  readonly ended: Promise<void>;
};

type Model = {
  readonly bytes: Map<string, Uint8Array>;
  readonly expected: Expected;
  readonly forgotten: Set<string>;
};
type Real = { readonly shared: ReturnType<typeof sharedStore>; readonly running: Running[] };
type Command = fc.AsyncCommand<Model, Real>;

const tally = { committed: 0, refused: 0, dropped: 0, spared: 0, waited: 0, similar: 0 };

const volumes = fc.constantFrom('a', 'b');

/** Changes a little everywhere, or much in one place, so that patches and dead packs come about. */
const changes = fc.tuple(volumes, fc.nat(9), fc.nat(9), fc.boolean()).map(
  ([volume, place, seed, small]): Command => ({
    check: () => true,
    toString: () => `change(${volume}, ${place}, ${seed}, ${small ? 'touch' : 'write'})`,
    async run({ bytes }) {
      const next = bytes.get(volume)!.slice();
      if (small) {
        for (let at = place * 1000; at < next.byteLength; at += 100_000) next[at] = seed;
      } else next.set(noise(70_000, seed), place * 30_000 + (volume === 'a' ? 0 : 9000));
      bytes.set(volume, next);
    },
  }),
);

function startBackup(
  { bytes, expected, forgotten }: Model,
  process: Process,
  volume: string,
): Running {
  const content = bytes.get(volume)!;
  const run = async () => {
    const repository = await open(env, process.objects);
    const request = { volume, packTargetBytes: 60 * KiB };
    const { snapshot } = await backUp(env, repository, content, request);
    // One that stood still behind its commit may have been forgotten before it could tell.
    if (!forgotten.has(snapshot.id)) expected.set(snapshot.id, content);
    tally.committed++;
  };
  return { process, what: `backup of ${volume}`, ended: tolerated(run()) };
}

function startGc(process: Process, similar = false): Running {
  const run = async () => {
    const repository = await open(env, process.objects);
    const options = { waitMs: 0, packTargetBytes: 60 * KiB, similar };
    const report = await repository.collectGarbage(options);
    tally.similar += report.similarChunks;
    tally.dropped += report.droppedPacks;
    tally.spared += report.sparedPacks;
    tally.waited += report.waitingFor.length;
  };
  return { process, what: 'gc', ended: tolerated(run()) };
}

async function tolerated(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert(error instanceof FerryError && REFUSALS.includes(error.code), (error as Error).stack);
    tally.refused++;
  }
}

/** Runs until its end, or until its process stands still. */
async function untilStopped({ process, ended }: Running): Promise<'ended' | 'stopped'> {
  const over = ended.then(() => 'ended' as const);
  for (;;) {
    const state = await Promise.race([over, turn('turn' as const)]);
    if (state === 'ended') return state;
    if (process.isStopped) return 'stopped';
  }
}

/** `stopAt` 0: runs to its end at once. */
const starts = fc.tuple(
  fc.constantFrom('a', 'b', 'gc', 'gc --similar'),
  fc.oneof(fc.constant(0), fc.nat(90)),
);
const works = starts.map(
  ([what, stopAt]): Command => ({
    check: () => true,
    toString: () => `start(${what}${stopAt > 0 ? `, stopped at call ${stopAt}` : ''})`,
    async run(model, { shared, running }) {
      const process = shared.start();
      if (stopAt > 0) process.stopAt(stopAt);
      const work = what.startsWith('gc')
        ? startGc(process, what !== 'gc')
        : startBackup(model, process, what);
      if ((await untilStopped(work)) === 'stopped') running.push(work);
    },
  }),
);

const goesOn = fc.tuple(fc.nat(9), fc.boolean()).map(
  ([which, kill]): Command => ({
    check: () => true,
    toString: () => `${kill ? 'kill' : 'resume'}(${which})`,
    async run(_model, { running }) {
      const [work] = running.splice(which % Math.max(1, running.length), 1);
      if (work === undefined) return;
      if (kill) work.process.kill();
      else work.process.resume();
      await work.ended;
    },
  }),
);

/** Whoever looks takes it for dead, or a stale listing shows nothing of it at all. */
const losesSight = fc.tuple(fc.nat(9), fc.boolean()).map(
  ([which, hidden]): Command => ({
    check: () => true,
    toString: () => `${hidden ? 'hide' : 'seem dead'}(${which})`,
    async run(_model, { shared, running }) {
      running[which % Math.max(1, running.length)]?.process.loseLocks();
      if (!hidden) return;
      const keys = await Array.fromAsync(shared.inner.list('sessions/'), ({ key }) => key);
      for (const key of keys) await shared.inner.remove(key);
    },
  }),
);

const forgets = fc.array(fc.nat(20), { minLength: 1, maxLength: 3 }).map(
  (which): Command => ({
    check: ({ expected }) => expected.size > 1,
    toString: () => `forget(${which})`,
    async run({ expected, forgotten }, { shared }) {
      const repository = await open(env, shared.inner);
      const known = repository.snapshots();
      const chosen = [...new Set(which.map((at) => known[at % known.length]!))];
      // Before it is done: a commit in between may not lose what it does not know of.
      for (const { id } of chosen) {
        expected.delete(id);
        forgotten.add(id);
      }
      await repository.forget(chosen);
    },
  }),
);

const looks = fc.constant<Command>({
  check: () => true,
  toString: () => 'verify',
  run: ({ expected }, { shared }) => verifyAll(env, shared.inner, expected),
});

async function runModel(commands: Iterable<Command>): Promise<void> {
  const shared = sharedStore('model');
  await Repository.init(env, shared.inner);
  const model: Model = {
    bytes: new Map([
      ['a', noise(400_000, 1)],
      // The same, elsewhere.
      ['b', new Uint8Array(Buffer.concat([noise(5000, 2), noise(395_000, 1)]))],
    ]),
    expected: new Map(),
    forgotten: new Set(),
  };
  const real: Real = { shared, running: [] };
  await fc.asyncModelRun(() => ({ model, real }), commands);
  for (const work of real.running) {
    work.process.resume();
    await work.ended;
    await verifyAll(env, shared.inner, model.expected);
  }
  // At last everybody is gone: what no snapshot needs is given back, all else restores.
  await startGc(shared.start()).ended;
  await startGc(shared.start()).ended;
  await verifyAll(env, shared.inner, model.expected);
  const repository = await open(env, shared.inner);
  const index = await repository.index();
  assert.equal(repository.log.state.condemned.size, 0);
  for await (const { key } of shared.inner.list('packs/')) {
    assert(index.hasPack(key.slice(-64)), `${key} belongs to nobody`);
  }
}

const commands = fc.commands(
  [changes, changes, works, works, works, goesOn, goesOn, losesSight, forgets, forgets, looks],
  { maxCommands: 40, size: 'max' },
);

test('backups, forgetting, collectors, each stopped and killed at any call', async (t) => {
  await fc.assert(fc.asyncProperty(commands, runModel), { numRuns: 60 });
  t.diagnostic(JSON.stringify(tally));
  assert(tally.committed > 60 && tally.dropped > 20, JSON.stringify(tally));
  assert(tally.similar > 0, JSON.stringify(tally));
});
