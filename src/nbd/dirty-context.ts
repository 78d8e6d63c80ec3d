/** `ferry:dirty/<epoch>`: what a device that tracks its changes tells NBD clients about them. */
import { hasCode } from '../core/index.ts';
import type { Device, Tracking } from '../device/index.ts';
import { STATUS_DIRTY } from './constants.ts';
import type { MetaContext } from './exports.ts';
import { DIRTY_CONTEXTS_MAX } from './limits.ts';

const DIRTY_PREFIX = 'ferry:dirty/';

/** Newest first, since a list of contexts may be cut short; any can be asked for by name. */
export function dirtyContexts({ tracking }: Device): MetaContext[] {
  if (tracking === undefined) return [];
  const epochs = tracking.epochs().slice(-DIRTY_CONTEXTS_MAX);
  return epochs.reverse().map((epoch) => dirtyContext(tracking, epoch));
}

function dirtyContext(tracking: Tracking, epoch: number): MetaContext {
  return {
    name: `${DIRTY_PREFIX}${epoch}`,
    async status(lengthBytes, offsetBytes, limit) {
      try {
        const extents = await tracking.changes(epoch, lengthBytes, offsetBytes, limit);
        return extents.map((extent) => ({
          lengthBytes: extent.lengthBytes,
          flags: extent.isDirty ? STATUS_DIRTY : 0,
        }));
      } catch (error) {
        // Forgotten since the client chose it; an error would take its other contexts along.
        if (!hasCode(error, 'DEVICE_UNSUPPORTED')) throw error;
        return [{ lengthBytes, flags: STATUS_DIRTY }];
      }
    },
  };
}
