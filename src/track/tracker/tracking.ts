/** What NBD clients are told of a tracker's marks (`ferry:dirty/<epoch>`). */
import { type ChangeExtent, DeviceError, type Tracking } from '../../device/index.ts';
import type { DirtyMap } from './dirty-map.ts';
import { BLOCK_BYTES } from './limits.ts';
import type { Tracker } from './tracker.ts';

export function trackingOf(tracker: Tracker): Tracking {
  return {
    epochs: () => (tracker.abandoned === undefined ? tracker.epochsKept() : []),
    async changes(epoch, lengthBytes, offsetBytes, limit) {
      const map = await tracker.changes(epoch);
      if (map === undefined) {
        throw new DeviceError('DEVICE_UNSUPPORTED', `epoch ${epoch} is not known any more`, {
          hint: 'Take everything for changed, and ask about a later epoch the next time.',
        });
      }
      try {
        return extentsOf(map, lengthBytes, offsetBytes, limit);
      } finally {
        map.release();
      }
    },
  };
}

function extentsOf(
  map: DirtyMap,
  lengthBytes: number,
  offsetBytes: number,
  limit: number,
): ChangeExtent[] {
  const list: ChangeExtent[] = [];
  const endBytes = offsetBytes + lengthBytes;
  const end = Math.ceil(endBytes / BLOCK_BYTES);
  for (let at = offsetBytes; at < endBytes && list.length < limit; ) {
    const block = Math.floor(at / BLOCK_BYTES);
    const isDirty = map.test(block);
    const next = Math.min(endBytes, map.next(block, end, !isDirty) * BLOCK_BYTES);
    list.push({ lengthBytes: next - at, isDirty });
    at = next;
  }
  return list;
}
