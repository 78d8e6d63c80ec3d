/** Goal: manifests say what the volume held, whatever was written and resized before. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { equalBytes, toHex } from '../core/index.ts';
import { diffTrees } from './diff.ts';
import { coveredBytes, leafCount } from './geometry.ts';
import { holeLeaf, type Leaf } from './leaf.ts';
import { LEAF_BYTES } from './limits.ts';
import {
  type ModelVolume,
  modelDiff,
  modelDigest,
  modelLeaf,
  modelLeafDigest,
  pieceCount,
  pieceHash,
  pieceLength,
} from './model-volume.fixture.ts';
import { type Tree, TreeReader } from './tree-reader.ts';
import { ParsedTree, type TreeRecord, treeSignatures } from './tree-record.ts';
import { TreeWriter } from './tree-writer.ts';

const KiB = 1024;
const CHUNK_SIZES = [4 * KiB, 64 * KiB, 1024 * KiB];

/** Everything that was emitted, as a repository would have it. */
class Records {
  readonly #records = new Map<string, TreeRecord>();
  /** Each load parses anew, as after a restart. */
  reader(): TreeReader {
    return new TreeReader(async (id) => new ParsedTree(id, this.#records.get(id)!));
  }

  add(record: TreeRecord, id: Uint8Array): void {
    const copy = { structure: record.structure.slice(), values: record.values.slice() };
    assert(equalBytes(treeSignatures(copy, undefined).id, id));
    this.#records.set(toHex(id), copy);
  }
}

/** Leaves whose content or size is not the parent's. */
function changedLeaves(before: ModelVolume | undefined, after: ModelVolume): number[] {
  const perLeaf = LEAF_BYTES / after.chunkBytes;
  const changed = new Set<number>();
  if (before === undefined) {
    for (const piece of after.pieces.keys()) changed.add(Math.floor(piece / perLeaf));
  } else {
    const values = new Set([...before.pieces.keys(), ...after.pieces.keys()]);
    for (const piece of values) {
      if (before.pieces.get(piece) !== after.pieces.get(piece)) {
        changed.add(Math.floor(piece / perLeaf));
      }
    }
    const from = Math.min(leafCount(before), leafCount(after)) - 1;
    for (let index = Math.max(0, from); index < leafCount(after); index++) {
      const was = index < leafCount(before) ? coveredBytes(before, 0, index) : 0;
      if (was !== coveredBytes(after, 0, index)) changed.add(index);
    }
  }
  return [...changed].filter((index) => index < leafCount(after)).sort((a, b) => a - b);
}

async function write(
  records: Records,
  before: { model: ModelVolume; tree: Tree } | undefined,
  after: ModelVolume,
  expected = modelDigest(after),
): Promise<Tree> {
  const writer = new TreeWriter({
    signing: undefined,
    geometry: after,
    parent: before?.tree,
    reader: records.reader(),
    emit: async (record, id) => records.add(record, id),
  });
  for (const index of changedLeaves(before?.model, after)) {
    await writer.put(index, modelLeaf(after, index), modelLeafDigest(after, index));
  }
  const { root, digest } = await writer.finish();
  assert(equalBytes(digest, expected), 'the writer has another digest');
  return { geometry: { sizeBytes: after.sizeBytes, chunkBytes: after.chunkBytes }, root };
}

async function checkTree(records: Records, tree: Tree, model: ModelVolume): Promise<void> {
  const reader = records.reader();
  const perLeaf = LEAF_BYTES / model.chunkBytes;
  const wanted = new Set<number>();
  for (const piece of model.pieces.keys()) wanted.add(Math.floor(piece / perLeaf));
  for (const index of [0, 1, 255, 256, leafCount(model) - 1]) {
    if (index >= 0 && index < leafCount(model)) wanted.add(index);
  }
  for (const index of wanted) {
    const reference = await reader.nodeReference(tree, 0, index);
    const expected = modelLeaf(model, index);
    if (reference === undefined) assert(expected.isAllHole, `leaf ${index} is lost`);
    else assert((await reader.wholeLeaf(tree, index, reference)).equals(expected), `${index}`);
  }
  assert(equalBytes(await records.reader().volumeDigest(tree), modelDigest(model)));
}

async function checkDiff(
  records: Records,
  older: { model: ModelVolume; tree: Tree },
  newer: { model: ModelVolume; tree: Tree },
): Promise<void> {
  const found = new Map<number, 'data' | 'zero'>();
  let end = -1;
  for await (const extent of diffTrees(records.reader(), older.tree, newer.tree)) {
    assert(extent.offsetBytes >= end && extent.lengthBytes > 0, 'ascending, not empty');
    end = extent.offsetBytes + extent.lengthBytes;
    const { chunkBytes } = newer.model;
    for (let at = extent.offsetBytes; at < end; at += chunkBytes) {
      found.set(at / chunkBytes, extent.kind);
    }
    const last = Math.ceil(end / chunkBytes) - 1;
    assert.equal(end, last * chunkBytes + pieceLength(newer.model, last));
  }
  const sorted = (map: Map<number, string>) => [...map].sort(([a], [b]) => a - b);
  assert.deepEqual(sorted(found), sorted(modelDiff(older.model, newer.model)));
}

/** Sizes at and around the borders of pieces, leaves and levels, and some that are neither. */
function sizes(chunkBytes: number, leafCounts: readonly number[]): fc.Arbitrary<number> {
  const borders = leafCounts.map((count) => count * LEAF_BYTES);
  const near = [0, 1, -1, 4096, -4096, chunkBytes, -chunkBytes, 70_001];
  return fc
    .tuple(fc.constantFrom(...borders), fc.constantFrom(...near))
    .map(([border, by]) => Math.max(0, border + by));
}

type Step = { readonly sizeBytes: number; readonly edits: readonly (readonly number[])[] };

function steps(chunkBytes: number, leafCounts: readonly number[]): fc.Arbitrary<Step[]> {
  const place = fc.oneof(
    fc.nat(2 ** 20),
    fc.constantFrom(0, 1, 127, 128, 255 * 128, 256 * 128, 2 ** 19),
  );
  const edit = fc.tuple(place, fc.integer({ min: 1, max: 300 }), fc.nat(5), fc.nat(3));
  return fc.array(
    fc.record({
      sizeBytes: sizes(chunkBytes, leafCounts),
      edits: fc.array(edit, { maxLength: 6 }),
    }),
    { minLength: 1, maxLength: 6 },
  );
}

function applyStep(before: ModelVolume | undefined, step: Step, chunkBytes: number): ModelVolume {
  const { sizeBytes } = step;
  const count = Math.ceil(sizeBytes / chunkBytes);
  const pieces = new Map<number, number>();
  for (const [piece, value] of before?.pieces ?? []) if (piece < count) pieces.set(piece, value);
  for (const [place = 0, length = 0, value = 0, stride = 0] of step.edits) {
    for (let at = 0; at < length && count > 0; at++) {
      const piece = (place + at * (1 + stride * 40)) % count;
      if (value === 0) pieces.delete(piece);
      else pieces.set(piece, value);
    }
  }
  return { sizeBytes, chunkBytes, pieces };
}

/** Writes a history of snapshots and compares every one of them, and every neighbouring pair. */
async function runHistory(history: readonly Step[], chunkBytes: number): Promise<void> {
  const records = new Records();
  const snapshots: { model: ModelVolume; tree: Tree }[] = [];
  for (const step of history) {
    const before = snapshots.at(-1);
    const model = applyStep(before?.model, step, chunkBytes);
    snapshots.push({ model, tree: await write(records, before, model) });
  }
  for (const { tree, model } of snapshots) await checkTree(records, tree, model);
  for (const [at, newer] of snapshots.entries()) {
    const older = snapshots[at - 1];
    if (older === undefined) continue;
    await checkDiff(records, older, newer);
    await checkDiff(records, newer, older);
  }
}

for (const chunkBytes of CHUNK_SIZES) {
  test(`snapshots of a small volume of ${chunkBytes} byte chunks read as they were written`, () =>
    fc.assert(
      fc.asyncProperty(steps(chunkBytes, [0, 1, 2, 3]), (history) =>
        runHistory(history, chunkBytes),
      ),
      { numRuns: chunkBytes === 4 * KiB ? 8 : 40 },
    ));
}

test('the same across the border between levels of the tree', () =>
  fc.assert(
    fc.asyncProperty(steps(1024 * KiB, [1, 255, 256, 257, 512, 513]), (history) =>
      runHistory(history, 1024 * KiB),
    ),
    { numRuns: 15 },
  ));

test('a tree of three levels, and its way back to one leaf', async () => {
  const edits = [[2 ** 19 + 5, 300, 3, 3]];
  const history = [256 * 256 + 1, 256 * 256, 300, 1].map((leaves) => ({
    sizeBytes: leaves * LEAF_BYTES - 1,
    edits,
  }));
  await runHistory(history, 1024 * KiB);
});

test('an unchanged volume keeps its root; a long chain of changes stays readable', async () => {
  const records = new Records();
  let model: ModelVolume = { sizeBytes: 3 * LEAF_BYTES, chunkBytes: 64 * KiB, pieces: new Map() };
  for (let piece = 0; piece < pieceCount(model); piece++) {
    (model.pieces as Map<number, number>).set(piece, 2 + (piece % 200));
  }
  let tree = await write(records, undefined, model);
  const same = await write(records, { model, tree }, model);
  assert.deepEqual(same.root, tree.root);
  for (let round = 0; round < 40; round++) {
    const pieces = new Map(model.pieces).set(round * 7, 2 + ((round * 13) % 250));
    const next = { ...model, pieces };
    tree = await write(records, { model, tree }, next);
    model = next;
    await checkTree(records, tree, model);
  }
});

/** Sets only what is needed of a leaf: naming all pieces of 1 TiB would take a minute. */
function sparseLeaf(values: ReadonlyMap<number, number>): Leaf {
  const leaf = holeLeaf(LEAF_BYTES, 64 * KiB);
  for (const [at, value] of values) leaf.setChunk(at, 64 * KiB, pieceHash(value, 64 * KiB));
  return leaf;
}

test('1,000 scattered changes of 1 TiB cost at most 64 bytes of metadata each, and 1 kB', async () => {
  const records = new Records();
  const geometry = { sizeBytes: 2 ** 40, chunkBytes: 64 * KiB };
  const leaves = leafCount(geometry);
  const first = new TreeWriter({
    signing: undefined,
    geometry,
    parent: undefined,
    reader: records.reader(),
    emit: async (record, id) => records.add(record, id),
  });
  // Every leaf holds something, so that no change can profit from holes.
  const before = (index: number) => new Map([[index % 128, 2 + (index % 200)]]);
  for (let index = 0; index < leaves; index++) await first.put(index, sparseLeaf(before(index)));
  const { root } = await first.finish();
  let bytes = 0;
  const second = new TreeWriter({
    signing: undefined,
    geometry,
    parent: { geometry, root },
    reader: records.reader(),
    emit: async (record) => {
      bytes += record.structure.byteLength + record.values.byteLength;
    },
  });
  for (let at = 0; at < 1000; at++) {
    const index = at * 131 + (at % 17);
    await second.put(index, sparseLeaf(before(index).set((at * 7) % 128, 201 + (at % 50))));
  }
  await second.finish();
  // The new chunks' ids are stored in the pack's table: the record on disk names them by number.
  const metadataBytes = bytes - 1000 * 32;
  assert(metadataBytes > 1000 && metadataBytes <= 64 * 1000 + 1000, `${metadataBytes} bytes`);
});
