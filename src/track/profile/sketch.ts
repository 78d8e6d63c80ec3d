/**
 * Counts of all regions in a fixed room, never too low: a count-min sketch (Cormode and
 * Muthukrishnan, 2005) with conservative update (Estan and Varghese, 2002).
 */
import { SKETCH_ROWS, SKETCH_WIDTH } from './limits.ts';
import { mixed } from './profile-shape.ts';

export const READS = 0;
export const WRITES = 1;
/** Reads or writes. */
export type Kind = typeof READS | typeof WRITES;

export class Sketch {
  /** Rows of cells, each of two counts. */
  readonly cells = new Float32Array(SKETCH_ROWS * SKETCH_WIDTH * 2);

  /** At least what was added of this kind for the region. */
  estimate(region: number, kind: Kind): number {
    const first = mixed(region);
    const step = mixed(first ^ 0x9e3779b9) | 1;
    let least = Number.POSITIVE_INFINITY;
    for (let row = 0; row < SKETCH_ROWS; row++) {
      const value = this.cells[cellOf(row, first, step) + kind]!;
      if (value < least) least = value;
    }
    return least;
  }

  /** Answers the new estimate. Only cells that would be too low are raised. */
  add(region: number, kind: Kind, amount: number): number {
    const wanted = this.estimate(region, kind) + amount;
    const first = mixed(region);
    const step = mixed(first ^ 0x9e3779b9) | 1;
    for (let row = 0; row < SKETCH_ROWS; row++) {
      const cell = cellOf(row, first, step) + kind;
      if (this.cells[cell]! < wanted) this.cells[cell] = wanted;
    }
    return wanted;
  }

  scale(factor: number): void {
    for (let at = 0; at < this.cells.length; at++) this.cells[at]! *= factor;
  }
}

/** Two hashes are as good as one for each row (Kirsch and Mitzenmacher, 2006). */
function cellOf(row: number, first: number, step: number): number {
  const column = (first + Math.imul(row, step)) & (SKETCH_WIDTH - 1);
  return (row * SKETCH_WIDTH + column) * 2;
}
