/** Windows: what an agent reads and sends as one message. */
import type { Extent } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import { alignedRuns } from '../../runs.ts';
import { OFFER_BYTES, WINDOW_BYTES } from '../limits.ts';

export type Window = {
  /** None crosses a border of chunks; ascending. */
  readonly extents: readonly Extent[];
  /** The device says that nothing but zeroes is there: it need not be read. */
  readonly isEmpty: boolean;
};

/** Entries of a window: a changed block of 4 KiB each, at least. */
const WINDOW_EXTENTS_MAX = WINDOW_BYTES / 4096;

/** The whole device in chunks; a window is all empty or all to be read. */
export async function* comparedWindows(device: Device): AsyncGenerator<Window> {
  for await (const { kind, offsetBytes, lengthBytes } of alignedRuns(device, OFFER_BYTES)) {
    const isEmpty = kind !== 'data';
    const end = offsetBytes + lengthBytes;
    // Empty chunks cost only their hashes at the provider.
    const step = isEmpty ? WINDOW_EXTENTS_MAX * OFFER_BYTES : WINDOW_BYTES;
    for (let at = offsetBytes; at < end; at += step) {
      yield { extents: [...chunksOf(at, Math.min(end, at + step))], isEmpty };
    }
  }
}

export function* changedWindows(changed: Iterable<Extent>, windowBytes: number): Generator<Window> {
  let extents: Extent[] = [];
  let bytes = 0;
  for (const { offsetBytes, lengthBytes } of changed) {
    for (const extent of chunksOf(offsetBytes, offsetBytes + lengthBytes)) {
      if (bytes + extent.lengthBytes > windowBytes || extents.length === WINDOW_EXTENTS_MAX) {
        yield { extents, isEmpty: false };
        extents = [];
        bytes = 0;
      }
      extents.push(extent);
      bytes += extent.lengthBytes;
    }
  }
  if (extents.length > 0) yield { extents, isEmpty: false };
}

function* chunksOf(from: number, to: number): Generator<Extent> {
  for (let at = from; at < to; ) {
    const end = Math.min(to, (Math.floor(at / OFFER_BYTES) + 1) * OFFER_BYTES);
    yield { offsetBytes: at, lengthBytes: end - at };
    at = end;
  }
}

/** Of a window's content: where it lies in the device, and from where on in the window. */
export type Run = Extent & { readonly at: number };

/** Ascending extents, those that touch as one. */
export function* runsOf(extents: readonly Extent[]): Generator<Run> {
  let at = 0;
  for (let first = 0; first < extents.length; ) {
    const { offsetBytes } = extents[first]!;
    let end = offsetBytes;
    while (extents[first]?.offsetBytes === end) end += extents[first++]!.lengthBytes;
    yield { offsetBytes, lengthBytes: end - offsetBytes, at };
    at += end - offsetBytes;
  }
}
