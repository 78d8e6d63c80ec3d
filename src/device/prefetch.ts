/** Has a range of a device at hand before somebody reads it: bounded, and never in the way. */
import { type Answer, checkRange, type Device } from './device.ts';
import { PREFETCH_BYTES_MAX, PREFETCH_BYTES_PER_READ, PREFETCHES_AT_ONCE_MAX } from './limits.ts';

/** Free buffers to read into; what they hold is never looked at. */
const scratches: Uint8Array[] = [];
let scratchCount = 0;

/**
 * Settles when the range, or as much of its beginning as one call may fetch, has been fetched.
 * A device that does not say how is read. If as many are being read as may be, nothing happens.
 */
export function prefetch(device: Device, lengthBytes: number, offsetBytes: number): Answer {
  checkRange(device, lengthBytes, offsetBytes);
  const partBytes = Math.min(lengthBytes, PREFETCH_BYTES_MAX);
  if (partBytes === 0) return undefined;
  if (device.cache !== undefined) return device.cache(partBytes, offsetBytes);
  if (device.settlesAtOnce === true) return undefined; // Nothing is nearer than memory.
  const scratch = scratches.pop() ?? newScratch();
  return scratch && readThrough(device, scratch, partBytes, offsetBytes);
}

function newScratch(): Uint8Array | undefined {
  if (scratchCount >= PREFETCHES_AT_ONCE_MAX) return undefined;
  scratchCount += 1;
  return new Uint8Array(PREFETCH_BYTES_PER_READ);
}

async function readThrough(
  device: Device,
  scratch: Uint8Array,
  lengthBytes: number,
  offsetBytes: number,
): Promise<void> {
  const { minimumBytes, maximumBytes } = device.blockSizes;
  const wantedBytes = Math.min(scratch.byteLength, maximumBytes);
  const stepBytes = wantedBytes - (wantedBytes % minimumBytes);
  try {
    for (let at = 0; at < lengthBytes && stepBytes > 0; at += stepBytes) {
      const target = scratch.subarray(0, Math.min(stepBytes, lengthBytes - at));
      await device.read(target, offsetBytes + at);
    }
  } finally {
    scratches.push(scratch);
  }
}
