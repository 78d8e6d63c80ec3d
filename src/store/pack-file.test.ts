/** Goal: packs and envelopes come back as they were, and every flipped bit of them is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CodecError } from '../codec/index.ts';
import { equalBytes, FormatError, hasCode, nodeEnv, sha256 } from '../core/index.ts';
import { ChunkIndex } from './chunk-index.ts';
import { objectKinds, seal, sealJson, unseal, unsealJson } from './envelope.ts';
import { StoreError } from './errors.ts';
import { IndexSync } from './index-sync.ts';
import { LogState } from './log-state.ts';
import { packKey, readPackTable } from './pack-file.ts';
import { plainPack } from './pack-seal.ts';
import { decodeTable, encodeTable, PACK_HEADER_BYTES, PackTable } from './pack-table.ts';
import { PackWriter } from './pack-writer.ts';
import { plainMemory } from './plain-objects.fixture.ts';
import type { SealedObjects } from './sealer.ts';
import { packFingerprints, readSegment, segmentKey, writeSegment } from './segment.ts';

type Record = { kind: number; depth: number; touched: number; rawBytes: number; byte: number };

const records: fc.Arbitrary<Record[]> = fc.array(
  fc.record({
    kind: fc.nat(1),
    depth: fc.nat(4),
    touched: fc.integer({ min: 1, max: 16 }),
    rawBytes: fc.nat(2 ** 20),
    byte: fc.nat(255),
  }),
  { minLength: 1, maxLength: 150 },
);

function tableOf(list: readonly Record[], perFrame: number): PackTable {
  const table = new PackTable(plainPack);
  for (const { kind, depth, touched, rawBytes, byte } of list) {
    const at = table.add(kind, sha256(Uint8Array.of(byte)), byte * 77_777_777, rawBytes);
    table.depths[at] = depth;
    table.touched[at] = touched;
  }
  let offset = PACK_HEADER_BYTES;
  for (let first = 0; first < list.length; first += perFrame) {
    table.addFrame(first, offset, 20 + first);
    offset += 20 + first;
  }
  return table;
}

function columns(table: PackTable): unknown {
  const { count } = table;
  return {
    kinds: [...table.kinds.subarray(0, count)],
    depths: [...table.depths.subarray(0, count)],
    touched: [...table.touched.subarray(0, count)],
    rawBytes: [...table.rawBytes.subarray(0, count)],
    checksums: [...table.checksums.subarray(0, count)],
    ids: Buffer.from(table.ids.subarray(0, count * 32)).toString('hex'),
    frames: [table.frameFirst, table.frameOffset, table.frameBytes],
  };
}

function endOf(table: PackTable): number {
  return table.frameBytes.reduce((sum, bytes) => sum + bytes, PACK_HEADER_BYTES);
}

test('a chunk table comes back as it was', () =>
  fc.assert(
    fc.property(records, fc.integer({ min: 1, max: 9 }), (list, perFrame) => {
      const table = tableOf(list, perFrame);
      const { stored, rawBytes } = encodeTable(table);
      const found = decodeTable(stored, rawBytes, endOf(table), plainPack);
      assert.deepEqual(columns(found), columns(table));
      for (let at = 0; at < list.length; at++) {
        assert.equal(found.frameOf(at), Math.floor(at / perFrame));
      }
    }),
  ));

test('arbitrary bytes are no chunk table, or one that holds together', () =>
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(4), fc.nat(255)), { maxLength: 150 }), (numbers) => {
      const stored = Uint8Array.from([0, ...numbers]);
      for (const dataBytes of [PACK_HEADER_BYTES, PACK_HEADER_BYTES + 1, 60]) {
        try {
          const table = decodeTable(stored, numbers.length, dataBytes, plainPack);
          assert.equal(endOf(table), dataBytes);
        } catch (error) {
          const known = error instanceof FormatError || error instanceof CodecError;
          assert(known, String(error));
        }
      }
    }),
    { numRuns: 3000 },
  ));

test('a table that declares more than any table may is refused before it is unfolded', () => {
  assert.throws(() => decodeTable(Uint8Array.of(0), 2 ** 32 - 1, 0, plainPack), {
    code: 'FORMAT_INVALID',
  });
});

test('a frame without records is refused: nothing would ever check its bytes', () => {
  const record = { kind: 0, depth: 0, touched: 1, rawBytes: 5, byte: 1 };
  const table = tableOf([record, record], 2);
  table.frameFirst.unshift(0);
  table.frameOffset.unshift(PACK_HEADER_BYTES);
  table.frameBytes.unshift(30);
  const { stored, rawBytes } = encodeTable(table);
  assert.throws(() => decodeTable(stored, rawBytes, endOf(table), plainPack), {
    code: 'FORMAT_INVALID',
  });
});

async function somePack(): Promise<{ id: string; bytes: Uint8Array }> {
  const objects = plainMemory('a');
  await using writer = new PackWriter(objects, nodeEnv().random);
  for (let at = 0; at < 5; at++) writer.table.add(0, sha256(Uint8Array.of(at)), at, 100);
  await writer.appendFrame(new Uint8Array(30).fill(1), { firstRecord: 0, number: 0 });
  await writer.appendFrame(new Uint8Array(40).fill(2), { firstRecord: 3, number: 1 });
  await writer.seal();
  return { id: writer.id, bytes: await objects.get(packKey(writer.id), 2 ** 20) };
}

async function storeWith(key: string, bytes: Uint8Array): Promise<SealedObjects> {
  const objects = plainMemory('a');
  await objects.putIfAbsent(key, bytes);
  return objects;
}

test('every flipped bit and every truncation of table and footer is refused, with the name', async () => {
  const { id, bytes } = await somePack();
  const table = await readPackTable(await storeWith(packKey(id), bytes), id);
  assert.equal(table.count, 5);
  const frames = PACK_HEADER_BYTES + 70;
  const damaged = (error: unknown) =>
    hasCode(error, 'STORE_DAMAGED') && (error as Error).message.includes(id);
  for (let bit = frames * 8; bit < bytes.byteLength * 8; bit++) {
    const hurt = bytes.slice();
    hurt[bit >> 3] = hurt[bit >> 3]! ^ (1 << (bit & 7));
    await assert.rejects(readPackTable(await storeWith(packKey(id), hurt), id), damaged);
  }
  for (let length = 0; length < bytes.byteLength; length++) {
    const objects = await storeWith(packKey(id), bytes.slice(0, length));
    await assert.rejects(readPackTable(objects, id), damaged);
  }
  await assert.rejects(readPackTable(plainMemory('b'), id), { code: 'STORE_MISSING' });
});

test('an envelope comes back as it was; every flipped bit and every truncation is refused', () => {
  const payload = new TextEncoder().encode('{"a":1}');
  const bytes = seal('log', payload);
  assert(equalBytes(unseal('log', bytes, 'log/1'), payload));
  assert.deepEqual(unsealJson('log', sealJson('log', { a: 1 }), 'log/1'), { a: 1 });
  for (let bit = 0; bit < bytes.byteLength * 8; bit++) {
    const hurt = bytes.slice();
    hurt[bit >> 3] = hurt[bit >> 3]! ^ (1 << (bit & 7));
    assert.throws(() => unseal('log', hurt, 'log/1'), { code: 'STORE_DAMAGED', message: /log\/1/ });
  }
  for (let length = 0; length < bytes.byteLength; length++) {
    assert.throws(() => unseal('log', bytes.subarray(0, length), 'x'), { code: 'STORE_DAMAGED' });
  }
});

test('an envelope of another kind, of a newer version, or without JSON is refused as such', () => {
  const log = sealJson('log', {});
  for (const kind of Object.keys(objectKinds) as (keyof typeof objectKinds)[]) {
    if (kind === 'log') continue;
    assert.throws(() => unsealJson(kind, log, 'x'), { code: 'STORE_DAMAGED' });
  }
  const text = seal('log', new TextEncoder().encode('{"a":'));
  assert.throws(() => unsealJson('log', text, 'x'), { code: 'STORE_DAMAGED' });
  const noText = seal('log', Uint8Array.of(0xff, 0xfe));
  assert.throws(() => unsealJson('log', noText, 'x'), { code: 'STORE_DAMAGED' });
});

test('a segment comes back as it was; hostile ones are refused', async () => {
  const objects = plainMemory('a');
  const table = tableOf([{ kind: 0, depth: 0, touched: 1, rawBytes: 5, byte: 1 }], 1);
  const packs = ['ab', 'cd'].map((id) => packFingerprints(id.repeat(32), table));
  const { id, records: count } = await writeSegment(objects, nodeEnv().random, packs);
  assert.equal(count, 2);
  const found = await readSegment(objects, id);
  assert.deepEqual(
    found.map(({ packId }) => packId),
    packs.map(({ packId }) => packId),
  );
  assert(equalBytes(found[1]!.fingerprints, packs[1]!.fingerprints));
  const bytes = await objects.get(segmentKey(id), 1000);
  for (let bit = 0; bit < bytes.byteLength * 8; bit++) {
    const hurt = bytes.slice();
    hurt[bit >> 3] = hurt[bit >> 3]! ^ (1 << (bit & 7));
    const store = await storeWith(segmentKey(id), hurt);
    await assert.rejects(readSegment(store, id), { code: 'STORE_DAMAGED' });
  }
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (noise) => {
      const store = await storeWith(segmentKey(id), seal('segment', noise));
      await readSegment(store, id).catch((error: unknown) => {
        assert(error instanceof StoreError && error.code === 'STORE_DAMAGED', String(error));
      });
    }),
  );
});

test('a log that claims records without end takes no memory for them', async () => {
  const objects = plainMemory('a');
  const table = tableOf([{ kind: 0, depth: 0, touched: 1, rawBytes: 5, byte: 1 }], 1);
  const packs = [packFingerprints('ab'.repeat(32), table)];
  const { id } = await writeSegment(objects, nodeEnv().random, packs);
  const state = new LogState();
  for (const claimed of [id, 'cd'.repeat(32)]) {
    state.segments.set(claimed, { id: claimed, records: 2 ** 52 });
  }
  const index = new ChunkIndex(objects);
  await new IndexSync(objects, index).to(state);
  assert.equal(index.recordCount, 1);
  assert.deepEqual([...index.unreadable.keys()], [segmentKey('cd'.repeat(32))]);
});
