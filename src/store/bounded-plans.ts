/** Splits what is to be decoded into plans that need a bounded amount of memory each. */
import type { DecodePlan } from '../codec/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { type FrameCache, frameHeldBytes } from './frame-cache.ts';
import { FramePlan } from './frame-plan.ts';

/** A plan takes in no further frame for its own sake once its frames need this much. */
export const PLAN_BYTES_TARGET = 4 * 1024 * 1024;

/**
 * Where patches of a frame that the plan has already are left for the next plan: their parents'
 * frames are known only then. What one group of patches adds comes on top.
 */
const PLAN_BYTES_PATCHES = 2 * PLAN_BYTES_TARGET;

/** Patches whose parents are looked for at the same time. */
const PATCHES_AT_ONCE = 4;

/** `steps[i]` is the plan's step for the wanted copy number `from + i`. */
export type PartPlan = {
  readonly plan: DecodePlan;
  readonly from: number;
  readonly steps: readonly number[];
};

/**
 * Plans for all of `wanted`, in order. A plan's frames are released when the next one is asked for,
 * so the caller runs each before. Copies that share a frame should be neighbours.
 */
export async function* boundedPlans(
  index: ChunkIndex,
  frames: FrameCache,
  wanted: readonly Location[],
): AsyncGenerator<PartPlan> {
  for (let from = 0; from < wanted.length; ) {
    const plan = new FramePlan(index, frames);
    try {
      const steps: number[] = [];
      for (;;) {
        const group = nextGroup(plan, wanted, from + steps.length);
        if (group.length === 0) break;
        steps.push(...(await addAll(plan, group)));
      }
      yield { plan: plan.finish(), from, steps };
      from += steps.length;
    } finally {
      plan.release();
    }
  }
}

/** What may be added to the plan at the same time; empty if nothing more may be. */
function nextGroup(plan: FramePlan, wanted: readonly Location[], from: number): Location[] {
  const group: Location[] = [];
  const frames = new Set<string>();
  let held = plan.heldBytes;
  let patches = 0;
  for (let at = from; at < wanted.length; at++) {
    const location = wanted[at]!;
    const { pack, table, ordinal } = location;
    const isPatch = table.depths[ordinal] !== 0;
    const frame = table.frameOf(ordinal);
    const name = `${pack}/${frame}`;
    const isNew = !frames.has(name) && !plan.hasFrame(location);
    const cost = isNew ? frameHeldBytes(table, frame) : 0;
    const limit = isNew ? PLAN_BYTES_TARGET : PLAN_BYTES_PATCHES;
    // A plan takes at least one, whatever it needs.
    if (held > 0 && (isNew || isPatch) && held + cost > limit) break;
    if (isPatch && patches++ === PATCHES_AT_ONCE) break;
    frames.add(name);
    held += cost;
    group.push(location);
  }
  return group;
}

/** Waits for all, even after a failure: what is added later would not be released. */
async function addAll(plan: FramePlan, group: readonly Location[]): Promise<number[]> {
  const outcomes = await Promise.allSettled(group.map((location) => plan.add(location)));
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
