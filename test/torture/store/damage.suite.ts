/** Damage of every class to every kind of object: it is named, and no read takes it for right. */
import assert from 'node:assert/strict';
import { Draws } from '../../../sim/index.ts';
import { codecPool } from '../../../src/codec/index.ts';
import { equalBytes, FerryError } from '../../../src/core/index.ts';
import { memoryStore } from '../../../src/objects/index.ts';
import { check, type Repository } from '../../../src/store/index.ts';
import {
  dump,
  fill,
  init,
  type Kind,
} from '../../../src/transfer/backup/model-repository.fixture.ts';
import { placeOver, seededRandom } from './memory-place.suite.ts';
import { Model, type Shape } from './model.suite.ts';
import {
  carryOut,
  digestOf,
  openAt,
  type Place,
  planOne,
  restoredDigest,
} from './operations.suite.ts';

/** Checkpoints come every 64 entries, segments every 32 packs; each a little later than that. */
const LONG_HISTORY = 66;
const SHORT_HISTORY = 5;
const DAMAGES_PER_SEED = 24;
const SECTOR_BYTES = 512;

type Content = ReadonlyMap<string, Uint8Array>;
type Built = { readonly content: Content; readonly model: Model; readonly place: Place };

/** What becomes of an object; undefined: it is gone. */
type Damage = (good: Uint8Array, draws: Draws) => Uint8Array | undefined;

const classes: Record<string, Damage> = {
  'a flipped bit': (good, draws) => {
    const hurt = good.slice();
    const at = draws.below(hurt.byteLength);
    hurt[at] = hurt[at]! ^ (1 << draws.below(8));
    return hurt;
  },
  'a flipped bit in its first bytes': (good, draws) => {
    const hurt = good.slice();
    const at = draws.below(Math.min(48, hurt.byteLength));
    hurt[at] = hurt[at]! ^ (1 << draws.below(8));
    return hurt;
  },
  'a flipped bit in its last bytes': (good, draws) => {
    const hurt = good.slice();
    const at = hurt.byteLength - 1 - draws.below(Math.min(64, hurt.byteLength));
    hurt[at] = hurt[at]! ^ (1 << draws.below(8));
    return hurt;
  },
  'a sector of zeroes': (good, draws) => {
    const hurt = good.slice();
    const sector = draws.below(Math.ceil(hurt.byteLength / SECTOR_BYTES));
    return hurt.fill(0, sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES);
  },
  'two sectors in each other’s place': (good, draws) => {
    const hurt = good.slice();
    const sectors = Math.floor(hurt.byteLength / SECTOR_BYTES);
    const [from, to] = [draws.below(sectors) * SECTOR_BYTES, draws.below(sectors) * SECTOR_BYTES];
    hurt.set(good.subarray(from, from + SECTOR_BYTES), to);
    hurt.set(good.subarray(to, to + SECTOR_BYTES), from);
    return hurt;
  },
  'an end that is missing': (good, draws) => good.slice(0, draws.below(good.byteLength)),
  'a byte more': (good) => {
    const hurt = new Uint8Array(good.byteLength + 1);
    hurt.set(good);
    return hurt;
  },
  'no bytes': () => new Uint8Array(0),
  'no object': () => undefined,
};

/** Answers how many damages were tried; throws, with the seed, if one passed. */
export async function damageTrial(seed: number): Promise<number> {
  const draws = new Draws(seed, 1);
  const kind: Kind = draws.chance(0.4) ? 'encrypted' : 'plain';
  const history = draws.chance(0.2) ? LONG_HISTORY : SHORT_HISTORY;
  const built = await build(kind, history, seed, draws);
  const kinds = Map.groupBy(built.content.keys(), (key) => key.slice(0, key.indexOf('/')));
  let tried = 0;
  while (tried < DAMAGES_PER_SEED) {
    const key = draws.pick(kinds.get(draws.pick([...kinds.keys()]))!);
    const name = draws.pick(Object.keys(classes));
    const good = built.content.get(key)!;
    const hurt = other(built, key, draws) ?? classes[name]!(good, draws);
    if (hurt !== undefined && equalBytes(hurt, good)) continue;
    if (hurt === undefined && isUnknowable(built, key)) continue;
    try {
      await mustBeNamed(built, key, hurt);
    } catch (cause) {
      throw new Error(`damage, seed ${seed} (${kind}): ${name} in ${key}`, { cause });
    }
    tried++;
  }
  return tried;
}

/** Now and then another object of the same kind stands in the place of this one. */
function other({ content }: Built, key: string, draws: Draws): Uint8Array | undefined {
  if (!draws.chance(0.1)) return undefined;
  const folder = key.slice(0, key.indexOf('/') + 1);
  const keys = [...content.keys()].filter((each) => each.startsWith(folder) && each !== key);
  return keys.length === 0 ? undefined : content.get(draws.pick(keys));
}

/** Without its last entry a log is a whole, older one; only who knew the head can tell. */
function isUnknowable({ content }: Built, key: string): boolean {
  const last = [...content.keys()].filter((each) => each.startsWith('log/')).at(-1);
  // A checkpoint only saves reading: whoever lists finds another, or none.
  return key === last || key.startsWith('checkpoints/');
}

async function build(kind: Kind, history: number, seed: number, draws: Draws): Promise<Built> {
  const shape: Shape = { chunkBytes: 4096, contentBytesMax: 40_000 };
  const objects = memoryStore('good');
  const place = placeOver(objects, {
    packTargetBytes: 9_000,
    fingerprintBits: 32,
    random: seededRandom(seed),
  });
  const model = new Model();
  await init(place.env, objects, kind, { chunkBytes: shape.chunkBytes });
  for (let at = 0; at < history; at++) {
    await carryOut(place, model, planOne('backup', model, shape, draws));
  }
  return { content: await dump(objects), model, place };
}

async function mustBeNamed(
  { content, model, place }: Built,
  key: string,
  bytes: Uint8Array | undefined,
): Promise<void> {
  const hurt = new Map(content);
  if (bytes === undefined) hurt.delete(key);
  else hurt.set(key, bytes);
  const objects = await fill(memoryStore('hurt'), hurt);
  const said = await whatIsSaid({ ...place, objects: async () => objects }, model);
  // Nothing else tells how the only key was called.
  const name = key.startsWith('keys/') ? 'keys/' : key.slice(key.lastIndexOf('/') + 1);
  assert(said.includes(name), `not named: ${said || 'nothing was said'}`);
}

/** What opening or check says; wrong bytes and untyped errors fail the trial. */
async function whatIsSaid(place: Place, model: Model): Promise<string> {
  let repository: Repository;
  try {
    repository = await openAt(place);
  } catch (error) {
    assert(error instanceof FerryError, String((error as Error).stack));
    return error.message;
  }
  const snapshots = repository.snapshots();
  for (const snapshot of [snapshots.at(0), snapshots.at(-1)]) {
    if (snapshot === undefined) continue;
    const known = model.kept.get(snapshot.id);
    assert(known !== undefined, 'a snapshot out of nowhere');
    try {
      const digest = await restoredDigest(place.env, repository, snapshot);
      assert.equal(digest, digestOf(known), `${snapshot.id}: wrong bytes were taken for right`);
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
    }
  }
  await using again = await openAt(place);
  await using pool = codecPool(place.env, 0);
  const { problems } = await check(again, { readData: true, pool });
  return problems.map(({ object, message }) => `${object}: ${message}`).join('\n');
}
