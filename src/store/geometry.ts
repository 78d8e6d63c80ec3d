/** The shape of a volume's tree: leaves of 8 MiB, inner nodes of 256 children. Pure arithmetic. */
import { FANOUT, LEAF_BYTES } from './limits.ts';

export type Geometry = {
  readonly sizeBytes: number;
  readonly chunkBytes: number;
};

export function leafCount({ sizeBytes }: Geometry): number {
  return Math.ceil(sizeBytes / LEAF_BYTES);
}

/** Levels above the leaves; 0 when the root is a leaf (or there is none at all). */
export function treeHeight(geometry: Geometry): number {
  let height = 0;
  for (let nodes = leafCount(geometry); nodes > 1; nodes = Math.ceil(nodes / FANOUT)) height++;
  return height;
}

/** How many nodes a level has; level 0 are the leaves. */
export function nodeCount(geometry: Geometry, level: number): number {
  return Math.ceil(leafCount(geometry) / FANOUT ** level);
}

/** Bytes of the volume below node `index` of `level`. */
export function coveredBytes(geometry: Geometry, level: number, index: number): number {
  const span = LEAF_BYTES * FANOUT ** level;
  return Math.min(span, geometry.sizeBytes - index * span);
}

/** Children of an inner node; fewer than FANOUT only at the right edge. */
export function childCount(geometry: Geometry, level: number, index: number): number {
  return Math.min(FANOUT, nodeCount(geometry, level - 1) - index * FANOUT);
}
