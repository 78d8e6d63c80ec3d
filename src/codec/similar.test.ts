/** Similar chunks: what is planted is found, whatever else there is; odd data stays bounded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  findSimilar,
  SAMPLE_STEP_BYTES,
  SIMILAR_TABLE_BYTES,
  SimilarTable,
  samplesPerChunk,
  takeSamples,
} from './similar.ts';

const CHUNK = 64 * 1024;

/** Bytes that repeat nowhere (xorshift32, Marsaglia 2003). */
function noise(lengthBytes: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let state = (seed * 0x9e3779b1 + 1) | 0;
  for (let at = 0; at < lengthBytes; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state >>> 8;
  }
  return bytes;
}

function remember(table: SimilarTable, chunk: Uint8Array, number: number): void {
  const samples = new Uint32Array(samplesPerChunk(chunk.byteLength));
  takeSamples(chunk, samples);
  for (const sample of samples) table.add(sample, number);
}

test('a chunk that holds a shifted part of another one, long enough, leads to it', () => {
  const stored = Array.from({ length: 8 }, (_, number) => noise(CHUNK, number + 1));
  const table = SimilarTable.for(2 ** 30);
  for (const [number, chunk] of stored.entries()) remember(table, chunk, number);
  fc.assert(
    fc.property(
      fc.nat(stored.length - 1),
      fc.nat(CHUNK / 2),
      fc.integer({ min: -CHUNK / 4, max: CHUNK / 4 }),
      (number, from, shift) => {
        const chunk = noise(CHUNK, 1000);
        const at = Math.max(0, Math.min(CHUNK / 2, from + shift));
        chunk.set(stored[number]!.subarray(from, from + CHUNK / 2), at);
        const found = findSimilar(chunk, [table], 4);
        if (isProbed(at, CHUNK / 2) || found.length > 0) assert.deepEqual(found, [number]);
      },
    ),
    { numRuns: 60 },
  );
});

/** The probe looks at an eighth and at five eighths of the chunk. */
function isProbed(at: number, lengthBytes: number): boolean {
  return [CHUNK / 8, (5 * CHUNK) / 8].some((place) => {
    const reach = SAMPLE_STEP_BYTES + 32;
    return at <= place && at + lengthBytes >= place + reach;
  });
}

test('pages from many chunks lead to those that have most of it, each with something new', () => {
  const page = 4096;
  const table = SimilarTable.for(2 ** 30);
  const stored = Array.from({ length: 6 }, (_, number) => noise(CHUNK, number + 20));
  for (const [number, chunk] of stored.entries()) remember(table, chunk, number);
  // As in a write-ahead log: a head of 24 bytes before each page.
  const log = noise(CHUNK, 99);
  const origins = [3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 1, 1, 1, 0, 0];
  for (const [place, number] of origins.entries()) {
    const from = place * page;
    log.set(stored[number]!.subarray(from, from + page), place * (page + 24) + 56);
  }
  assert.deepEqual(findSimilar(log, [table], 3), [3, 5, 1]);
  assert.deepEqual(findSimilar(log, [table], 8), [3, 5, 1, 0]);
});

test('a candidate with less than a sixteenth of a chunk to itself is not worth a frame', () => {
  const table = SimilarTable.for(2 ** 30);
  const [most, little] = [noise(CHUNK, 31), noise(CHUNK, 32)];
  remember(table, most, 1);
  remember(table, little, 2);
  for (const [kib, expected] of [
    [3, [1]],
    [5, [1, 2]],
  ] as const) {
    const chunk = noise(CHUNK, 33);
    chunk.set(most.subarray(0, CHUNK / 2));
    chunk.set(little.subarray(CHUNK / 2, CHUNK / 2 + kib * 1024), CHUNK / 2);
    assert.deepEqual(findSimilar(chunk, [table], 4), expected);
  }
  // Of a chunk of 4 KiB each of its four samples is a quarter.
  const small = noise(4096, 34);
  small.set(little.subarray(0, 2048));
  assert.deepEqual(findSimilar(small, [table], 4), [2]);
});

test('what many chunks have in common leads nowhere, nor do zeroes and repeated bytes', () => {
  const table = SimilarTable.for(2 ** 30);
  const common = noise(CHUNK, 7);
  remember(table, common, 1);
  remember(table, common, 2);
  assert.deepEqual(findSimilar(common, [table], 4), []);
  const before = table.count;
  for (const value of [0, 1, 255]) remember(table, new Uint8Array(CHUNK).fill(value), 3 + value);
  assert.equal(table.count, before);
  assert.deepEqual(findSimilar(new Uint8Array(CHUNK), [table], 4), []);
});

test('a table for little content is small', () => {
  assert(SimilarTable.for(0).memory.byteLength < 10_000);
  assert(SimilarTable.for(2 ** 53).memory.byteLength === SIMILAR_TABLE_BYTES);
});

test('a table grows with what is remembered, up to what the content may come to', () => {
  const small = SimilarTable.growing(0);
  const table = SimilarTable.growing(2 ** 53);
  assert(table.memory.byteLength < SIMILAR_TABLE_BYTES / 32);
  const chunks = Array.from({ length: 300 }, (_, number) => noise(CHUNK, number + 1));
  for (const [number, chunk] of chunks.entries()) {
    remember(table, chunk, number);
    remember(small, chunk, number);
  }
  assert(table.count > 299 * samplesPerChunk(CHUNK), `${table.count} samples`);
  assert(!table.isFull && table.memory.byteLength < SIMILAR_TABLE_BYTES);
  for (const [number, chunk] of chunks.entries()) {
    assert.deepEqual(findSimilar(chunk, [table], 1), [number]);
    // As jobs see it.
    assert.deepEqual(findSimilar(chunk, [new SimilarTable(table.memory)], 1), [number]);
  }
  assert(small.memory.byteLength < 10_000);
});

test('who looks something up in a table that grows finds what was in it', () => {
  const table = SimilarTable.growing(2 ** 30);
  const chunk = noise(CHUNK, 1);
  remember(table, chunk, 7);
  const before = new SimilarTable(table.memory);
  for (let number = 100; number < 300; number++) remember(table, noise(CHUNK, number), number);
  assert.notEqual(table.memory, before.memory);
  for (const each of [table, before]) assert.deepEqual(findSimilar(chunk, [each], 1), [7]);
});

test('any bytes of any length are taken and looked up', () => {
  const table = SimilarTable.for(2 ** 30);
  let number = 0;
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), fc.nat(200), (part, times) => {
      const chunk = new Uint8Array(Buffer.concat(new Array(times % 8).fill(part)));
      const found = findSimilar(chunk, [table], 4);
      assert(found.length <= 4 && new Set(found).size === found.length);
      assert(found.every((each) => each < number));
      remember(table, chunk, number++);
    }),
    { numRuns: 200 },
  );
});

test('a full table thins samples out, keeps its size, and still finds', () => {
  const table = SimilarTable.for(2 ** 30);
  const samples = new Uint32Array(1);
  for (let hash = 1; hash <= 1_200_000; hash++) {
    samples[0] = Math.imul(hash, 0x2545f491) >>> 0;
    table.add(samples[0], hash & 0xffff);
  }
  assert.equal(table.memory.byteLength, SIMILAR_TABLE_BYTES);
  assert(table.count <= SIMILAR_TABLE_BYTES / 16, `${table.count} samples`);
  const chunk = noise(CHUNK, 5);
  remember(table, chunk, 123_456);
  assert.deepEqual(findSimilar(chunk, [table], 1), [123_456]);
});

test('several tables answer as one; what is set is found in the newest that has it', () => {
  const [first, second] = [SimilarTable.for(2 ** 20), SimilarTable.for(2 ** 20)];
  const [one, two] = [noise(CHUNK, 1), noise(CHUNK, 2)];
  remember(first, one, 1);
  remember(second, two, 2);
  const both = noise(CHUNK, 3);
  both.set(one.subarray(0, CHUNK / 2), 0);
  both.set(two.subarray(CHUNK / 4, CHUNK / 2), CHUNK / 2);
  assert.deepEqual(findSimilar(both, [first, second], 4), [1, 2]);
  const samples = new Uint32Array(samplesPerChunk(CHUNK));
  takeSamples(one, samples);
  for (const sample of samples) first.set(sample, 7);
  assert.deepEqual(findSimilar(one, [first], 4), [7]);
  remember(first, one, 8); // Both have it: neither is found.
  assert.deepEqual(findSimilar(one, [first], 4), []);
  for (const sample of samples) first.set(sample, 9);
  assert.deepEqual(findSimilar(one, [first], 4), [9]);
});

test('what a table would find can be listed, slot by slot', () => {
  const table = SimilarTable.for(2 ** 16);
  const expected = new Map<number, number>();
  const samples = new Uint32Array(samplesPerChunk(CHUNK));
  takeSamples(noise(CHUNK, 1), samples);
  for (const [number, sample] of samples.entries()) {
    table.add(sample, number);
    expected.set(sample, number);
  }
  table.add(samples[5]!, 6);
  expected.delete(samples[5]!);
  const listed = new Map<number, number>();
  for (let from = 0; from < 2 ** table.slotsLog2; from += 100) {
    for (const [hash, number] of table.entries(from, 100)) listed.set(hash, number);
  }
  assert.deepEqual(listed, expected);
});
