/** A moment as it is served: where it was lost, the error says what the export knows of that. */
import { hasCode } from '../../core/index.ts';
import type { Answer, Device, DeviceExtent } from '../../device/index.ts';

/** Owns `view`. `explain` makes the error of a moment that is lost, if it can. */
export function momentView(view: Device, explain: () => Promise<Error | undefined>): Device {
  async function explained<T>(act: () => Answer<T>): Promise<T> {
    try {
      return await act();
    } catch (error) {
      // What a person can act upon is known at the other side only.
      if (!hasCode(error, 'DEVICE_CLOSED')) throw error;
      throw (await explain().catch(() => undefined)) ?? error;
    }
  }
  return {
    name: view.name,
    sizeBytes: view.sizeBytes,
    blockSizes: view.blockSizes,
    readOnly: true,
    hints: view.hints,
    durable: view.durable,
    read: (target, offsetBytes) => explained(() => view.read(target, offsetBytes)),
    write: (source, offsetBytes, flags) => view.write(source, offsetBytes, flags),
    flush: () => view.flush(),
    zero: (lengthBytes, offsetBytes, flags) => view.zero(lengthBytes, offsetBytes, flags),
    trim: (lengthBytes, offsetBytes, flags) => view.trim(lengthBytes, offsetBytes, flags),
    extents: (lengthBytes, offsetBytes, limit) =>
      explained<DeviceExtent[]>(() => view.extents(lengthBytes, offsetBytes, limit)),
    [Symbol.asyncDispose]: () => view[Symbol.asyncDispose](),
  };
}
