/** No space and I/O errors at every Nth call of an operation: it tells, and the next one works. */
import assert from 'node:assert/strict';
import { Draws } from '../../../sim/index.ts';
import { FerryError, hasCode } from '../../../src/core/index.ts';
import {
  faultStore,
  memoryStore,
  type ObjectStore,
  type StoreFault,
} from '../../../src/objects/index.ts';
import {
  dump,
  fill,
  init,
  type Kind,
} from '../../../src/transfer/backup/model-repository.fixture.ts';
import { judge } from './judge.suite.ts';
import { type MemorySetting, placeOver, seededRandom } from './memory-place.suite.ts';
import { Model, type Shape } from './model.suite.ts';
import { carryOut, noteDone, planStep, runStep, type Step } from './operations.suite.ts';

const STEPS_BEFORE_MAX = 8;
/** Every Nth call, with a stride for the longest operations, so that no seed takes minutes. */
const CALLS_TRIED = 12;

type Setting = MemorySetting & {
  readonly shape: Shape;
  readonly fault: StoreFault;
  readonly lasting: boolean;
};

/** Answers how many states were judged; throws, with the seed, if one of them is not right. */
export async function faultTrial(seed: number): Promise<number> {
  const draws = new Draws(seed, 1);
  const kind: Kind = draws.chance(0.25) ? 'encrypted' : 'plain';
  const code = draws.pick(['OBJECT_NO_SPACE', 'OBJECT_IO'] as const);
  const setting: Setting = {
    random: seededRandom(seed),
    shape: { chunkBytes: 4096, contentBytesMax: 20_000 + draws.below(60_000) },
    packTargetBytes: draws.pick([10_000, 30_000]),
    fingerprintBits: draws.pick([8, 32]),
    fault: { code, applied: draws.chance(0.4) },
    lasting: draws.chance(0.4),
  };
  const objects = memoryStore('before');
  const model = new Model();
  const place = placeOver(objects, setting);
  await init(place.env, objects, kind, { chunkBytes: setting.shape.chunkBytes });
  const steps = 1 + draws.below(STEPS_BEFORE_MAX);
  for (let at = 0; at < steps; at++) {
    await carryOut(place, model, planStep(model, setting.shape, draws));
  }
  const step = planStep(model, setting.shape, draws);
  const content = await dump(objects);
  const calls = await callsOf(content, setting, step);
  const stride = Math.max(1, Math.floor(calls / CALLS_TRIED));
  let states = 0;
  for (let number = 1 + draws.below(stride); number <= calls; number += stride) {
    const store = await fill(memoryStore('after'), content);
    try {
      await failOnce(store, setting, model.copy(), step, number, draws);
    } catch (cause) {
      const how = `${step.name}, call ${number} of ${calls}: ${JSON.stringify(setting)}`;
      throw new Error(`faults, seed ${seed}: ${how}`, { cause });
    }
    states++;
  }
  return states;
}

async function callsOf(
  content: ReadonlyMap<string, Uint8Array>,
  setting: Setting,
  step: Step,
): Promise<number> {
  let calls = 0;
  const counting = faultStore(await fill(memoryStore('count'), content), () => {
    calls++;
    return undefined;
  });
  await runStep(placeOver(counting, setting), step);
  return calls;
}

async function failOnce(
  store: ObjectStore,
  setting: Setting,
  model: Model,
  step: Step,
  number: number,
  draws: Draws,
): Promise<void> {
  const { fault, lasting } = setting;
  const failing = faultStore(store, (call) =>
    call.number === number || (lasting && call.number > number) ? fault : undefined,
  );
  try {
    noteDone(model, step, await runStep(placeOver(failing, setting), step));
  } catch (error) {
    // check does not fail: it finds what it could not read.
    if (step.name === 'check' && error instanceof assert.AssertionError) {
      assert(String(error.message).includes('IO') || String(error.message).includes('SPACE'));
    } else {
      assert(error instanceof FerryError, String((error as Error).stack));
      const named = [fault.code, 'STORE_IO'].some((code) => hasCode(error, code));
      assert(named || error.cause !== undefined, String(error.stack));
    }
  }
  await judge(placeOver(store, setting), model, setting.shape, draws);
}
