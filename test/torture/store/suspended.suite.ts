/**
 * A writer stands still at any of its calls, as under SIGSTOP, while others forget what it relies
 * on and collect garbage twice. When it goes on it commits what restores, or nothing.
 */
import { Draws, simulatedEnv, type World } from '../../../sim/index.ts';
import type { ObjectStore } from '../../../src/objects/index.ts';
import { init, type Kind } from '../../../src/transfer/backup/model-repository.fixture.ts';
import { judge, look } from './judge.suite.ts';
import { Model, type Shape } from './model.suite.ts';
import { carryOut, mayForget, type Place, planOne, planStep } from './operations.suite.ts';
import { placeIn } from './torn.suite.ts';

const GCS_MAX = 4;
const CALLS_MAX = 80;
/** Half of the writers stand still only after they have stored a pack. */
const CALLS_BEHIND_SEAL_MAX = 12;

/** Answers with 1, the number of states; throws, with the seed, if it is not right. */
export async function suspendedTrial(seed: number): Promise<number> {
  const draws = new Draws(seed, 1);
  const kind: Kind = draws.chance(0.25) ? 'encrypted' : 'plain';
  const shape: Shape = { chunkBytes: 4096, contentBytesMax: 20_000 + draws.below(60_000) };
  // Where nothing can be locked, who stands still is taken for dead, and fenced.
  const locks = draws.chance(0.5);
  const setting: Setting = {
    kind,
    shape,
    locks,
    packTargetBytes: draws.pick([10_000, 30_000, 1_000_000]),
    fingerprintBits: draws.pick([8, 32, 32]),
  };
  const world = simulatedEnv(seed, { parallelism: 0 });
  try {
    await world.run(() => run(world, setting, draws));
  } catch (cause) {
    const how = `${kind}, ${locks ? 'with' : 'without'} locks`;
    throw new Error(`suspended writer, seed ${seed} (${how})`, { cause });
  }
  return 1;
}

type Setting = {
  readonly kind: Kind;
  readonly shape: Shape;
  readonly packTargetBytes: number;
  readonly fingerprintBits: number;
  readonly locks: boolean;
};

async function run(world: World, setting: Setting, draws: Draws): Promise<void> {
  const { kind, shape, locks } = setting;
  const plain = placeIn(world.env, setting);
  const place: Place = locks
    ? plain
    : { ...plain, objects: async () => lockless(await plain.objects()) };
  const model = new Model();
  await using objects = await place.objects();
  await init(world.env, objects, kind, { chunkBytes: shape.chunkBytes });
  for (let at = 2 + draws.below(5); at > 0; at--) {
    await carryOut(place, model, planOne('backup', model, shape, draws));
  }
  const sealed = draws.chance(0.5);
  const gate = new Gate(1 + draws.below(sealed ? CALLS_BEHIND_SEAL_MAX : CALLS_MAX), !sealed);
  const stopped = placeIn(world.startProcess('stopped').env, setting);
  const stoppedPlace: Place = {
    ...stopped,
    objects: async () =>
      gated(locks ? await stopped.objects() : lockless(await stopped.objects()), gate),
  };
  const step = draws.chance(0.8)
    ? planOne('backup', model, shape, draws)
    : planOne('gc', model, shape, draws);
  const writing = carryOut(stoppedPlace, model, step);
  writing.catch(() => undefined); // Awaited below.
  await Promise.race([gate.reached, writing]);
  await besides(place, model, shape, draws);
  gate.open();
  await writing;
  await judge(place, model, shape, draws);
}

/** What others do meanwhile. */
async function besides(place: Place, model: Model, shape: Shape, draws: Draws): Promise<void> {
  const gcs = 1 + draws.below(GCS_MAX);
  // Without garbage no generation passes, and only the fence is left to stop the writer.
  const onlyGc = draws.chance(0.3);
  for (let at = 0; at < gcs; at++) {
    if (onlyGc) {
      await carryOut(place, model, planOne('gc', model, shape, draws));
      continue;
    }
    if (draws.chance(0.7)) await carryOut(place, model, planOne('backup', model, shape, draws));
    if (mayForget(model) && draws.chance(0.8)) {
      await carryOut(place, model, planOne('forget', model, shape, draws));
    }
    await carryOut(place, model, planOne('gc', model, shape, draws));
    if (draws.chance(0.3)) await carryOut(place, model, planStep(model, shape, draws));
  }
  await look(place, model);
}

/** Holds all calls from the Nth on, counted from when it is armed, until it is opened. */
class Gate {
  readonly #number: number;
  #armed: boolean;
  #calls = 0;
  #isOpen = false;
  readonly reached: Promise<void>;
  #tellReached: () => void = () => undefined;
  readonly #opened: Promise<void>;
  #tellOpened: () => void = () => undefined;

  constructor(number: number, armed: boolean) {
    this.#number = number;
    this.#armed = armed;
    this.reached = new Promise((resolve) => {
      this.#tellReached = resolve;
    });
    this.#opened = new Promise((resolve) => {
      this.#tellOpened = resolve;
    });
  }

  arm(): void {
    this.#armed = true;
  }

  async pass(): Promise<void> {
    if (this.#armed) this.#calls++;
    if (this.#isOpen || this.#calls < this.#number) return;
    this.#tellReached();
    await this.#opened;
  }

  open(): void {
    this.#isOpen = true;
    this.#tellOpened();
  }
}

function gated(inner: ObjectStore, gate: Gate): ObjectStore {
  const through = async <T>(run: () => Promise<T>): Promise<T> => {
    await gate.pass();
    return run();
  };
  return {
    ...withLocksOf(inner),
    name: inner.name,
    get: (key, bytesMax) => through(() => inner.get(key, bytesMax)),
    getRange: (key, target, offset, use) => through(() => inner.getRange(key, target, offset, use)),
    size: (key) => through(() => inner.size(key)),
    putIfAbsent: (key, bytes) => through(() => inner.putIfAbsent(key, bytes)),
    async create(key) {
      const writer = await through(() => inner.create(key));
      return {
        append: (bytes) => through(() => writer.append(bytes)),
        async commit() {
          await through(() => writer.commit());
          if (key.startsWith('packs/')) gate.arm();
        },
        [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
      };
    },
    async *list(prefix) {
      await gate.pass();
      yield* inner.list(prefix);
    },
    remove: (key) => through(() => inner.remove(key)),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}

function withLocksOf({ locks }: ObjectStore): Pick<ObjectStore, 'locks'> {
  return locks === undefined ? {} : { locks };
}

/** As an object store that many machines use: nobody can tell by a lock who lives. */
function lockless(inner: ObjectStore): ObjectStore {
  return {
    name: inner.name,
    get: (key, bytesMax) => inner.get(key, bytesMax),
    getRange: (key, target, offset, use) => inner.getRange(key, target, offset, use),
    size: (key) => inner.size(key),
    putIfAbsent: (key, bytes) => inner.putIfAbsent(key, bytes),
    create: (key) => inner.create(key),
    list: (prefix) => inner.list(prefix),
    remove: (key) => inner.remove(key),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  };
}
