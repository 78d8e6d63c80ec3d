/** Makes a device of any block size take what a restore writes: chunks, and an odd tail. */
import type { Answer, Device } from '../device/index.ts';
import { fitted } from '../nbd/index.ts';

/**
 * Whatever is not whole blocks is read, changed and written back, one such call at a time: two that
 * touch one block must not overlap. Calls of whole blocks go on beside them; a restore writes no
 * byte twice, so those never touch the block of a part. Disposing it disposes the device.
 */
export function anyLengthTarget(device: Device): Device {
  const { minimumBytes } = device.blockSizes;
  if (minimumBytes === 1) return device;
  const fit = fitted(device);
  let last: Promise<void> = Promise.resolve();

  function inTurn(lengthBytes: number, offsetBytes: number, work: () => Answer): Answer {
    if (lengthBytes % minimumBytes === 0 && offsetBytes % minimumBytes === 0) return work();
    const turn = last.then(work);
    last = turn.catch(() => undefined); // The caller of that turn hears of it.
    return turn;
  }

  return {
    name: device.name,
    sizeBytes: device.sizeBytes,
    blockSizes: fit.blockSizes,
    readOnly: device.readOnly,
    hints: device.hints,
    durable: device.durable,
    read: (target, offsetBytes) => fit.read(target, offsetBytes),
    write: (source, offsetBytes, flags) =>
      inTurn(source.byteLength, offsetBytes, () => fit.write(source, offsetBytes, flags)),
    flush: () => device.flush(),
    zero: (lengthBytes, offsetBytes, flags) =>
      inTurn(lengthBytes, offsetBytes, () => fit.zero(lengthBytes, offsetBytes, flags)),
    trim: (lengthBytes, offsetBytes, flags) => fit.trim(lengthBytes, offsetBytes, flags),
    extents: (lengthBytes, offsetBytes, limit) => fit.extents(lengthBytes, offsetBytes, limit),
    [Symbol.asyncDispose]: () => device[Symbol.asyncDispose](),
  };
}
