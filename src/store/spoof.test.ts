/** Goal: content that has the very bytes of a manifest is content, and the manifest stays one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { codecPool, parseFrame, plainSection } from '../codec/index.ts';
import { ByteWriter, equalBytes, fromHex, nodeEnv, sha256, toHex } from '../core/index.ts';
import { memoryStore } from '../objects/index.ts';
import { check } from './check.ts';
import { packKey } from './pack-file.ts';
import { PACK_HEADER_BYTES, RECORD_TREE } from './pack-table.ts';
import { Repository } from './repository.ts';
import type { Snapshot } from './snapshot.ts';
import { unpackTreeRecord } from './tree-record.ts';

const env = nodeEnv();

async function write(repository: Repository, bytes: Uint8Array): Promise<Snapshot> {
  await using pool = codecPool(env, 0);
  const sizeBytes = bytes.byteLength;
  const parent = repository.latest('disk');
  await using session = await repository.beginBackup({ volume: 'disk', sizeBytes, parent, pool });
  const batch = await session.writer.batch();
  batch.bytes.set(bytes);
  session.writer.putData(batch, 0, sizeBytes);
  return await session.commit({ source: 'full', origin: '', readBytes: 0, unreadable: [] });
}

/** What a tree record's id is the hash of. */
async function canonicalForm(repository: Repository, id: string): Promise<Uint8Array> {
  const index = await repository.index();
  const location = await index.find(fromHex(id, 32)!, undefined, RECORD_TREE);
  assert(location !== undefined);
  const { table, ordinal, packId } = location;
  const number = table.frameOf(ordinal);
  const bytes = new Uint8Array(table.frameBytes[number]!);
  assert(table.frameOffset[number]! >= PACK_HEADER_BYTES);
  await repository.objects.getRange(packKey(packId), bytes, table.frameOffset[number]!);
  const { structure, values } = unpackTreeRecord(plainSection(parseFrame(bytes)), table);
  const canonical = new ByteWriter();
  canonical.varint(structure.byteLength);
  canonical.put(structure);
  canonical.put(values);
  assert.equal(toHex(sha256(canonical.view())), id);
  return canonical.view();
}

test('a volume that holds the bytes of a tree record keeps its snapshots and its content', async () => {
  const objects = memoryStore('spoof');
  await Repository.init(env, objects, { chunkBytes: 4096 });
  const repository = await Repository.open(env, objects);
  const first = new Uint8Array(40_960);
  for (let at = 0; at < first.byteLength; at++) first[at] = (at * at) >> 5;
  const one = await write(repository, first);
  const record = await canonicalForm(repository, one.root!.record);
  assert(record.byteLength < 4096);
  // As the short last chunk of a volume it has the very hash that is the record's id.
  const second = new Uint8Array(first.byteLength + record.byteLength);
  second.set(first);
  second.set(record, first.byteLength);
  const two = await write(repository, second);
  const again = await Repository.open(env, objects);
  for (const [snapshot, bytes] of [
    [one, first],
    [two, second],
  ] as const) {
    const device = await again.device(snapshot);
    const found = new Uint8Array(bytes.byteLength);
    await device.read(found, 0);
    assert(equalBytes(found, bytes), snapshot.id);
  }
  await using pool = codecPool(env, 0);
  assert.deepEqual((await check(again, { readData: true, pool })).problems, []);
});
