/** Goal: a host without the key can check an encrypted repository and drop garbage, no more. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { codecPool } from '../../codec/index.ts';
import { crc32, equalBytes } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import {
  check,
  eachChunk,
  type GcReport,
  type Location,
  leaves,
  Repository,
  type Snapshot,
  treeOf,
} from '../../store/index.ts';
import {
  type Built,
  build,
  type Content,
  env,
  rewritten,
  said,
  versionOf,
} from './encrypted-repository.fixture.ts';
import { backUp, checked, dump, fill, noise, open, restored } from './model-repository.fixture.ts';

let built: Built;
let long: Built;

before(async () => {
  built = await build(memoryStore('own'), 3);
  long = await build(memoryStore('long'), 66);
});

function keys({ content }: Built, prefix: string): string[] {
  return [...content.keys()].filter((key) => key.startsWith(prefix));
}

async function openBlind(content: Content): Promise<Repository> {
  const objects = await fill(memoryStore('host'), content);
  return Repository.open(env, objects, { blind: true });
}

async function checkedBlind(content: Content): Promise<string> {
  await using pool = codecPool(env, 0);
  const { problems } = await check(await openBlind(content), { readData: true, pool });
  return problems.map(({ object, message }) => `${object}: ${message}`).join('\n');
}

test('without the key every stored byte is checked, and damage is named', async () => {
  for (const { content } of [built, long]) assert.equal(await checkedBlind(content), '');
  for (const key of keys(built, 'packs/')) {
    const good = built.content.get(key)!;
    for (let at = 0; at < good.byteLength; at += Math.ceil(good.byteLength / 40)) {
      const hurt = good.slice();
      hurt[at] = hurt[at]! ^ 4;
      const words = await checkedBlind(new Map(built.content).set(key, hurt));
      assert(words.includes(key.slice(9)), `byte ${at} of ${key}: ${words || 'nothing'}`);
    }
    const without = new Map(built.content);
    without.delete(key);
    const words = await checkedBlind(without);
    assert(words.includes(key), `the loss of ${key}: ${words || 'nothing'}`);
  }
});

test('without the key nothing is read or written, and names stay unknown', async () => {
  const repository = await openBlind(built.content);
  const [snapshot] = repository.snapshots() as [Snapshot];
  assert.equal(snapshot.volume, '(sealed)');
  const refused = { code: 'STORE_NO_PASSWORD' };
  await assert.rejects(repository.device(snapshot), refused);
  await assert.rejects(restored(env, repository, snapshot), refused);
  await assert.rejects(backUp(env, repository, noise(1000, 1)), refused);
  assert.throws(() => repository.keys, refused);
});

test('without the key it is told which packs a snapshot needs, as with it', async () => {
  const needed = async (repository: Repository) => {
    const index = await repository.index();
    const packs = new Set<string>();
    for (const snapshot of repository.snapshots()) {
      for (const pack of await packsNeeded(repository, snapshot)) packs.add(pack);
    }
    assert(index.packIds().length >= packs.size);
    return [...packs].sort();
  };
  const keyed = await open(env, await fill(memoryStore('a'), long.content));
  const blind = await openBlind(long.content);
  assert.deepEqual(await needed(blind), await needed(keyed));
});

/** By the manifest, and by the parents that tables name. */
async function packsNeeded(repository: Repository, snapshot: Snapshot): Promise<Set<string>> {
  const index = await repository.index();
  const packs = new Set<string>();
  const need = async (location: Location | undefined): Promise<void> => {
    assert(location !== undefined);
    const { packId, table, ordinal } = location;
    packs.add(packId);
    for (const reference of table.parentsOf(ordinal) ?? []) {
      const [parent] = await index.findReference(reference, table.depths[ordinal]!);
      await need(parent);
    }
  };
  for await (const { index: at, leaf } of leaves(repository.reader, treeOf(snapshot))) {
    const ids: Uint8Array[] = [];
    eachChunk(leaf, at, (_offset, _length, id) => ids.push(id));
    for (const id of ids) await need(await index.find(id));
  }
  return packs;
}

async function gcBlind(content: Content): Promise<{ report: GcReport; objects: ObjectStore }> {
  const objects = await fill(memoryStore('host'), content);
  const repository = await Repository.open(env, objects, { blind: true });
  return { report: await repository.collectGarbage({ waitMs: 0 }), objects };
}

test('without the key packs that no snapshot needs are dropped, and the owner finds all well', async () => {
  for (const each of [built, long]) {
    const owner = await fill(memoryStore('owner'), each.content);
    const repository = await open(env, owner);
    const [last] = repository.snapshots().slice(-1) as [Snapshot];
    await repository.forget(repository.snapshots().filter(({ id }) => id !== last.id));
    const content = await dump(owner);
    const { report, objects } = await gcBlind(content);
    assert(report.droppedPacks > 0 && report.freedBytes > 0);
    assert.equal(report.newPacks, 0);
    const after = await open(env, objects);
    assert(equalBytes(await restored(env, after, last), each.expected.get(last.id)!));
    assert.deepEqual((await checked(env, after)).problems, []);
    await after.collectGarbage({ waitMs: 0 });
    assert.deepEqual((await checked(env, await open(env, objects))).problems, []);
    const { snapshot } = await backUp(env, await open(env, objects), versionOf(99));
    const found = await restored(env, await open(env, objects), snapshot);
    assert(equalBytes(found, versionOf(99)));
  }
});

test('without the key nothing is added to the log: neither snapshots nor packs, tags nor holds', async () => {
  const blind = await openBlind(built.content);
  const refused = { code: 'STORE_NO_PASSWORD' };
  await assert.rejects(blind.forget(blind.snapshots().slice(0, 1)), refused);
  const objects = await fill(memoryStore('a'), built.content);
  const { state } = (await open(env, objects)).log;
  const pack = 'ab'.repeat(32);
  const entries = [
    { type: 'forget', snapshots: [[...state.snapshots.keys()][0]] },
    { type: 'generation', condemned: [], spared: [], dropped: [], index: { packs: [pack] } },
    { type: 'hold', snapshots: [], held: true },
  ];
  for (const entry of entries) {
    const sequence = state.sequence + 1;
    const generation = state.generation + (entry.type === 'generation' ? 1 : 0);
    const place = { sequence, previous: state.head, nonce: '00'.repeat(16), generation };
    const json = Buffer.from(JSON.stringify({ ...place, ...entry }));
    const unproved = Buffer.concat([json, Buffer.alloc(32)]);
    const key = `log/${String(sequence).padStart(16, '0')}`;
    const bytes = rewritten(built.content.get('log/0000000000000003')!, () => '');
    const made = Buffer.concat([bytes.subarray(0, 16), unproved, Buffer.alloc(4)]);
    made.writeUInt8(2, 5);
    made.writeBigUInt64LE(BigInt(unproved.length), 8);
    made.writeUInt32LE(crc32(made.subarray(0, -4)), made.length - 4);
    const content = new Map(built.content).set(key, new Uint8Array(made));
    const words = await said(content, built.expected, entry.type);
    assert.match(words, /nobody with the key/, `${entry.type}: ${words}`);
  }
});
