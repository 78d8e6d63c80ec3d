/** Plans dictionaries: what it takes to decode chunks that a new one may be a patch against. */
import { PARENT_REFERENCE_BYTES, type ParentChoice } from '../codec/index.ts';
import { FerryError } from '../core/index.ts';
import type { Location } from './chunk-index.ts';
import { type FramePlan, STANDS_ON_BYTES_MAX } from './frame-plan.ts';
import { RECORD_CHUNK } from './pack-table.ts';

/** Chunks that together are a dictionary. */
export type Parents = readonly Location[];

/** What a patch stands on, and its own place in the chain. */
export type PatchParents = {
  readonly references: readonly Uint8Array[];
  readonly depth: number;
  /** Frames that reading the patch takes, its own included. */
  readonly touched: number;
};

export type PlannedChoice = {
  readonly parents: Parents;
  readonly choice: ParentChoice;
  readonly patchOf: PatchParents;
};

/**
 * A plan that would need more memory gets no further choices: what parents themselves stand on is
 * known only when they are read.
 */
const PLAN_HELD_MAX = 8 * 1024 * 1024;

/** Parents may later be read from other copies, which stand on other chunks. */
const NEW_STANDS_ON_MAX = STANDS_ON_BYTES_MAX / 4;

export function mayBeParent({ table, ordinal }: Location, depthMax: number): boolean {
  return (
    // A record of an open pack may be announced and not be written yet.
    ordinal < table.framedCount &&
    table.kinds[ordinal] === RECORD_CHUNK &&
    table.depths[ordinal]! < depthMax
  );
}

/**
 * The parents as one dictionary, the most useful first: the last ones are left out where reading
 * them all would take too much. Undefined if none can be had.
 */
export async function planParents(
  plan: FramePlan,
  parents: Parents,
): Promise<PlannedChoice | undefined> {
  const steps: number[] = [];
  for (const parent of parents) {
    const step = await stepOf(plan, parent);
    if (step === undefined) break;
    steps.push(step);
  }
  for (let count = steps.length; count > 0; count--) {
    const choice = plannedChoice(plan, steps.slice(0, count), parents.slice(0, count));
    if (choice !== undefined) return choice;
  }
  return undefined;
}

/** The choices that can be had. */
export async function planAll(
  plan: FramePlan,
  choices: readonly Parents[],
): Promise<PlannedChoice[]> {
  const planned: PlannedChoice[] = [];
  for (const parents of choices) {
    const choice = await planParents(plan, parents);
    if (choice !== undefined) planned.push(choice);
  }
  return planned;
}

/** The newest version and what its chain stands on, each a choice of its own. */
export async function planChain(plan: FramePlan, newest: Location): Promise<PlannedChoice[]> {
  const first = await stepOf(plan, newest);
  if (first === undefined) return [];
  // Chains end one earlier: what resembles a former version may still stand on it.
  const depthMax = plan.patchLimits.depthMax - 1;
  return plan
    .chain(first)
    .filter(({ location: { table, ordinal } }) => table.depths[ordinal]! < depthMax)
    .flatMap(({ step, location }) => plannedChoice(plan, [step], [location]) ?? []);
}

/**
 * Undefined where it cannot be read: that costs the gain, not the backup; damage is named by
 * whoever reads a chunk for its own sake, and by check.
 */
async function stepOf(plan: FramePlan, location: Location): Promise<number | undefined> {
  if (plan.heldBytes > PLAN_HELD_MAX) return undefined;
  try {
    return await plan.addParent(location);
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return undefined;
  }
}

/** Undefined if a patch against these would stand on too much. */
function plannedChoice(
  plan: FramePlan,
  steps: readonly number[],
  parents: Parents,
): PlannedChoice | undefined {
  const { depthMax, framesTouchedMax } = plan.patchLimits;
  if (!parents.every((parent) => mayBeParent(parent, depthMax))) return undefined;
  const depth = Math.max(...parents.map(({ table, ordinal }) => table.depths[ordinal]!));
  const touched = plan.framesTouched(steps) + 1;
  if (touched > framesTouchedMax || plan.standsOnBytes(steps) > NEW_STANDS_ON_MAX) {
    return undefined;
  }
  const references = parents.map(({ table, ordinal }) =>
    referenceOf(table.id(ordinal), table.checksums[ordinal]!),
  );
  const patchOf = { references, depth: depth + 1, touched };
  return { parents, choice: { steps, references, depth }, patchOf };
}

/** How a patch names a parent: CRC-32 and the first 8 bytes of the id. */
export function referenceOf(id: Uint8Array, checksum: number): Uint8Array {
  const reference = new Uint8Array(PARENT_REFERENCE_BYTES);
  new DataView(reference.buffer).setUint32(0, checksum, true);
  reference.set(id.subarray(0, PARENT_REFERENCE_BYTES - 4), 4);
  return reference;
}
