/** Epochs of a device that nobody tracks: each one is found by comparing all of it. */
import type { Clock } from '../../../core/index.ts';
import type { Device } from '../../../device/index.ts';
import type { CutEpoch, EpochSource } from './keep.ts';
import type { EpochRequest } from './send-epoch.ts';

/** Borrows the device, which should not be written to while an epoch is read. */
export function comparedSource(
  device: Device,
  clock: Clock,
  onProgress?: EpochRequest['onProgress'],
): EpochSource {
  return {
    sizeBytes: device.sizeBytes,
    async cut(): Promise<CutEpoch> {
      return {
        device,
        changed: 'compare',
        wallMs: clock.wallMs(),
        ...(onProgress && { onProgress }),
        acknowledged: async () => undefined,
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  };
}
