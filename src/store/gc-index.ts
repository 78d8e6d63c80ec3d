/** Index segments without the packs that a step of garbage collection drops. */
import type { Random } from '../core/index.ts';
import type { IndexSync } from './index-sync.ts';
import type { IndexChange, SegmentInfo } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import type { SealedObjects } from './sealer.ts';
import { readSegment, writeSegments } from './segment.ts';

/** Segments that cover a dropped pack are replaced; the index must be at this state of the log. */
export async function indexWithout(
  objects: SealedObjects,
  random: Random,
  sync: IndexSync,
  state: LogState,
  dropped: ReadonlySet<string>,
): Promise<IndexChange> {
  const segmentsDropped = sync.covering(state, dropped);
  const segments: SegmentInfo[] = [];
  for (const segment of segmentsDropped) {
    const packs = (await readSegment(objects, segment)).filter(
      ({ packId }) => !dropped.has(packId),
    );
    segments.push(...(await writeSegments(objects, random, packs)));
  }
  return { packs: [], packsDropped: [], segments, segmentsDropped };
}
