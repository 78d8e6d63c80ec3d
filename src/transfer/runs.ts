/**
 * Cuts a device into aligned runs of data and emptiness, by what the device says of its extents.
 */
import assert from 'node:assert/strict';
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

/** Read in a millisecond, as long as it may take to ask. */
const ASKED_FROM_BYTES = 1024 * 1024;

/**
 * Covers the device in order, without gaps. Empty runs begin and end at multiples of `alignBytes`
 * (or at the end of the device); what is left of a hole at its edges counts as data.
 */
export function alignedRuns(device: Device, alignBytes: number): AsyncGenerator<Run> {
  return runsIn(device, { from: 0, end: device.sizeBytes }, alignBytes);
}

/**
 * The same for long runs of data among what has changed: what was said to have changed may well be
 * empty now. To ask for each short one would cost more than to read it.
 */
export async function* withoutHoles(
  runs: AsyncIterable<Run | Keep>,
  device: Device,
  alignBytes: number,
): AsyncGenerator<Run | Keep> {
  for await (const run of runs) {
    const { kind, offsetBytes: from, lengthBytes } = run;
    if (kind !== 'data' || lengthBytes < ASKED_FROM_BYTES) yield run;
    else yield* runsIn(device, { from, end: from + lengthBytes }, alignBytes);
  }
}

async function* runsIn(
  device: Device,
  { from, end: stop }: { readonly from: number; readonly end: number },
  alignBytes: number,
): AsyncGenerator<Run> {
  let dataFrom = from;
  for (let at = from; at < stop; ) {
    const page = await device.extents(stop - at, at, EXTENTS_PAGE);
    assert(page.length > 0, `${device.name} describes nothing at ${at}`);
    for (const { offsetBytes, lengthBytes, kind } of page) {
      at = offsetBytes + lengthBytes;
      if (kind === 'data') continue;
      const start = Math.ceil(Math.max(offsetBytes, dataFrom) / alignBytes) * alignBytes;
      const end = at === stop ? at : Math.floor(at / alignBytes) * alignBytes;
      if (end <= start) continue;
      if (start > dataFrom) yield data(dataFrom, start);
      yield { offsetBytes: start, lengthBytes: end - start, kind };
      dataFrom = end;
    }
  }
  if (stop > dataFrom) yield data(dataFrom, stop);
}

export type RunsOptions = {
  readonly sizeBytes: number;
  /** From here on, a multiple of `alignBytes`, nothing is as in the parent: it was resized. */
  readonly stableBytes: number;
  readonly alignBytes: number;
};

/**
 * Covers [0, sizeBytes) with the changed ranges, widened to `alignBytes`, and what lies between.
 * The ranges ascend; they may touch and overlap.
 */
export async function* changedRuns(
  changed: AsyncIterable<Extent> | Iterable<Extent>,
  { sizeBytes, stableBytes, alignBytes }: RunsOptions,
): AsyncGenerator<Run | Keep> {
  yield* keptAndChanged(changed, stableBytes, alignBytes);
  if (sizeBytes > stableBytes) yield data(stableBytes, sizeBytes);
}

async function* keptAndChanged(
  changed: AsyncIterable<Extent> | Iterable<Extent>,
  sizeBytes: number,
  alignBytes: number,
): AsyncGenerator<Run | Keep> {
  let at = 0;
  let before = 0;
  for await (const { offsetBytes, lengthBytes } of changed) {
    assert(offsetBytes >= before, 'changed ranges must ascend: one would be lost');
    before = offsetBytes;
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
