/** Hands out plans of how to read dictionaries, with memory that is used again and again. */
import type { ChunkIndex } from './chunk-index.ts';
import { Arena, FramePlan, type HeldFrames } from './frame-plan.ts';
import type { SealedObjects } from './sealer.ts';

/** Parents' frames of one job; what a job of patches needs, kept for the next. */
const ARENA_KEEP_BYTES = 4 * 1024 * 1024;

/** A job takes in no further chunk once what its parents stand on needs this much memory. */
export const PLAN_HELD_TARGET = 4 * 1024 * 1024;

/** A plan and the memory it reads into, to be given back once its job is done. */
export type OpenPlan = { readonly plan: FramePlan; readonly arena: Arena };

export class PlanSource {
  readonly #objects: SealedObjects;
  readonly #index: ChunkIndex;
  readonly #held: HeldFrames;
  /** As many as there were jobs at once. */
  readonly #arenas: Arena[] = [];

  /** `held` has frames of packs that are not sealed yet. */
  constructor(objects: SealedObjects, index: ChunkIndex, held: HeldFrames) {
    this.#objects = objects;
    this.#index = index;
    this.#held = held;
  }

  take(): OpenPlan {
    const arena = this.#arenas.pop() ?? new Arena();
    return { arena, plan: new FramePlan(this.#objects, this.#index, arena, this.#held) };
  }

  give({ arena }: OpenPlan): void {
    arena.reset(ARENA_KEEP_BYTES);
    this.#arenas.push(arena);
  }

  async planned<T>(use: (plan: FramePlan) => Promise<T>): Promise<T> {
    const open = this.take();
    try {
      return await use(open.plan);
    } finally {
      this.give(open);
    }
  }
}
