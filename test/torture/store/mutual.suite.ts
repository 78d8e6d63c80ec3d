/**
 * Two writers store the same chunks, each as patches against what the other has plain. One takes up
 * the other's packs; then snapshots go and garbage is collected. No order of that makes a cycle.
 */
import assert from 'node:assert/strict';
import { Draws } from '../../../sim/index.ts';
import { codecPool } from '../../../src/codec/index.ts';
import { FerryError } from '../../../src/core/index.ts';
import { memoryStore, type ObjectStore } from '../../../src/objects/index.ts';
import { check } from '../../../src/store/index.ts';
import { packKey } from '../../../src/store/pack-file.ts';
import { Session } from '../../../src/store/session.ts';
import {
  dump,
  fill,
  init,
  type Kind,
} from '../../../src/transfer/backup/model-repository.fixture.ts';
import { judge, look } from './judge.suite.ts';
import { type MemorySetting, placeOver, seededRandom } from './memory-place.suite.ts';
import { Model, noise, type Shape, type Version } from './model.suite.ts';
import {
  carryOut,
  digestOf,
  mayForget,
  openAt,
  type Place,
  planOne,
  restoredDigest,
  type Step,
} from './operations.suite.ts';

const CHUNK_BYTES = 4096;
const ROUNDS = 4;

/** Answers how many states were judged; throws, with the seed, if one of them is not right. */
export async function mutualTrial(seed: number): Promise<number> {
  const draws = new Draws(seed, 1);
  const kind: Kind = draws.chance(0.25) ? 'encrypted' : 'plain';
  const sizes: MemorySetting = {
    packTargetBytes: draws.pick([9_000, 20_000, 1_000_000]),
    fingerprintBits: 32,
    random: seededRandom(seed),
  };
  try {
    const empty = memoryStore('empty');
    await init(placeOver(empty, sizes).env, empty, kind, { chunkBytes: CHUNK_BYTES });
    const content = await dump(empty);
    const one = placeOver(await fill(memoryStore('one'), content), sizes);
    const two = placeOver(await fill(memoryStore('two'), content), sizes);
    return await run(one, two, sizes, draws);
  } catch (cause) {
    throw new Error(`mutual patches, seed ${seed} (${kind})`, { cause });
  }
}

/** Two contents that differ a little in every chunk. */
function pair(draws: Draws): [Uint8Array, Uint8Array] {
  const first = noise(CHUNK_BYTES * (3 + draws.below(8)), draws.below(2 ** 32));
  const second = first.slice();
  for (let at = draws.below(CHUNK_BYTES); at < second.byteLength; at += CHUNK_BYTES) {
    second[at] = second[at]! ^ 0xff;
  }
  return [first, second];
}

async function run(one: Place, two: Place, sizes: MemorySetting, draws: Draws): Promise<number> {
  const shape: Shape = { chunkBytes: CHUNK_BYTES, contentBytesMax: CHUNK_BYTES * 10 };
  const model = new Model();
  const [first, second] = pair(draws);
  await put(one, model, 'alpha', first);
  await put(one, model, 'alpha', second);
  await put(two, new Model(), 'beta', second);
  await put(two, new Model(), 'beta', first);
  const packs = await leaveBehind(two, one, 'beta');
  await put(one, model, 'beta', draws.chance(0.5) ? first : second);
  await using repository = await openAt(one);
  const index = await repository.index();
  assert(
    packs.every((pack) => index.hasPack(pack)),
    'packs of the other writer are taken up',
  );
  assert((await patchesIn(one)) >= 4, 'both have patches');
  await look(one, model);
  await losePlainCopies(one, sizes, model);
  for (let round = 0; round < ROUNDS; round++) {
    if (mayForget(model)) await carryOut(one, model, planOne('forget', model, shape, draws));
    await carryOut(one, model, planOne('gc', model, shape, draws));
    await look(one, model);
    await put(one, model, draws.pick(['alpha', 'beta']), draws.pick([first, second]));
  }
  await judge(one, model, shape, draws);
  return ROUNDS + 3;
}

async function put(place: Place, model: Model, volume: string, bytes: Uint8Array): Promise<void> {
  const version: Version = { volume, sizeBytes: bytes.byteLength, bytes };
  model.volumes.set(volume, version);
  model.pending.add(version);
  const step: Step = { name: 'backup', volume, version };
  await carryOut(place, model, step);
}

/** As if the writer of `from` had worked on `to` and been cut off before its commit. */
async function leaveBehind(from: Place, to: Place, volume: string): Promise<string[]> {
  await using source = await openAt(from);
  await using target = await openAt(to);
  const packs = [...source.log.state.loosePacks];
  await using session = await Session.begin(to.env, target.objects, volume, 0);
  for (const pack of packs) {
    const key = packKey(pack);
    await session.add(pack);
    await target.objects.putIfAbsent(key, await source.objects.get(key, 2 ** 28));
  }
  return packs;
}

async function patchesIn(place: Place): Promise<number> {
  await using repository = await openAt(place);
  const index = await repository.index();
  let patches = 0;
  for (const pack of index.packIds()) {
    const { count, depths } = await index.tableOf(pack);
    for (let at = 0; at < count; at++) if (depths[at] !== 0) patches++;
  }
  return patches;
}

/** With every plain copy gone only the patches are left, in a ring: it is told, and ends. */
async function losePlainCopies(place: Place, sizes: MemorySetting, model: Model): Promise<void> {
  const content = new Map<string, Uint8Array>();
  {
    await using repository = await openAt(place);
    for (const [key, bytes] of await dump(repository.objects)) content.set(key, bytes);
    const index = await repository.index();
    for (const pack of index.packIds()) {
      const { count, depths, kinds } = await index.tableOf(pack);
      const chunks = Array.from({ length: count }, (_, at) => at).filter((at) => kinds[at] === 0);
      if (chunks.some((at) => depths[at] === 0)) content.delete(packKey(pack));
    }
  }
  const hurt: ObjectStore = await fill(memoryStore('hurt'), content);
  const there = placeOver(hurt, sizes);
  await using repository = await openAt(there);
  for (const snapshot of repository.snapshots()) {
    try {
      const digest = await restoredDigest(there.env, repository, snapshot);
      assert.equal(digest, digestOf(model.kept.get(snapshot.id)!), 'wrong bytes were restored');
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
    }
  }
  await using pool = codecPool(there.env, 0);
  const { problems } = await check(repository, { readData: true, pool });
  assert(problems.length > 0, 'lost packs are named');
}
