/** What a device tells that knows which of its blocks were written since some moment. */
import type { Answer } from './device.ts';

/** A run of bytes: `isDirty` if any of them may have changed. */
export type ChangeExtent = { readonly lengthBytes: number; readonly isDirty: boolean };

export interface Tracking {
  /** The moments that can be asked about, oldest first: safe integers, none twice. */
  epochs(): readonly number[];
  /**
   * Describes a prefix of the range, of any alignment: at least one extent, at most `limit`, in
   * order and without gaps. Dirty is all that may differ from what was there when the epoch began,
   * possibly more, never less. DEVICE_UNSUPPORTED if the epoch is not known any more: whoever asks
   * must then take everything for dirty.
   */
  changes(
    epoch: number,
    lengthBytes: number,
    offsetBytes: number,
    limit: number,
  ): Answer<readonly ChangeExtent[]>;
}
