/** Has threads decode and verify chunks of a repository into shared memory. */
import type { CodecPool, SharedRange } from '../codec/index.ts';
import type { ObjectStore } from '../objects/index.ts';
import {
  boundedPlans,
  type ChunkIndex,
  ChunkReader,
  FrameCache,
  type Location,
  mayBeDamage,
} from '../store/index.ts';

/** A stored copy, and where in the target its plain bytes go. */
export type WantedChunk = {
  readonly location: Location;
  readonly at: number;
  readonly lengthBytes: number;
};

export type DecodeContext = {
  readonly objects: ObjectStore;
  readonly index: ChunkIndex;
  readonly pool: CodecPool;
  readonly frames: FrameCache;
};

/** Chunks that share a frame should be neighbours. STORE_DAMAGED names the pack. */
export async function decodeChunks(
  { objects, index, pool, frames }: DecodeContext,
  wanted: readonly WantedChunk[],
  target: SharedRange,
): Promise<void> {
  const locations = wanted.map(({ location }) => location);
  const decode = async (cache: FrameCache) => {
    for await (const { plan, from, steps } of boundedPlans(index, cache, locations)) {
      const outputs = steps.map((step, number) => {
        const { at, lengthBytes } = wanted[from + number]!;
        return { step, at, lengthBytes };
      });
      await pool.run<'decode'>({ kind: 'decode', plan, outputs, target });
    }
  };
  try {
    await decode(frames);
  } catch (error) {
    if (!mayBeDamage(error)) throw error;
    await blame(objects, index, locations);
    if (objects.heal === undefined) throw error;
    await decode(new FrameCache(objects)); // The other one keeps what was damaged.
  }
}

/**
 * A job that fails does not say which pack is damaged; reading chunk by chunk does, or heals it
 * where its parity can.
 */
async function blame(objects: ObjectStore, index: ChunkIndex, locations: readonly Location[]) {
  const chunks = new ChunkReader(objects, index);
  for (const location of locations) await chunks.bytes(location);
}
