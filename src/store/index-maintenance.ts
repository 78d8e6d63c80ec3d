/** Keeps opening cheap: many packs, or many segments, are merged into one segment at a commit. */
import type { Random } from '../core/index.ts';
import type { ChunkIndex } from './chunk-index.ts';
import { StoreError } from './errors.ts';
import { ENTRY_PACKS_MAX, LOOSE_PACKS_MAX, SEGMENT_RECORDS_MAX, SEGMENTS_MAX } from './limits.ts';
import type { IndexChange, SegmentInfo } from './log-entry.ts';
import type { LogState } from './log-state.ts';
import type { SealedObjects } from './sealer.ts';
import { packFingerprints, readSegment, type SegmentPack, writeSegments } from './segment.ts';

export type Merge = {
  /** Covers these packs. */
  readonly packs: ReadonlySet<string>;
  readonly segments: readonly SegmentInfo[];
  readonly replaced: readonly string[];
};

/**
 * Writes a segment if the log would name too many packs or segments after `added`. It is only
 * garbage if the commit does not come about.
 */
export async function mergeIfNeeded(
  objects: SealedObjects,
  random: Random,
  index: ChunkIndex,
  state: LogState,
  added: readonly string[],
): Promise<Merge | undefined> {
  const loose = new Set([...state.loosePacks, ...added]);
  if (loose.size <= LOOSE_PACKS_MAX && added.length <= ENTRY_PACKS_MAX) return undefined;
  const replaced = smallest(state);
  const packs: SegmentPack[] = [];
  for (const segment of replaced) packs.push(...(await readSegment(objects, segment)));
  const covered = new Set<string>();
  for (const packId of loose) {
    try {
      packs.push(packFingerprints(packId, await index.tableOf(packId)));
      covered.add(packId);
    } catch (error) {
      // A damaged pack stays where it is: named by the log, and by check.
      if (!(error instanceof StoreError)) throw error;
    }
  }
  return { packs: covered, segments: await writeSegments(objects, random, packs), replaced };
}

/** Of many segments with room for more the smaller half: what is large is rewritten seldom. */
function smallest(state: LogState): string[] {
  const small = [...state.segments.values()].filter(
    ({ records }) => records < SEGMENT_RECORDS_MAX / 2,
  );
  if (small.length < SEGMENTS_MAX) return [];
  const sorted = small.sort((a, b) => a.records - b.records);
  return sorted.slice(0, Math.ceil(sorted.length / 2)).map((segment) => segment.id);
}

/**
 * What the entry says. A merge holds only if everything it replaces is still as it was; otherwise
 * another writer merged meanwhile, and the packs are named one by one.
 */
export function indexChange(
  state: LogState,
  added: readonly string[],
  merge: Merge | undefined,
): IndexChange {
  const fresh = added.filter((pack) => !state.loosePacks.has(pack));
  const none = { packs: fresh, packsDropped: [], segments: [], segmentsDropped: [] };
  if (merge === undefined) return none;
  const standing = [...merge.packs].filter((pack) => !added.includes(pack));
  const intact =
    standing.every((pack) => state.loosePacks.has(pack)) &&
    merge.replaced.every((segment) => state.segments.has(segment));
  if (!intact) return none;
  return {
    packs: fresh.filter((pack) => !merge.packs.has(pack)),
    packsDropped: [...merge.packs].filter((pack) => state.loosePacks.has(pack)),
    segments: merge.segments,
    segmentsDropped: merge.replaced,
  };
}
