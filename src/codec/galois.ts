/** Arithmetic in GF(2^8) with the polynomial 0x11d and the generator 2, four symbols at a time. */
import assert from 'node:assert/strict';

const POLYNOMIAL = 0x11d;

/** Non-zero elements: powers of the generator repeat after so many. */
export const FIELD_ORDER = 255;

/** `powers[n]` is 2^n, twice around, so that sums of two logarithms need no modulus. */
const powers = new Uint8Array(2 * FIELD_ORDER);
const logarithms = new Uint8Array(256);
for (let n = 0, element = 1; n < FIELD_ORDER; n++) {
  powers[n] = element;
  powers[n + FIELD_ORDER] = element;
  logarithms[element] = n;
  element <<= 1;
  if (element > 255) element ^= POLYNOMIAL;
}

/** 2 to the power of `exponent`. */
export function power(exponent: number): number {
  return powers[exponent % FIELD_ORDER]!;
}

export function product(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : powers[logarithms[a]! + logarithms[b]!]!;
}

export function inverse(a: number): number {
  assert(a !== 0, 'zero has no inverse');
  return powers[FIELD_ORDER - logarithms[a]!]!;
}

/** Products of one factor with each element, at each of the four places of a word. */
export type Products = readonly [Int32Array, Int32Array, Int32Array, Int32Array];

const known = new Map<number, Products>();

/** 4 KiB for each of 255 factors at most. */
export function productsWith(factor: number): Products {
  let products = known.get(factor);
  if (products === undefined) {
    products = [0, 8, 16, 24].map((shift) =>
      Int32Array.from({ length: 256 }, (_, element) => product(factor, element) << shift),
    ) as unknown as Products;
    known.set(factor, products);
  }
  return products;
}

/** `sum = sum * factor + add`, symbol by symbol. */
export function multiplyThenAdd(
  sum: Int32Array,
  [p0, p1, p2, p3]: Products,
  add: Int32Array,
): void {
  for (let at = 0; at < sum.length; at++) {
    const word = sum[at]!;
    sum[at] =
      add[at]! ^
      p0[word & 255]! ^
      p1[(word >>> 8) & 255]! ^
      p2[(word >>> 16) & 255]! ^
      p3[word >>> 24]!;
  }
}

/** `sum = sum + add * factor`, symbol by symbol. */
export function addProduct(sum: Int32Array, [p0, p1, p2, p3]: Products, add: Int32Array): void {
  for (let at = 0; at < sum.length; at++) {
    const word = add[at]!;
    sum[at]! ^=
      p0[word & 255]! ^ p1[(word >>> 8) & 255]! ^ p2[(word >>> 16) & 255]! ^ p3[word >>> 24]!;
  }
}

/** The inverse of a square matrix that has one; rows of elements. */
export function invertMatrix(matrix: readonly (readonly number[])[]): number[][] {
  const size = matrix.length;
  // Gauss-Jordan on the matrix with the identity beside it.
  const rows = matrix.map((row, at) => [...row, ...row.map((_, column) => +(column === at))]);
  for (let at = 0; at < size; at++) {
    const pivot = rows.findIndex((row, number) => number >= at && row[at] !== 0);
    assert(pivot >= 0, 'the matrix has no inverse');
    [rows[at], rows[pivot]] = [rows[pivot]!, rows[at]!];
    const scale = inverse(rows[at]![at]!);
    rows[at] = rows[at]!.map((element) => product(element, scale));
    for (const [number, row] of rows.entries()) {
      const factor = row[at]!;
      if (number === at || factor === 0) continue;
      rows[number] = row.map((element, column) => element ^ product(factor, rows[at]![column]!));
    }
  }
  return rows.map((row) => row.slice(size));
}
