/** Goal: rows that are absent are computed from all others, whichever they are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ERASURE_ROWS_MAX, fillRows } from './erasure.ts';
import { inverse, invertMatrix, power, product } from './galois.ts';

/** Shift and add, as the field is defined. */
function slowProduct(a: number, b: number): number {
  let result = 0;
  for (let bit = 0; bit < 8; bit++) {
    if ((b >>> bit) & 1) result ^= a << bit;
  }
  for (let bit = 15; bit >= 8; bit--) if ((result >>> bit) & 1) result ^= 0x11d << (bit - 8);
  return result;
}

test('products of all elements are those of the polynomial 0x11d', () => {
  for (let a = 0; a < 256; a++) {
    for (let b = 0; b < 256; b++) assert.equal(product(a, b), slowProduct(a, b), `${a} × ${b}`);
    if (a > 0) assert.equal(product(a, inverse(a)), 1);
  }
});

test('a matrix times its inverse is the identity, also when rows must be swapped', () => {
  const matrix = [
    [0, 1, 7],
    [3, 0, 1],
    [1, 1, 0],
  ];
  const inverted = invertMatrix(matrix);
  for (const [at, row] of matrix.entries()) {
    for (let column = 0; column < 3; column++) {
      const sum = row.reduce((all, each, k) => all ^ product(each, inverted[k]![column]!), 0);
      assert.equal(sum, at === column ? 1 : 0);
    }
  }
});

function madeRows(count: number, parity: number, words: number, seed: number): Int32Array[] {
  const rows = Array.from({ length: count }, (_, row) =>
    Int32Array.from({ length: words }, (_, at) => Math.imul(seed + row * 7919 + at, 0x9e3779b1)),
  );
  const absent = Array.from({ length: parity }, (_, at) => count - parity + at);
  fillRows(rows, absent, parity);
  return rows;
}

test('any rows, as many as are parity, are computed from all others', () => {
  const shape = fc
    .record({ data: fc.integer({ min: 1, max: 40 }), parity: fc.integer({ min: 1, max: 12 }) })
    .chain(({ data, parity }) =>
      fc.record({
        data: fc.constant(data),
        parity: fc.constant(parity),
        absent: fc.uniqueArray(fc.integer({ min: 0, max: data + parity - 1 }), {
          maxLength: parity,
        }),
        seed: fc.integer(),
      }),
    );
  fc.assert(
    fc.property(shape, ({ data, parity, absent, seed }) => {
      const rows = madeRows(data + parity, parity, 17, seed);
      const damaged = rows.map((row, at) =>
        absent.includes(at) ? row.map((x) => ~x) : row.slice(),
      );
      fillRows(damaged, absent, parity);
      assert.deepEqual(damaged, rows);
    }),
    { numRuns: 200 },
  );
});

test('as many rows as the field allows, in more columns than one part, and the sums are zero', () => {
  const rows = madeRows(ERASURE_ROWS_MAX, 3, 4099, 5);
  for (let j = 0; j < 3; j++) {
    let sum = 0;
    for (const [row, words] of rows.entries()) {
      sum ^= product(words[4098]! & 255, power(j * (ERASURE_ROWS_MAX - 1 - row)));
    }
    assert.equal(sum, 0);
  }
  const damaged = rows.map((row, at) => ([0, 100, 254].includes(at) ? row.map(() => 0) : row));
  fillRows(damaged, [254, 0, 100], 3);
  assert.deepEqual(damaged, rows);
});
