/** A place over objects in memory and the real clock: for trials that need no crashes. */
import { Draws } from '../../../sim/index.ts';
import { nodeEnv, type Random } from '../../../src/core/index.ts';
import type { ObjectStore } from '../../../src/objects/index.ts';
import { deviceOf } from '../../../src/transfer/backup/model-repository.fixture.ts';
import type { Place } from './operations.suite.ts';

export type MemorySetting = Pick<Place, 'packTargetBytes' | 'fingerprintBits'> & {
  /** One for all places of a trial: ids must differ between them, and not between runs. */
  readonly random: Random;
};

export function seededRandom(seed: number): Random {
  let fills = 0;
  return { fill: (target) => new Draws(seed, 7, fills++).fill(target) };
}

export function placeOver(
  objects: ObjectStore,
  { packTargetBytes, fingerprintBits, random }: MemorySetting,
): Place {
  const host = nodeEnv();
  return {
    env: { ...host, random, workers: { ...host.workers, parallelism: 0 } },
    // Closing a repository closes its store; the memory goes on.
    objects: async () => ({ ...objects, [Symbol.asyncDispose]: async () => undefined }),
    source: ({ version }) => deviceOf(version!.bytes),
    packTargetBytes,
    fingerprintBits,
    gcWaitMs: 0,
  };
}
