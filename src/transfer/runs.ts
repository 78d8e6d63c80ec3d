/** Cuts a device into aligned runs of data and emptiness, by what the device says of its extents. */
import type { Extent } from '../core/index.ts';
import type { Device, ExtentKind } from '../device/index.ts';

export type Run = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: ExtentKind;
};

/** A range that is as the parent snapshot has it. */
export type Keep = {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly kind: 'keep';
};

/** Extents asked for at a time. */
const EXTENTS_PAGE = 1024;

/**
 * Covers the device in order, without gaps. Empty runs begin and end at multiples of `alignBytes`
 * (or at the end of the device); what is left of a hole at its edges counts as data.
 */
export async function* alignedRuns(device: Device, alignBytes: number): AsyncGenerator<Run> {
  const { sizeBytes } = device;
  let dataFrom = 0;
  for (let at = 0; at < sizeBytes; ) {
    const page = await device.extents(sizeBytes - at, at, EXTENTS_PAGE);
    for (const { offsetBytes, lengthBytes, kind } of page) {
      at = offsetBytes + lengthBytes;
      if (kind === 'data') continue;
      const start = Math.ceil(Math.max(offsetBytes, dataFrom) / alignBytes) * alignBytes;
      const end = at === sizeBytes ? at : Math.floor(at / alignBytes) * alignBytes;
      if (end <= start) continue;
      if (start > dataFrom) yield data(dataFrom, start);
      yield { offsetBytes: start, lengthBytes: end - start, kind };
      dataFrom = end;
    }
  }
  if (sizeBytes > dataFrom) yield data(dataFrom, sizeBytes);
}

/** Covers [0, sizeBytes) with the changed ranges, widened to `alignBytes`, and what lies between. */
export function* changedRuns(
  changed: Iterable<Extent>,
  sizeBytes: number,
  alignBytes: number,
): Generator<Run | Keep> {
  let at = 0;
  for (const { offsetBytes, lengthBytes } of changed) {
    const start = Math.max(at, Math.floor(offsetBytes / alignBytes) * alignBytes);
    const end = Math.ceil((offsetBytes + lengthBytes) / alignBytes) * alignBytes;
    const stop = Math.min(sizeBytes, end);
    if (stop <= start) continue;
    if (start > at) yield { offsetBytes: at, lengthBytes: start - at, kind: 'keep' };
    yield data(start, stop);
    at = stop;
  }
  if (sizeBytes > at) yield { offsetBytes: at, lengthBytes: sizeBytes - at, kind: 'keep' };
}

function data(from: number, to: number): Run {
  return { offsetBytes: from, lengthBytes: to - from, kind: 'data' };
}
