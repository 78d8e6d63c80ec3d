/** A place over objects in memory and the real clock: for trials that need no crashes. */
import { nodeEnv } from '../../../src/core/index.ts';
import type { ObjectStore } from '../../../src/objects/index.ts';
import { deviceOf } from '../../../src/transfer/backup/model-repository.fixture.ts';
import type { Place } from './operations.suite.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };

export function placeOver(
  objects: ObjectStore,
  sizes: Pick<Place, 'packTargetBytes' | 'fingerprintBits'>,
): Place {
  return {
    env,
    // Closing a repository closes its store; the memory goes on.
    objects: async () => ({ ...objects, [Symbol.asyncDispose]: async () => undefined }),
    source: ({ version }) => deviceOf(version!.bytes),
    ...sizes,
    gcWaitMs: 0,
  };
}
