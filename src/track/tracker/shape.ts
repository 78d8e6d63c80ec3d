/** How a volume is cut into blocks and regions. */
import assert from 'node:assert/strict';
import { BLOCK_BYTES, REGION_BYTES_MIN, REGIONS_MAX } from './limits.ts';

export type Shape = {
  readonly sizeBytes: number;
  readonly blockCount: number;
  /** A power of two. */
  readonly regionBytes: number;
  readonly regionCount: number;
  readonly blocksPerRegion: number;
  /** 32 blocks each. */
  readonly wordsPerRegion: number;
};

export function shapeOf(sizeBytes: number): Shape {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, `bad size: ${sizeBytes}`);
  let regionBytes = REGION_BYTES_MIN;
  while (sizeBytes > regionBytes * REGIONS_MAX) regionBytes *= 2;
  const blocksPerRegion = regionBytes / BLOCK_BYTES;
  return {
    sizeBytes,
    blockCount: Math.ceil(sizeBytes / BLOCK_BYTES),
    regionBytes,
    regionCount: Math.ceil(sizeBytes / regionBytes),
    blocksPerRegion,
    wordsPerRegion: blocksPerRegion / 32,
  };
}
