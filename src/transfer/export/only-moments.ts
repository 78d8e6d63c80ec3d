/** Stands for a volume that is being exported: it is read only through moments. */
import {
  type Answer,
  anyBlockSizes,
  type Device,
  DeviceError,
  type DeviceExtent,
} from '../../device/index.ts';
import type { RunningExport } from './running-export.ts';

/** Has the size; refuses everything else, with the reason. */
export function onlyMoments({ volume, sizeBytes }: RunningExport): Device {
  const refuse = (): never => {
    const message = `${volume} is being exported, and its export has given no moment to read`;
    throw new DeviceError('DEVICE_CLOSED', message, {
      hint: 'Read above why; stop the export, or wait, and try again.',
    });
  };
  return {
    name: `export:${volume}`,
    sizeBytes,
    blockSizes: anyBlockSizes,
    readOnly: true,
    hints: { rotational: false, fastZero: false },
    durable: false,
    read: (): Answer => refuse(),
    write: (): Answer => refuse(),
    flush: (): Answer => undefined,
    zero: (): Answer => refuse(),
    trim: (): Answer => refuse(),
    extents: (): Answer<DeviceExtent[]> => refuse(),
    [Symbol.asyncDispose]: async () => undefined,
  };
}
