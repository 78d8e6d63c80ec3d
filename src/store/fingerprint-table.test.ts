/** Goal: the fingerprint table finds what a plain list finds, however much collides. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  FINGERPRINT_BYTES,
  FingerprintTable,
  type PackPart,
  sortingMemory,
} from './fingerprint-table.ts';

type Entry = { prefix: number; checksum: number; pack: number; ordinal: number };

function found(table: FingerprintTable, prefix: number, checksum?: number): string[] {
  const hits: string[] = [];
  table.candidates(prefix, checksum, (pack, ordinal) => {
    hits.push(`${pack}:${ordinal}`);
    return false;
  });
  return hits.sort();
}

function check(entries: readonly Entry[], table: FingerprintTable): void {
  assert.equal(table.count, entries.length);
  const names = (list: readonly Entry[]) => list.map((e) => `${e.pack}:${e.ordinal}`).sort();
  for (const { prefix, checksum } of entries.slice(0, 200)) {
    const alike = entries.filter((entry) => entry.prefix === prefix);
    assert.deepEqual(found(table, prefix), names(alike));
    const same = alike.filter((entry) => entry.checksum === checksum);
    assert.deepEqual(found(table, prefix, checksum), names(same));
    assert.deepEqual(
      found(table, prefix, (checksum + 1) >>> 0),
      names(alike.filter((entry) => entry.checksum === (checksum + 1) >>> 0)),
    );
  }
}

/** At an odd address: segments are not aligned. */
function partOf({ prefix, checksum, pack, ordinal }: Entry): PackPart {
  const bytes = new Uint8Array(1 + FINGERPRINT_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(1, prefix, true);
  view.setUint32(5, checksum, true);
  return { pack, firstOrdinal: ordinal, fingerprints: bytes.subarray(1) };
}

const u32 = fc.oneof(fc.nat(3), fc.integer({ min: 0, max: 0xffffffff }), fc.constant(0xffffffff));

test('every entry is found, with or without its checksum, and nothing else is', () =>
  fc.assert(
    fc.property(
      fc.array(fc.record({ prefix: u32, checksum: u32, pack: fc.nat(9), ordinal: fc.nat(99) })),
      (entries) => {
        const table = new FingerprintTable();
        for (const { prefix, checksum, pack, ordinal } of entries) {
          table.add(prefix, checksum, pack, ordinal);
        }
        check(entries, table);
        assert.deepEqual(found(table, 12345), []);
        const together = new FingerprintTable();
        together.addAll(entries.map(partOf), sortingMemory(entries.length));
        check(entries, together);
      },
    ),
  ));

test('the table grows, by itself and on request, without losing anything', () => {
  for (const reserve of [0, 10_000]) {
    const table = new FingerprintTable(reserve / 2);
    table.reserve(reserve);
    const entries: Entry[] = [];
    for (let at = 0; at < 5000; at++) {
      const entry = { prefix: (at * 7919) % 3000, checksum: at % 5, pack: at % 11, ordinal: at };
      table.add(entry.prefix, entry.checksum, entry.pack, entry.ordinal);
      entries.push(entry);
    }
    check(entries, table);
  }
});

test('a visitor that has enough is not asked again', () => {
  const table = new FingerprintTable();
  for (let at = 0; at < 5; at++) table.add(1, 1, 0, at);
  let asked = 0;
  table.candidates(1, 1, () => ++asked === 2);
  assert.equal(asked, 2);
});

test('a large table grows beside the old one, within 24 bytes per entry and some', () => {
  const table = new FingerprintTable();
  const first = 3_000_000;
  table.reserve(first);
  const prefixOf = (at: number) => Math.imul(at, 0x85ebca6b) >>> 0;
  for (let at = 0; at < first; at++) table.add(prefixOf(at), at, 1, at);
  assert(table.sizeBytes <= first * 24, `${table.sizeBytes} bytes`);
  const before = table.sizeBytes;
  for (let at = first; at < first + 1_000_000; at++) table.add(prefixOf(at), at, 2, at);
  assert(table.sizeBytes > before);
  for (const at of [0, 1, first - 1, first, first + 999_999]) {
    assert.deepEqual(found(table, prefixOf(at), at), [`${at < first ? 1 : 2}:${at}`]);
  }
  assert.deepEqual(found(table, prefixOf(0), 1), []);
});

test('very many that are alike are all found, those beside them too, and growing loses none', () => {
  const table = new FingerprintTable();
  const alike = 200_000;
  // One behind the other they would take 20,000,000,000 steps.
  for (let at = 0; at < alike; at++) table.add(7, 1, 1, at);
  const words = Uint32Array.from({ length: alike * 2 }, (_, at) => (at % 2 === 0 ? 7 : 2));
  const fingerprints = new Uint8Array(words.buffer);
  const halfBytes = fingerprints.byteLength / 2;
  for (const from of [0, halfBytes]) {
    const part = fingerprints.subarray(from, from + halfBytes);
    const firstOrdinal = from / FINGERPRINT_BYTES;
    table.addAll([{ pack: 2, firstOrdinal, fingerprints: part }], sortingMemory(alike / 2));
  }
  for (let at = 0; at < 3000; at++) table.add(7 + at, 9, 4, at);
  assert.equal(table.count, 2 * alike + 3000);
  for (const checksum of [1, 2]) {
    let sum = 0;
    table.candidates(7, checksum, (pack, ordinal) => {
      sum += pack === checksum ? ordinal : Number.NaN;
      return false;
    });
    assert.equal(sum, (alike * (alike - 1)) / 2);
  }
  for (const at of [0, 1, 2, 500, 2999]) assert.deepEqual(found(table, 7 + at, 9), [`4:${at}`]);
});
