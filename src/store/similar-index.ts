/** Samples of the content of stored chunks, by which those are found that resemble new ones. */
import { SimilarTable } from '../codec/index.ts';
import type { ChunkIndex, Location } from './chunk-index.ts';
import { mayBeParent } from './parent-choice.ts';

/** Chunks that may be remembered, by numbers from 0 on; at 8 bytes each that is 8 MiB. */
const CHUNKS_MAX = 2 ** 20;

/** What is remembered of an id: another chunk with the same beginning would be a worse parent. */
const BEGINNING_BYTES = 8;

export class SimilarIndex {
  readonly #index: ChunkIndex;
  readonly #table: SimilarTable;
  #beginnings = new Uint8Array(64 * BEGINNING_BYTES);
  #count = 0;

  /** Of a volume of that size, of which all comes in or perhaps little. */
  constructor(index: ChunkIndex, sizeBytes: number, { isWhole }: { isWhole: boolean }) {
    this.#index = index;
    this.#table = isWhole ? SimilarTable.for(sizeBytes) : SimilarTable.growing(sizeBytes);
  }

  get parentsMax(): number {
    return this.#index.patchLimits.parentsMax;
  }

  /** For `match` jobs. */
  get memory(): SharedArrayBuffer {
    return this.#table.memory;
  }

  /** Remembers a stored chunk by its samples. */
  add(id: Uint8Array, samples: Uint32Array): void {
    let number: number | undefined;
    for (const sample of samples) {
      if (!this.#table.wants(sample)) continue;
      number ??= this.#numberOf(id);
      if (number === undefined) return;
      this.#table.add(sample, number);
    }
  }

  #numberOf(id: Uint8Array): number | undefined {
    if (this.#count >= CHUNKS_MAX) return undefined;
    const number = this.#count++;
    const at = number * BEGINNING_BYTES;
    if (at === this.#beginnings.byteLength) {
      const wider = new Uint8Array(at * 2);
      wider.set(this.#beginnings);
      this.#beginnings = wider;
    }
    this.#beginnings.set(id.subarray(0, BEGINNING_BYTES), at);
    return number;
  }

  /** The chunks that can be read now and be parents, in the same order. */
  async locations(numbers: readonly number[]): Promise<Location[]> {
    const found: Location[] = [];
    for (const number of numbers) {
      if (number >= this.#count) continue; // Read while the table was being written.
      const at = number * BEGINNING_BYTES;
      const beginning = this.#beginnings.slice(at, at + BEGINNING_BYTES);
      const { depthMax } = this.#index.patchLimits;
      const copies = await this.#index.findBeginning(beginning, undefined, depthMax);
      const copy = copies.find(
        (each) => mayBeParent(each, depthMax) && !this.#index.isCondemned(each.pack), // Soon gone.
      );
      if (copy !== undefined) found.push(copy);
    }
    return found;
  }
}
