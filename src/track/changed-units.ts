/** Ranges in any order, collected in bounded memory, and given back ascending and joined. */
import { Bitmap, type Extent } from '../core/index.ts';

/** 32 MiB of bits: of a volume beyond 1 TiB larger units are kept. */
const UNITS_MAX = 2 ** 28;
const UNIT_BYTES_MIN = 4096;

export class ChangedUnits implements Iterable<Extent> {
  readonly #sizeBytes: number;
  readonly #unitBytes: number;
  readonly #units: Bitmap;

  constructor(sizeBytes: number) {
    let unitBytes = UNIT_BYTES_MIN;
    while (sizeBytes / unitBytes > UNITS_MAX) unitBytes *= 2;
    this.#sizeBytes = sizeBytes;
    this.#unitBytes = unitBytes;
    this.#units = new Bitmap(Math.ceil(sizeBytes / unitBytes));
  }

  /** What lies beyond the volume is left out. */
  add({ offsetBytes, lengthBytes }: Extent): void {
    const end = Math.min(this.#sizeBytes, offsetBytes + lengthBytes);
    if (end <= offsetBytes) return;
    const first = Math.floor(offsetBytes / this.#unitBytes);
    this.#units.setRange(first, Math.ceil(end / this.#unitBytes) - first);
  }

  *[Symbol.iterator](): Iterator<Extent> {
    const { size } = this.#units;
    for (let from = this.#units.nextSet(0); from < size; ) {
      const to = this.#units.nextClear(from);
      const offsetBytes = from * this.#unitBytes;
      const end = Math.min(this.#sizeBytes, to * this.#unitBytes);
      yield { offsetBytes, lengthBytes: end - offsetBytes };
      from = this.#units.nextSet(to);
    }
  }
}
