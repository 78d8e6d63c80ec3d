/** Goal: what is learned elsewhere is found under its numbers, and moves to others as it should. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sha256 } from '../core/index.ts';
import { runJob } from './jobs.ts';
import { LEFT_OUT } from './learn.ts';
import { SimilarTable } from './similar.ts';

const CHUNK = 16 * 1024;

function noise(seed: number): Uint8Array {
  const parts = Array.from({ length: CHUNK / 32 }, (_, at) =>
    sha256(Uint8Array.of(seed, at, at >> 8)),
  );
  return Uint8Array.from(Buffer.concat(parts));
}

function learned(table: SimilarTable, first: number, seeds: readonly number[]): void {
  const memory = new SharedArrayBuffer(seeds.length * CHUNK);
  const all = new Uint8Array(memory);
  for (const [at, seed] of seeds.entries()) all.set(noise(seed), at * CHUNK);
  const parts = Uint32Array.from(seeds.flatMap((_, at) => [at * CHUNK, CHUNK]));
  runJob<'learn'>({ kind: 'learn', memory, parts, table: table.memory, first });
}

function found(table: SimilarTable, seed: number): number[] {
  const memory = new SharedArrayBuffer(CHUNK);
  new Uint8Array(memory).set(noise(seed));
  const chunks = [{ memory, at: 0, lengthBytes: CHUNK }];
  return runJob<'match'>({ kind: 'match', chunks, tables: [table.memory], limit: 8 })[0]!;
}

test('parts are found under consecutive numbers, by all who see the memory of the table', () => {
  const table = SimilarTable.for(2 ** 20);
  learned(table, 70, [1, 2, 3]);
  assert.deepEqual(
    [1, 2, 3, 4].map((seed) => found(table, seed)),
    [[70], [71], [72], []],
  );
  assert.equal(table.count, (3 * CHUNK) / 1024);
});

test('samples move under the numbers that are meant, and stop where the other table is full', () => {
  const from = SimilarTable.for(2 ** 20);
  learned(from, 100, [1, 2, 3]);
  const to = SimilarTable.for(CHUNK);
  const numbers = Uint32Array.of(5, LEFT_OUT, 6);
  const { memory } = to;
  const job = { kind: 'merge', from: from.memory, to: memory, numbers, first: 100 } as const;
  const slots = 2 ** from.slotsLog2;
  assert.deepEqual(runJob<'merge'>({ ...job, slot: 0, slots: 256 }).slot, 256);
  const { slot } = runJob<'merge'>({ ...job, slot: 256, slots: Infinity });
  assert.equal(slot, slots);
  assert.deepEqual(
    [1, 2, 3].map((seed) => found(to, seed)),
    [[5], [], [6]],
  );

  for (let seed = 10; !to.isFull; seed += 1) learned(to, 7, [seed]);
  const { count } = to;
  const full = runJob<'merge'>({ ...job, slot: 0, slots: Infinity });
  assert.ok(full.slot < slots && full.count === 0 && to.count === count && to.thinning === 1);
});
