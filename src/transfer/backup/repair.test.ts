/**
 * Goal: whatever was damaged, a repair keeps what is whole and names what is not, and the next
 * backup heals it.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { codecPool } from '../../codec/index.ts';
import { equalBytes, FerryError, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import { Repository, rebuildIndex, repairAll, type Snapshot } from '../../store/index.ts';
import {
  backUp,
  checked,
  dump,
  type Expected,
  fill,
  init,
  type Kind,
  kinds,
  noise,
  open,
  restored,
  secret,
} from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK_BYTES = 4096;

type Content = Map<string, Uint8Array>;
type Built = { readonly content: Content; readonly expected: Expected };

/** Snapshots that share most, with patches upon patches, in several packs each. */
async function build(versions: number, kind: Kind): Promise<Built> {
  const objects = memoryStore('good');
  await init(env, objects, kind, { chunkBytes: CHUNK_BYTES });
  const repository = await open(env, objects);
  const expected: Expected = new Map();
  let bytes = noise(12 * CHUNK_BYTES + 1000, 1);
  bytes.fill(0, 2 * CHUNK_BYTES, 4 * CHUNK_BYTES);
  for (let version = 0; version < versions; version++) {
    bytes = bytes.slice();
    bytes.set(noise(20, version), ((version % 4) + 4) * CHUNK_BYTES + 50);
    bytes.set(noise(9, version), CHUNK_BYTES + 70 * (version % 50));
    bytes.set(noise(CHUNK_BYTES, version + 100), 9 * CHUNK_BYTES);
    const { snapshot } = await backUp(env, repository, bytes, { packTargetBytes: 8000 });
    expected.set(snapshot.id, bytes);
  }
  return { content: await dump(objects), expected };
}

let small: Built;
let long: Built;
const byKind = new Map<Kind, Built>();

before(async () => {
  for (const kind of kinds) byKind.set(kind, await build(4, kind));
  small = byKind.get('plain')!;
  long = await build(68, 'plain');
});

async function repaired(objects: ObjectStore, from?: Content) {
  await using pool = codecPool(env, 0);
  if (from === undefined) return repairAll(env, objects, { pool, dryRun: false, open: { secret } });
  const mirror = await open(env, await fill(memoryStore('mirror'), from));
  return repairAll(env, objects, { pool, dryRun: false, from: mirror, open: { secret } });
}

/** By snapshot: its bytes, or the code of what went wrong. */
async function outcomes(objects: ObjectStore, expected: Expected): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let repository: Repository;
  try {
    repository = await open(env, objects);
  } catch (error) {
    assert(error instanceof FerryError);
    return found;
  }
  const all = repository.snapshots();
  const some = all.filter((_, at) => at < 4 || at > all.length - 4);
  for (const snapshot of some) {
    const right = expected.get(snapshot.id);
    if (right === undefined) continue;
    try {
      const bytes = await restored(env, repository, snapshot);
      assert(equalBytes(bytes, right), 'wrong bytes were restored');
      found.set(snapshot.id, 'right');
    } catch (error) {
      assert(error instanceof FerryError, String(error));
      found.set(snapshot.id, error.code);
    }
  }
  return found;
}

function keys({ content }: Built, prefix: string): string[] {
  return [...content.keys()].filter((key) => key.startsWith(prefix));
}

/** Ways to hurt one object. */
const hurts: Readonly<Record<string, (good: Uint8Array) => Uint8Array | undefined>> = {
  gone: () => undefined,
  empty: () => new Uint8Array(0),
  half: (good) => good.slice(0, good.byteLength / 2),
  cut: (good) => good.slice(0, -1),
  'early flip': (good) => flipped(good, 0.1),
  'middle flip': (good) => flipped(good, 0.5),
  'late flip': (good) => flipped(good, 0.97),
};

function flipped(good: Uint8Array, share: number): Uint8Array {
  const bytes = good.slice();
  const at = Math.floor(bytes.byteLength * share);
  bytes[at] = bytes[at]! ^ 0x10;
  return bytes;
}

async function hurt(
  { content }: Built,
  key: string,
  change: (good: Uint8Array) => Uint8Array | undefined,
): Promise<ObjectStore> {
  const objects = await fill(memoryStore('hurt'), content);
  const bytes = change(content.get(key)!);
  await objects.remove(key);
  if (bytes !== undefined) await objects.putIfAbsent(key, bytes);
  return objects;
}

/** What was right before is right afterwards, and a second repair finds nothing to do. */
async function keeps(built: Built, objects: ObjectStore, what: string): Promise<void> {
  const before = await outcomes(objects, built.expected);
  const { check } = await repaired(objects);
  const after = await outcomes(objects, built.expected);
  for (const [id, outcome] of before) {
    if (outcome === 'right') assert.equal(after.get(id), 'right', `${what}: lost by the repair`);
  }
  const again = await repaired(objects);
  const more = again.notes.filter(({ action }) => action !== 'lost');
  assert.deepEqual(more, [], `${what}: a second repair`);
  assert.deepEqual(again.check?.problems, check?.problems, what);
}

/** Encrypted and long ones take time: three of the ways show what there is to see. */
function builtFor(name: string, more: readonly Built[]): readonly Built[] {
  const thorough = ['gone', 'half', 'middle flip'].includes(name);
  return thorough ? [...byKind.values(), ...more] : [small];
}

for (const [name, change] of Object.entries(hurts)) {
  test(`${name}: with a mirror every object comes back, one at a time`, async () => {
    for (const built of builtFor(name, [long])) {
      const chosen =
        built !== long
          ? [...built.content.keys()]
          : [
              ...keys(long, 'index/'),
              ...keys(long, 'checkpoints/'),
              ...keys(long, 'log/').slice(0, 2),
            ];
      for (const key of chosen) {
        const last = key === keys(built, 'log/').at(-1);
        if (last && change(built.content.get(key)!) === undefined) continue;
        const objects = await hurt(built, key, change);
        const { check, notes } = await repaired(objects, built.content);
        assert.deepEqual(check?.problems, [], `${name} ${key}`);
        // A checkpoint that is gone is no damage: it only saves reading.
        const harmless = name === 'gone' && key.startsWith('checkpoints/');
        assert(harmless || notes.length > 0, `${name} ${key}: nothing was told`);
        const after = await outcomes(objects, built.expected);
        assert.deepEqual([...new Set(after.values())], ['right'], `${name} ${key}`);
        if (built !== long) assert.equal(after.size, built.expected.size);
      }
    }
  });

  test(`${name}: without one, what is whole stays, and the next backup heals the newest`, async () => {
    for (const built of builtFor(name, []))
      for (const key of built.content.keys()) {
        if (key.startsWith('keys/')) continue; // The only key: nobody could open it.
        const objects = await hurt(built, key, change);
        await keeps(built, objects, `${name} ${key}`);
        const newest = [...built.expected.values()].at(-1)!;
        const repository = await open(env, objects);
        const { snapshot } = await backUp(env, repository, newest, { packTargetBytes: 8000 });
        const fresh: Snapshot = (await open(env, objects)).latest('disk')!;
        assert.equal(fresh.id, snapshot.id);
        assert(equalBytes(await restored(env, await open(env, objects), fresh), newest), key);
        const { problems } = await checked(env, await open(env, objects));
        // Only older snapshots may still miss something, and lost log entries their bytes.
        for (const { object } of problems)
          assert(!object.startsWith('packs/'), `${key}: ${object}`);
        for (const { object } of problems) assert(!object.includes(snapshot.id.slice(0, 8)), key);
      }
  });
}

test('with index/ gone every lookup is answered as before', async () => {
  const whole = await fill(memoryStore('whole'), long.content);
  const before = await (await open(env, whole)).index();
  const ids: Uint8Array[] = [];
  for (const pack of before.packIds()) {
    const table = await before.tableOf(pack);
    for (let at = 0; at < table.count; at++) ids.push(table.id(at).slice());
  }
  assert(keys(long, 'index/').length >= 2 && ids.length > 100);
  const content = new Map(long.content);
  for (const key of keys(long, 'index/')) content.delete(key);
  const objects = await fill(memoryStore('bare'), content);
  await rebuildIndex(env, await open(env, objects));
  const after = await (await open(env, objects)).index();
  for (const id of ids) {
    for (const kind of [0, 1, 'any'] as const) {
      const [old, now] = [
        await before.find(id, undefined, kind),
        await after.find(id, undefined, kind),
      ];
      assert.deepEqual([now?.packId, now?.ordinal], [old?.packId, old?.ordinal]);
    }
  }
  assert.deepEqual((await checked(env, await open(env, objects))).problems, []);
});

test('a dry run tells the same and changes nothing', async () => {
  await using pool = codecPool(env, 0);
  for (const key of small.content.keys()) {
    const objects = await hurt(small, key, (good) => flipped(good, 0.5));
    const before = await dump(objects);
    const { notes, check } = await repairAll(env, objects, { pool, dryRun: true });
    assert(notes.length > 0, key);
    assert.equal(check, undefined);
    assert.deepEqual(await dump(objects), before);
  }
});

test('no damaged byte is thrown away', async () => {
  for (const key of [...keys(small, 'packs/'), 'superblock/0', keys(small, 'log/')[1]!]) {
    const objects = await hurt(small, key, (good) => flipped(good, 0.5));
    const damaged = await objects.get(key, 2 ** 24);
    await repaired(objects, small.content);
    const aside = [...(await dump(objects))].filter(([name]) => name.startsWith('quarantine/'));
    assert(
      aside.some(([, bytes]) => equalBytes(bytes, damaged)),
      key,
    );
  }
});

test('a whole repository has nothing to repair', async () => {
  for (const { content } of [small, long]) {
    const objects = await fill(memoryStore('whole'), content);
    const { notes, check } = await repaired(objects);
    assert.deepEqual([notes, check?.problems], [[], []]);
    assert.deepEqual(await dump(objects), content);
  }
});

/** Other chunk order, other packs, another id: a repository that happens to hold the same disks. */
async function stranger(expected: Expected, skip: number): Promise<Content> {
  const objects = memoryStore('stranger');
  await Repository.init(env, objects, { chunkBytes: CHUNK_BYTES });
  const repository = await open(env, objects);
  for (const bytes of [...expected.values()].slice(0, expected.size - skip).reverse()) {
    await backUp(env, repository, bytes, { volume: 'copy', packTargetBytes: 20_000 });
  }
  return dump(objects);
}

test('a repository that is no mirror gives the chunks that it has', async () => {
  const from = await stranger(small.expected, 0);
  let taken = 0;
  for (const key of keys(small, 'packs/')) {
    for (const change of [hurts.gone!, hurts['middle flip']!]) {
      const objects = await hurt(small, key, change);
      const { check, notes } = await repaired(objects, from);
      taken += notes.filter(({ action }) => action === 'taken').length;
      const lost = check!.problems.filter(({ code }) => code !== 'STORE_MISSING');
      // Manifests are of one repository only; chunks are anybody's.
      for (const { message } of lost) assert.doesNotMatch(message, /has lost/, key);
    }
  }
  assert(taken > 0);
});

test('an older copy of the same disk has the base that newer patches stand on', async () => {
  const from = await stranger(small.expected, 2);
  for (const key of keys(small, 'packs/')) {
    const objects = await hurt(small, key, (good) => flipped(good, 0.3));
    await keeps(small, objects, key);
    const other = await hurt(small, key, (good) => flipped(good, 0.3));
    const without = (await repaired(objects)).check!.problems.length;
    const withIt = (await repaired(other, from)).check!.problems.length;
    assert(withIt <= without, key);
  }
});

test('packs and log entries that changed places are put right from a mirror, named without', async () => {
  for (const prefix of ['packs/', 'log/']) {
    const all = keys(small, prefix);
    for (const [at, first] of all.entries()) {
      const second = all[(at + 1) % all.length]!;
      const content = new Map(small.content);
      content.set(first, small.content.get(second)!);
      content.set(second, small.content.get(first)!);
      const healed = await fill(memoryStore('swapped'), content);
      assert.deepEqual((await repaired(healed, small.content)).check?.problems, [], first);
      const after = await outcomes(healed, small.expected);
      assert.deepEqual([...after.values()], ['right', 'right', 'right', 'right']);
      await keeps(small, await fill(memoryStore('swapped'), content), first);
    }
  }
});

test('two of everything damaged at once: what was right stays right', async () => {
  const all = [...small.content.keys()].filter((key) => !key.startsWith('superblock/'));
  for (let seed = 0; seed < 12; seed++) {
    const content = new Map(small.content);
    for (let times = 0; times < 3; times++) {
      const key = all[(seed * 7 + times * 11) % all.length]!;
      const ways = Object.values(hurts);
      const bytes = ways[(seed + times * 3) % ways.length]!(content.get(key) ?? new Uint8Array(1));
      if (bytes === undefined) content.delete(key);
      else content.set(key, bytes);
    }
    await keeps(small, await fill(memoryStore('hurt'), content), `seed ${seed}`);
  }
});

test('cut off at every write, a repair is run again and ends as if it had not been', async () => {
  const isWrite = (operation: string) =>
    ['put', 'create', 'append', 'commit', 'remove'].includes(operation);
  for (const key of [
    'superblock/1',
    keys(small, 'log/')[1]!,
    ...keys(small, 'packs/').slice(0, 1),
  ]) {
    for (let writes = 0; ; writes++) {
      const objects = await hurt(small, key, (good) => flipped(good, 0.4));
      const right = await outcomes(objects, small.expected);
      let count = 0;
      const dying = faultStore(objects, ({ operation }) =>
        isWrite(operation) && count++ >= writes ? { code: 'OBJECT_IO' } : undefined,
      );
      const cut = await repaired(dying, small.content).then(
        () => false,
        (error) => {
          assert(error instanceof FerryError, String(error));
          return true;
        },
      );
      const { check } = await repaired(objects, small.content);
      assert.deepEqual(check?.problems, [], `${key}, cut after ${writes} writes`);
      for (const id of right.keys()) {
        assert.equal((await outcomes(objects, small.expected)).get(id), 'right');
      }
      if (!cut) break;
    }
  }
});

for (const kind of kinds) {
  test(`${kind}: a pack whose table is lost is searched for what is whole`, async () => {
    const built = byKind.get(kind)!;
    let searched = 0;
    for (const key of keys(built, 'packs/')) {
      const objects = await hurt(built, key, (good) => flipped(good, 0.999));
      const { check, notes } = await repaired(objects);
      assert.deepEqual(check?.problems, [], `${key}: ${JSON.stringify(notes)}`);
      const after = await outcomes(objects, built.expected);
      assert.deepEqual([...new Set(after.values())], ['right'], key);
      // Cut in front of the table, and one frame damaged too: the others are kept.
      const worse = () => hurt(built, key, (good) => flipped(good.slice(0, -200), 0.3));
      await keeps(built, await worse(), key);
      const { notes: found } = await repaired(await worse());
      if (found.some((note) => note.action === 'rewritten' && note.object === key)) searched++;
    }
    assert(searched > 0, 'some packs have more than the frame that was hurt');
  });
}
