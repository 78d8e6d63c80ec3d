/** The parts of a device that may hold data, as aligned windows; holes are never read. */
import type { Device } from '../../device/index.ts';

export type Window = { readonly offsetBytes: number; readonly lengthBytes: number };

/** Enough to describe a busy stretch in one call, little enough to hold for each. */
const EXTENTS_PER_CALL = 256;

/** Windows in ascending order, all of `windowBytes` but a short last one. */
export async function* dataWindows(device: Device, windowBytes: number): AsyncGenerator<Window> {
  const { sizeBytes } = device;
  let given = 0; // Windows up to here have been given.
  for (let asked = 0; asked < sizeBytes; asked = Math.max(asked, given)) {
    for (const extent of await device.extents(sizeBytes - asked, asked, EXTENTS_PER_CALL)) {
      const { offsetBytes, lengthBytes, kind } = extent;
      asked = offsetBytes + lengthBytes;
      if (kind !== 'data') continue;
      // An extent may begin within a window that was given for the one before.
      given = Math.max(given, offsetBytes - (offsetBytes % windowBytes));
      for (; given < asked; given += windowBytes) {
        yield { offsetBytes: given, lengthBytes: Math.min(windowBytes, sizeBytes - given) };
      }
    }
  }
}
