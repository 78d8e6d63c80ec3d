/** In what a snapshot differs from an earlier one, as a device tells it to NBD clients. */
import { type ChangeExtent, DeviceError, type Tracking } from '../device/index.ts';
import { diffTrees } from './diff.ts';
import { type Snapshot, treeOf } from './snapshot.ts';
import type { TreeReader } from './tree-reader.ts';

/** The one moment that can be asked about: the context is `ferry:dirty/1`. */
const EPOCH = 1;

/** Dirty is what is not as in `older`. Each question begins anew, at its own offset. */
export function snapshotTracking(reader: TreeReader, older: Snapshot, newer: Snapshot): Tracking {
  return {
    epochs: () => [EPOCH],
    async changes(epoch, lengthBytes, offsetBytes, limit) {
      if (epoch !== EPOCH) {
        throw new DeviceError('DEVICE_UNSUPPORTED', `${newer.volume} knows no epoch ${epoch}`, {
          hint: `Ask for epoch ${EPOCH}.`,
        });
      }
      const runs = new Runs(lengthBytes, offsetBytes, limit);
      for await (const extent of diffTrees(reader, treeOf(older), treeOf(newer), offsetBytes)) {
        if (extent.offsetBytes >= offsetBytes + lengthBytes || runs.isFull) break;
        runs.add(extent.offsetBytes, false);
        runs.add(extent.offsetBytes + extent.lengthBytes, true);
      }
      runs.add(offsetBytes + lengthBytes, false);
      return runs.extents;
    },
  };
}

/** Runs of alternating kinds, clipped to a range; data and zeroes that touch are one dirty run. */
class Runs {
  readonly extents: ChangeExtent[] = [];
  readonly #endBytes: number;
  readonly #limit: number;
  #atBytes: number;

  constructor(lengthBytes: number, offsetBytes: number, limit: number) {
    this.#atBytes = offsetBytes;
    this.#endBytes = offsetBytes + lengthBytes;
    this.#limit = limit;
  }

  /** Nothing more is taken. */
  get isFull(): boolean {
    return this.#atBytes >= this.#endBytes;
  }

  add(toBytes: number, isDirty: boolean): void {
    const lengthBytes = Math.min(toBytes, this.#endBytes) - this.#atBytes;
    if (lengthBytes <= 0) return;
    const last = this.extents.at(-1);
    if (last?.isDirty === isDirty) {
      const grown = { lengthBytes: last.lengthBytes + lengthBytes, isDirty };
      this.extents[this.extents.length - 1] = grown;
    } else if (this.extents.length < this.#limit) this.extents.push({ lengthBytes, isDirty });
    else {
      // What lies behind a gap in the answer would be taken for its continuation.
      this.#atBytes = this.#endBytes;
      return;
    }
    this.#atBytes += lengthBytes;
  }
}
