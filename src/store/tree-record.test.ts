/**
 * Goal: tree records come back as they were, and hostile ones are refused or read within bounds.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ByteWriter, equalBytes, FerryError, FormatError, sha256, toHex } from '../core/index.ts';
import { plainPack } from './pack-seal.ts';
import { PackTable, RECORD_CHUNK } from './pack-table.ts';
import { TreeReader } from './tree-reader.ts';
import {
  ParsedTree,
  packTreeRecord,
  type TreeRecord,
  TreeRecordBuilder,
  treeSignatures,
  unpackTreeRecord,
} from './tree-record.ts';

function tableOf(ids: readonly Uint8Array[]): PackTable {
  const table = new PackTable(plainPack);
  for (const id of ids) table.add(RECORD_CHUNK, id, 0, 65536);
  return table;
}

const ids = Array.from({ length: 12 }, (_, at) => sha256(Uint8Array.of(at)));

test('values that are records of the pack become runs of their numbers, and come back', () =>
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 50 }),
      fc.array(fc.nat(ids.length - 1), { maxLength: 40 }),
      fc.nat(ids.length),
      (structure, picks, known) => {
        const table = tableOf(ids.slice(0, known));
        const values = new Uint8Array(Buffer.concat(picks.map((pick) => ids[pick]!)));
        const record: TreeRecord = { structure, values };
        const ordinals = new Map(ids.slice(0, known).map((id, at) => [toHex(id), at]));
        const stored = packTreeRecord(record, (id) => ordinals.get(toHex(id)));
        const found = unpackTreeRecord(stored, table);
        assert(equalBytes(found.structure, structure) && equalBytes(found.values, values));
        assert(
          equalBytes(treeSignatures(found, undefined).id, treeSignatures(record, undefined).id),
        );
      },
    ),
  ));

test('a run of all records in order costs a few bytes', () => {
  const table = tableOf(ids);
  const record = { structure: Uint8Array.of(1), values: table.ids.slice(0, 12 * 32) };
  const stored = packTreeRecord(record, (id) => ids.findIndex((each) => equalBytes(each, id)));
  assert(stored.byteLength <= 5, `${stored.byteLength} bytes`);
});

function unpacksOrRefuses(stored: Uint8Array, table: PackTable): void {
  let record: TreeRecord;
  try {
    record = unpackTreeRecord(stored, table);
  } catch (error) {
    assert(error instanceof FormatError, String(error));
    return;
  }
  parsesOrRefuses(record);
}

/** Whatever parses can be asked for every node without more than a typed error. */
function parsesOrRefuses(record: TreeRecord): ParsedTree | undefined {
  try {
    return new ParsedTree('00'.repeat(32), record);
  } catch (error) {
    assert(error instanceof FormatError, String(error));
    return undefined;
  }
}

async function readsOrRefuses(tree: ParsedTree): Promise<void> {
  const reader = new TreeReader(async () => tree);
  for (let ordinal = 0; ordinal < tree.nodes.length && ordinal < 20; ordinal++) {
    const reference = { record: tree.id, ordinal };
    const geometry = { sizeBytes: 3 * 8 * 2 ** 20, chunkBytes: 65536 };
    for (const ask of [
      () => reader.leaf(reference, 65536),
      () => reader.inner(reference),
      () => reader.wholeLeaf({ geometry, root: reference }, 0, reference),
      () => reader.children({ geometry, root: reference }, 1, 0, reference),
      () => reader.volumeDigest({ geometry, root: reference }),
      () => reader.chain(reference),
    ]) {
      try {
        await ask();
      } catch (error) {
        assert(error instanceof FerryError, String((error as Error).stack));
      }
    }
  }
}

test('arbitrary bytes unpack and parse, or are refused', () => {
  const table = tableOf(ids);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => unpacksOrRefuses(bytes, table)),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 60 }), (numbers) =>
      unpacksOrRefuses(Uint8Array.from(numbers), table),
    ),
    { numRuns: 2000 },
  );
});

const small = fc.oneof(fc.nat(3), fc.nat(130));
const pieceRun = fc.tuple(fc.nat(3), small, small);
const childRun = fc.oneof(
  small.map((count) => [count, 0]),
  fc
    .tuple(fc.nat(3), fc.nat(2), fc.nat(4))
    .map(([count, source, first]) => [count, source + 1, first]),
);
const list = (item: fc.Arbitrary<number[]>) =>
  fc.array(item, { maxLength: 3 }).map((items) => [items.length, ...items.flat()]);
const edit = (run: fc.Arbitrary<number[]>) =>
  fc.tuple(small, small, list(run)).map(([skip, drop, runs]) => [skip, drop, ...runs]);
const nodeOf = (tag: number, run: fc.Arbitrary<number[]>) =>
  fc.oneof(
    list(run).map((runs) => [tag, ...runs]),
    list(run).map((runs) => [tag + 4, ...runs]),
    fc
      .tuple(fc.nat(2), fc.nat(3), list(edit(run)))
      .map(([source, ordinal, edits]) => [tag + 2, source, ordinal, ...edits]),
  );
const node = fc.oneof(nodeOf(0, pieceRun as fc.Arbitrary<number[]>), nodeOf(1, childRun));

/** Well-formed nodes of arbitrary numbers, with as many values as they ask for if `values` fits. */
const wellFormed = fc
  .tuple(fc.nat(2), fc.array(node, { minLength: 1, maxLength: 5 }))
  .map(([sources, nodes]) => {
    const writer = new ByteWriter();
    writer.u8(1);
    for (const number of [sources, nodes.length, ...nodes.flat()]) writer.varint(number);
    return new Uint8Array(writer.view());
  });

test('well-formed structures of arbitrary numbers read within bounds, or are refused', async () => {
  let read = 0;
  await fc.assert(
    fc.asyncProperty(wellFormed, async (structure) => {
      for (let values = 0; values < 40; values++) {
        const tree = parsesOrRefuses({ structure, values: new Uint8Array(values * 32).fill(1) });
        if (tree === undefined) continue;
        await readsOrRefuses(tree);
        read++;
      }
    }),
    { numRuns: 2000 },
  );
  assert(read > 300, `only ${read} trees were read`);
});

/** A good record: two leaves, one a patch of the other, and an inner node over both. */
function goodRecord(): TreeRecord {
  const builder = new TreeRecordBuilder();
  const run = (kind: number, count: number) => ({ kind, lengthBytes: 0, count });
  const chunks = new Uint8Array(Buffer.concat([ids[0]!, ids[1]!]));
  const pieces = [{ skip: 0, drop: 0, runs: [run(3, 2), run(0, 126)] }];
  builder.addLeaf({ base: undefined, hasDigest: false, pieces }, chunks);
  const edits = [{ skip: 1, drop: 1, runs: [run(3, 1)] }];
  builder.addLeaf({ base: { source: 0, ordinal: 0 }, hasDigest: false, pieces: edits }, ids[2]!);
  const children = [{ skip: 0, drop: 0, runs: [{ count: 2, source: 0, ordinal: 0 }] }];
  builder.addInner({ base: undefined, hasDigest: false, children }, new Uint8Array(0));
  return builder.finish();
}

test('a good record reads as it was built', async () => {
  const tree = parsesOrRefuses(goodRecord())!;
  const reader = new TreeReader(async () => tree);
  const first = await reader.leaf({ record: tree.id, ordinal: 0 }, 65536);
  const second = await reader.leaf({ record: tree.id, ordinal: 1 }, 65536);
  assert.equal(first.count, 128);
  assert(equalBytes(first.id(1), ids[1]!) && equalBytes(second.id(1), ids[2]!));
  assert(equalBytes(first.id(0), second.id(0)));
  const inner = await reader.inner({ record: tree.id, ordinal: 2 });
  assert.deepEqual(
    inner.children.map((child) => child?.ordinal),
    [0, 1],
  );
});

test('every changed byte of a good record parses and reads within bounds, or is refused', async () => {
  const { structure, values } = goodRecord();
  for (let at = 0; at < structure.byteLength; at++) {
    for (const value of [0, 1, 2, 3, 4, 7, 8, 127, 128, 255]) {
      const hurt = structure.slice();
      hurt[at] = value;
      const tree = parsesOrRefuses({ structure: hurt, values });
      if (tree !== undefined) await readsOrRefuses(tree);
    }
  }
});

test('a node that refers to itself or forward is refused', () => {
  const leaf = [0, 1, 0, 0, 1];
  // Inner (tag 1), one run: one child, source code 1 (this record), number 1: itself.
  const self = Uint8Array.from([1, 0, 2, ...leaf, 1, 1, 1, 1, 1]);
  assert.throws(() => new ParsedTree('', { structure: self, values: new Uint8Array(0) }), {
    message: /forward/,
  });
  // A leaf that is a patch (tag 2) of number 0, which is itself.
  const base = Uint8Array.from([1, 0, 1, 2, 0, 0, 0]);
  assert.throws(() => new ParsedTree('', { structure: base, values: new Uint8Array(0) }), {
    message: /forward/,
  });
});

test('two records whose nodes stand on each other are refused by their depth, not followed', async () => {
  const patchOf = (source: Uint8Array): TreeRecord => ({
    structure: Uint8Array.from([1, 1, 1, 2, 1, 0, 0]),
    values: source,
  });
  const a = ids[0]!;
  const b = ids[1]!;
  const records = new Map([
    [toHex(a), new ParsedTree(toHex(a), patchOf(b))],
    [toHex(b), new ParsedTree(toHex(b), patchOf(a))],
  ]);
  const reader = new TreeReader(async (id) => records.get(id)!);
  const reference = { record: toHex(a), ordinal: 0 };
  await assert.rejects(reader.leaf(reference, 65536), { code: 'STORE_DAMAGED' });
  await assert.rejects(reader.chain(reference), { code: 'STORE_DAMAGED' });
});

test('counts beyond every bound are refused before anything is made of them', () => {
  const huge = (fill: (writer: ByteWriter) => void): TreeRecord => {
    const writer = new ByteWriter();
    writer.u8(1);
    fill(writer);
    return { structure: writer.view(), values: new Uint8Array(32) };
  };
  const hugeCounts: readonly (readonly number[])[] = [
    [2 ** 40], // sources
    [0, 2 ** 40], // nodes
    [0, 1, 0, 2 ** 40], // runs of a leaf
    [0, 1, 0, 1, 3, 0, 2 ** 40], // pieces of a run
    [0, 1, 0, 1, 3, 2 ** 40, 1], // a piece
    [0, 1, 1, 1, 2 ** 40, 0], // children
  ];
  for (const numbers of hugeCounts) {
    const record = huge((writer) => {
      for (const number of numbers) writer.varint(number);
    });
    assert.throws(() => new ParsedTree('', record), { code: 'FORMAT_INVALID' }, `${numbers}`);
  }
  const values = new ByteWriter();
  values.varint(0);
  for (let at = 0; at < 3000; at++) {
    values.varint(12 * 2 + 1);
    values.varint(0);
  }
  assert.throws(() => unpackTreeRecord(values.view(), tableOf(ids)), /too many values/);
});

test('a golden record in hexadecimal, so that the format cannot change unseen', () => {
  const { structure, values } = goodRecord();
  assert.equal(toHex(structure), '010003000203000200007e020000010101010300010101020100');
  assert.equal(toHex(values), [0, 1, 2].map((at) => toHex(ids[at]!)).join(''));
  const { id, checksum } = treeSignatures({ structure, values }, undefined);
  assert.equal(
    `${toHex(id)} ${checksum.toString(16)}`,
    '4597396c6cc444f155966e78457d8d56c43aebb45de23eb124bcbee5d1904be2 62624548',
  );
});
