/** Goal: an index finds what a plain list finds, and never a record for what it is not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { equalBytes, nodeEnv, sha256 } from '../core/index.ts';
import { ChunkIndex, prefixOf } from './chunk-index.ts';
import { missingObject } from './errors.ts';
import { plainPack } from './pack-seal.ts';
import { PackTable, RECORD_CHUNK, RECORD_TREE } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import { plainMemory } from './plain-objects.fixture.ts';
import type { SealedObjects } from './sealer.ts';
import { addSegment, packFingerprints, readSegment, writeSegment } from './segment.ts';

type Record = { readonly value: number; readonly kind: number; readonly depth: number };

const records = fc.array(fc.record({ value: fc.nat(12), kind: fc.nat(1), depth: fc.nat(3) }), {
  minLength: 1,
  maxLength: 12,
});
const packs = fc.array(records, { maxLength: 6 });

const idOf = (value: number) => sha256(Uint8Array.of(value));

function fillTable(table: PackTable, list: readonly Record[]): void {
  for (const { value, kind, depth } of list) {
    const at = table.add(kind, idOf(value), value, 100);
    table.depths[at] = depth;
  }
}

async function storePack(objects: SealedObjects, list: readonly Record[]): Promise<string> {
  await using writer = new PackWriter(objects, nodeEnv().random);
  fillTable(writer.table, list);
  await writer.appendFrame(new Uint8Array(20), { firstRecord: 0, number: writer.numberFrame() });
  await writer.seal();
  return writer.id;
}

/** The smallest depth that any pack has a record of this kind at. */
function best(all: readonly (readonly Record[])[], value: number, kind: number) {
  const depths = all.flat().filter((record) => record.value === value && record.kind === kind);
  return depths.length === 0 ? undefined : Math.min(...depths.map(({ depth }) => depth));
}

for (const bits of [32, 8, 1]) {
  test(`${bits} bits: tables, segments and open packs are found alike, by id and kind`, () =>
    fc.assert(
      fc.asyncProperty(packs, packs, records, async (loose, merged, open) => {
        const objects = plainMemory('index');
        const index = new ChunkIndex(objects, { bits });
        const segment = [];
        for (const list of merged) {
          const id = await storePack(objects, list);
          const table = new PackTable(plainPack);
          fillTable(table, list);
          segment.push(packFingerprints(id, table));
        }
        const { id } = await writeSegment(objects, nodeEnv().random, segment);
        addSegment(index, await readSegment(objects, id));
        for (const list of loose) {
          const table = new PackTable(plainPack);
          fillTable(table, list);
          index.addTable(await storePack(objects, list), table);
        }
        const openTable = new PackTable(plainPack);
        fillTable(openTable, open);
        const number = index.addPack('ff'.repeat(32), openTable);
        for (const [at, { value }] of open.entries()) {
          index.addRecord(number, at, prefixOf(idOf(value), 0), value);
        }
        const all = [...loose, ...merged, open];
        assert.equal(index.recordCount, all.flat().length);
        for (let value = 0; value <= 13; value++) {
          for (const kind of [RECORD_CHUNK, RECORD_TREE]) {
            for (const checksum of [undefined, value]) {
              const found = await index.find(idOf(value), checksum, kind);
              const depth = found?.table.depths[found.ordinal];
              assert.equal(depth, best(all, value, kind), `${value} ${kind}`);
              if (found === undefined) continue;
              assert(equalBytes(found.table.id(found.ordinal), idOf(value)));
              assert.equal(found.table.kinds[found.ordinal], kind);
            }
          }
        }
      }),
      { numRuns: 60 },
    ));
}

test('a reference finds every chunk that it may mean, of smaller depth only, shallow ones first', async () => {
  const index = new ChunkIndex(plainMemory('index'), { bits: 8 });
  const table = new PackTable(plainPack);
  fillTable(table, [
    { value: 1, kind: RECORD_CHUNK, depth: 2 },
    { value: 1, kind: RECORD_CHUNK, depth: 0 },
    { value: 1, kind: RECORD_TREE, depth: 0 },
    { value: 2, kind: RECORD_CHUNK, depth: 0 },
  ]);
  index.addTable('aa'.repeat(32), table);
  const reference = new Uint8Array(12);
  reference[0] = 1;
  reference.set(idOf(1).subarray(0, 8), 4);
  const ordinals = async (depth: number) =>
    (await index.findReference(reference, depth)).map(({ ordinal }) => ordinal);
  assert.deepEqual(await ordinals(3), [1, 0]);
  assert.deepEqual(await ordinals(2), [1]);
  assert.deepEqual(await ordinals(0), []);
});

test('a pack that was dropped is found no more, and may come back', async () => {
  const objects = plainMemory('index');
  const index = new ChunkIndex(objects);
  const list = [{ value: 1, kind: RECORD_CHUNK, depth: 0 }];
  const id = await storePack(objects, list);
  const table = new PackTable(plainPack);
  fillTable(table, list);
  index.addTable(id, table);
  assert(index.hasPack(id));
  index.dropPack(id);
  assert(!index.hasPack(id));
  assert.equal(await index.find(idOf(1)), undefined);
  index.addTable(id, table);
  assert.equal((await index.find(idOf(1)))?.packId, id);
});

test('what is absent is told with the reason for which it may be', () => {
  const index = new ChunkIndex(plainMemory('index'));
  assert.equal(index.absent('chunk 1').code, 'STORE_MISSING');
  index.losePack('01'.repeat(16), missingObject('packs/1'));
  const { code, message } = index.absent('chunk 1');
  assert.equal(code, 'STORE_MISSING');
  assert.match(
    message,
    /^chunk 1 is in no pack that can be read, and one cannot: packs\/1 is missing/,
  );
});
