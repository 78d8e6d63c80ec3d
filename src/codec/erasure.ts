/**
 * Reed-Solomon over rows of equal length: as many rows as are parity can be computed from all
 * others, wherever they stand. Making parity is the same: its rows are the ones that are absent.
 */
import assert from 'node:assert/strict';
import {
  addProduct,
  FIELD_ORDER,
  invertMatrix,
  multiplyThenAdd,
  power,
  productsWith,
} from './galois.ts';

/** Data and parity together: each row is the coefficient of another power of the generator. */
export const ERASURE_ROWS_MAX = FIELD_ORDER;

/** Columns are worked on in parts that stay in the cache of a processor. */
const PART_WORDS = 4096;

/**
 * Rows r = 0, 1, … of n, the last `parity` of them parity, are such that for each j below `parity`
 * the sum of row r times 2^(j (n - 1 - r)) is zero. Fills the rows `absent`, at most `parity`, in
 * place; what was in them does not matter.
 */
export function fillRows(
  rows: readonly Int32Array[],
  absent: readonly number[],
  parity: number,
): void {
  const last = rows.length - 1;
  assert(rows.length <= ERASURE_ROWS_MAX && absent.length <= parity && parity < rows.length);
  if (absent.length === 0) return;
  const isAbsent = new Set(absent);
  const factors = absent.map((_, j) => productsWith(power(j)));
  // Sum over absent rows r of row r × 2^(j (n-1-r)) = sum over the others, for each j.
  const matrix = absent.map((_, j) => absent.map((row) => power(j * (last - row))));
  const solution = invertMatrix(matrix).map((row) => row.map(productsWith));
  const length = rows[0]!.length;
  for (let from = 0; from < length; from += PART_WORDS) {
    const to = Math.min(length, from + PART_WORDS);
    const zeroes = new Int32Array(to - from);
    const sums = absent.map(() => new Int32Array(to - from));
    for (const [number, row] of rows.entries()) {
      const part = isAbsent.has(number) ? zeroes : row.subarray(from, to);
      for (const [j, sum] of sums.entries()) multiplyThenAdd(sum, factors[j]!, part);
    }
    for (const [at, number] of absent.entries()) {
      const part = rows[number]!.subarray(from, to).fill(0);
      for (const [j, sum] of sums.entries()) addProduct(part, solution[at]![j]!, sum);
    }
  }
}
