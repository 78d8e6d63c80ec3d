/**
 * How much is in use: the last access of a sample of regions, chosen by hash (after SHARDS,
 * Waldspurger et al., 2015), one of each group of neighbours.
 */
import { mixed, type ProfileShape } from './profile-shape.ts';
import { type Kind, READS, WRITES } from './sketch.ts';

export class WorkingSet {
  /** For each sampled region the seconds of its last read and its last write; 0 for never. */
  readonly seconds: Uint32Array;
  readonly #shift: number;
  readonly #mask: number;
  readonly #regionBytes: number;

  constructor({ regionCount, regionBytes, sampleShift }: ProfileShape) {
    this.#shift = sampleShift;
    this.#mask = 2 ** sampleShift - 1;
    this.#regionBytes = regionBytes;
    this.seconds = new Uint32Array(2 * Math.ceil(regionCount / 2 ** sampleShift));
  }

  touch(region: number, kind: Kind, second: number): void {
    const group = region >>> this.#shift;
    if ((region & this.#mask) !== (mixed(group) & this.#mask)) return;
    this.seconds[2 * group + kind] = second;
  }

  /** Bytes of the regions that were accessed in or after a second, as far as the sample tells. */
  since(second: number): { readonly accessedBytes: number; readonly writtenBytes: number } {
    let accessed = 0;
    let written = 0;
    const from = Math.max(1, second);
    for (let at = 0; at < this.seconds.length; at += 2) {
      const isWritten = this.seconds[at + WRITES]! >= from;
      if (isWritten) written++;
      if (isWritten || this.seconds[at + READS]! >= from) accessed++;
    }
    const each = this.#regionBytes * (this.#mask + 1);
    return { accessedBytes: accessed * each, writtenBytes: written * each };
  }
}
