/** How a volume is cut into the regions of its profile, and how those are spread over tables. */
import assert from 'node:assert/strict';
import {
  KNOWN_REGIONS_MAX,
  PROFILE_REGION_BYTES_MIN,
  PROFILE_REGIONS_MAX,
  SAMPLED_REGIONS_MAX,
  WAYS,
} from './limits.ts';

export type ProfileShape = {
  readonly sizeBytes: number;
  /** A power of two. */
  readonly regionBytes: number;
  readonly regionCount: number;
  /** Sets of the table of known regions; a power of two. */
  readonly setCount: number;
  /** Of 2^sampleShift neighbours one is looked at for the working set. */
  readonly sampleShift: number;
};

export function profileShapeOf(sizeBytes: number): ProfileShape {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, `bad size: ${sizeBytes}`);
  let regionBytes = PROFILE_REGION_BYTES_MIN;
  while (sizeBytes > regionBytes * PROFILE_REGIONS_MAX) regionBytes *= 2;
  const regionCount = Math.ceil(sizeBytes / regionBytes);
  let setCount = 1;
  while (setCount * WAYS < Math.min(regionCount, KNOWN_REGIONS_MAX)) setCount *= 2;
  let sampleShift = 0;
  while (Math.ceil(regionCount / 2 ** sampleShift) > SAMPLED_REGIONS_MAX) sampleShift++;
  return { sizeBytes, regionBytes, regionCount, setCount, sampleShift };
}

/** All bits of a 32-bit number depend on all of the given one's (the last step of MurmurHash3). */
export function mixed(number: number): number {
  let bits = number;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
