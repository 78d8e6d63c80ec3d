/**
 * Simulated torn states: processes work on one repository at once, some are killed, calls fail, and
 * the power is cut at seeded moments. Each state that is left behind is judged.
 */
import { Draws, hash32, type SimulatedDisk, simulatedEnv, type World } from '../../../sim/index.ts';
import { type Env, type EnvErrorCode, FerryError, hasCode } from '../../../src/core/index.ts';
import { directoryStore } from '../../../src/objects/index.ts';
import {
  deviceOf,
  init,
  type Kind,
} from '../../../src/transfer/backup/model-repository.fixture.ts';
import { judge } from './judge.suite.ts';
import { Model, type Shape } from './model.suite.ts';
import { carryOut, type Place, planStep } from './operations.suite.ts';

const ROOT = '/repository';
const WORKERS_MAX = 3;
const STEPS_PER_WORKER = 3;
const STATES_PER_SEED = 5;
/** Of the events, a few hundred to a few thousand: about so many are chosen. */
const CUTS_PER_EVENT = 1 / 250;
/** Of virtual time, and longer than a writer's own interval. */
const GC_WAIT_MS = 60_000;
const KILLS_PER_EVENT = 1 / 400;

/** What a seed decides once. */
type Setting = {
  readonly seed: number;
  readonly kind: Kind;
  readonly shape: Shape;
  readonly packTargetBytes: number;
  readonly fingerprintBits: number;
  readonly fault: 'none' | 'kill' | 'sync' | 'call';
};

type State = { readonly disk: SimulatedDisk; readonly model: Model; readonly event: number };

function settingOf(seed: number): Setting {
  const draws = new Draws(seed, 1);
  return {
    seed,
    kind: draws.chance(0.25) ? 'encrypted' : 'plain',
    shape: { chunkBytes: 4096, contentBytesMax: 20_000 + draws.below(100_000) },
    packTargetBytes: draws.pick([10_000, 30_000, 1_000_000]),
    fingerprintBits: draws.pick([8, 32, 32]),
    fault: draws.pick(['none', 'kill', 'kill', 'sync', 'call']),
  };
}

export function placeIn(
  env: Env,
  { packTargetBytes, fingerprintBits }: Pick<Place, 'packTargetBytes' | 'fingerprintBits'>,
): Place {
  return {
    env,
    objects: () => directoryStore(env.files, ROOT, env.random),
    source: ({ version }) => deviceOf(version!.bytes),
    packTargetBytes,
    fingerprintBits,
    gcWaitMs: GC_WAIT_MS,
  };
}

/** Answers how many states were judged; throws, with the seed, if one of them is not right. */
export async function tornTrial(seed: number): Promise<number> {
  const setting = settingOf(seed);
  try {
    const states = await statesOf(setting);
    for (const state of states) await judgeState(setting, state);
    return states.length;
  } catch (cause) {
    throw new Error(`torn states, seed ${seed} (${setting.fault}, ${setting.kind})`, { cause });
  }
}

async function statesOf(setting: Setting): Promise<State[]> {
  const { seed } = setting;
  const draws = new Draws(seed, 2);
  const world = simulatedEnv(seed, { shortTransfers: draws.chance(0.5), parallelism: 0 });
  const model = new Model();
  const states: State[] = [];
  const note = (event: number) => {
    states.push({ disk: world.disk.crash(hash32(seed, event)), model: model.copy(), event });
  };
  const workers: Worker[] = [];
  const moments = new Draws(seed, 3);
  await world.runObserved(
    async () => {
      await initialise(placeIn(world.env, setting), setting);
      plantFault(world, setting, draws);
      const count = 1 + draws.below(WORKERS_MAX);
      // Names whose sync failed are lost, and the kernel tells nobody else until the next boot: no
      // other process can know that what it finds is not durable.
      const onFailed = () => {
        if (setting.fault === 'sync') for (const worker of workers) worker.end();
      };
      for (let at = 0; at < count; at++) {
        workers.push(new Worker(world, setting, model, at, onFailed));
      }
      await Promise.all(workers.map((worker) => worker.work()));
    },
    (event) => {
      if (workers.length === 0) return 'go-on';
      const kills = setting.fault === 'kill' && moments.chance(KILLS_PER_EVENT);
      if (kills) moments.pick(workers).kill();
      if (states.length < STATES_PER_SEED && moments.chance(CUTS_PER_EVENT)) note(event);
      return 'go-on';
    },
  );
  note(world.eventCount);
  return states;
}

async function initialise(place: Place, { kind, shape }: Setting): Promise<void> {
  await using objects = await place.objects();
  await init(place.env, objects, kind, { chunkBytes: shape.chunkBytes });
}

/** A run has about so many calls of a kind: faults are planted among them. */
const SYNCS = 14;
const CALLS = 30;

const callFaults = ['write', 'open', 'link', 'make-directory', 'read', 'remove', 'list'] as const;

function plantFault(world: World, { fault }: Setting, draws: Draws): void {
  if (fault === 'sync') {
    const operation = draws.chance(0.5) ? 'sync' : 'sync-directory';
    world.disk.inject({ operation, number: 1 + draws.below(SYNCS), code: 'ENV_IO' });
  } else if (fault === 'call') {
    const operation = draws.pick(callFaults);
    const room = operation === 'read' || operation === 'remove' || operation === 'list';
    const code: EnvErrorCode = room || draws.chance(0.5) ? 'ENV_IO' : 'ENV_NO_SPACE';
    const applied = draws.chance(0.3);
    const lasting = draws.chance(0.2);
    world.disk.inject({ operation, number: 1 + draws.below(CALLS), code, applied, lasting });
  }
}

/** One process after another that runs step after step, each until its end or its death. */
class Worker {
  readonly #world: World;
  readonly #setting: Setting;
  readonly #model: Model;
  readonly #draws: Draws;
  readonly #name: string;
  readonly #onFailed: () => void;
  #kill: (() => void) | undefined;
  #isOver = false;

  constructor(world: World, setting: Setting, model: Model, number: number, onFailed: () => void) {
    this.#onFailed = onFailed;
    this.#world = world;
    this.#setting = setting;
    this.#model = model;
    this.#draws = new Draws(setting.seed, 4, number);
    this.#name = `worker${number}`;
  }

  async work(): Promise<void> {
    for (let step = 0; step < STEPS_PER_WORKER && !this.#isOver; step++) {
      const goesOn = await this.#step();
      if (!goesOn) return;
    }
  }

  async #step(): Promise<boolean> {
    const process = this.#world.startProcess(this.#name);
    const { fault, shape } = this.#setting;
    const step = planStep(this.#model, shape, this.#draws);
    const dead = new Promise<true>((wake) => {
      this.#kill = () => {
        process.kill();
        wake(true);
      };
    });
    const place = placeIn(process.env, this.#setting);
    const run = carryOut(place, this.#model, step).then(
      () => true,
      (error: unknown) => {
        const planned = fault === 'sync' || fault === 'call';
        if (!planned || !(error instanceof FerryError)) throw error;
        return !hasCode(error, 'OBJECT_IO');
      },
    );
    const goesOn = await Promise.race([run, dead]);
    this.#kill = undefined;
    if (!goesOn) this.#onFailed();
    return goesOn;
  }

  kill(): void {
    this.#kill?.();
  }

  /** Does not begin again. */
  end(): void {
    this.#isOver = true;
    this.kill();
  }
}

/** What the next boot finds. */
async function judgeState(setting: Setting, { disk, model, event }: State): Promise<void> {
  const world = simulatedEnv(setting.seed + 1, { disk, parallelism: 0 });
  const draws = new Draws(setting.seed, 5, event);
  try {
    await world.run(() => judge(placeIn(world.env, setting), model, setting.shape, draws));
  } catch (cause) {
    throw new Error(`after event ${event}`, { cause });
  }
}
