/** Goal: no damage to any stored object passes: check names it, and no read returns wrong bytes. */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { FerryError, nodeEnv } from '../../core/index.ts';
import { faultStore, memoryStore, type ObjectStore } from '../../objects/index.ts';
import type { CheckReport, Repository, Snapshot } from '../../store/index.ts';
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
  readAsDevice,
  restored,
  rightOrTyped,
} from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK_BYTES = 4096;

type Content = Map<string, Uint8Array>;
type Built = { readonly content: Content; readonly expected: Expected };

/** Versions of a small volume that change a little, so that patches come about. */
async function build(kind: Kind, versions: number): Promise<Built> {
  const objects = memoryStore('good');
  await init(env, objects, kind, { chunkBytes: CHUNK_BYTES });
  const repository = await open(env, objects);
  const expected: Expected = new Map();
  let bytes = noise(10 * CHUNK_BYTES + 1000, 1);
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

/** Where the long history is looked at: the oldest, one in the middle, the newest. */
function some(snapshots: readonly Snapshot[]): Snapshot[] {
  const places = [0, Math.floor(snapshots.length / 2), snapshots.length - 1];
  return snapshots.filter((_, at) => snapshots.length <= 3 || places.includes(at));
}

type Verdict = {
  /** What opening or check said; empty if nothing. */
  readonly said: string;
  readonly rightReads: number;
  readonly refusedReads: number;
};

/** Opens, checks and reads a repository of this content; wrong bytes fail the test. */
async function judge(content: Content, expected: Expected, what: string): Promise<Verdict> {
  const objects = await fill(memoryStore('hurt'), content);
  let repository: Repository;
  try {
    repository = await open(env, objects);
  } catch (error) {
    assert(error instanceof FerryError, `${what}: ${(error as Error).stack}`);
    return { said: error.message, rightReads: 0, refusedReads: 0 };
  }
  let rightReads = 0;
  let refusedReads = 0;
  for (const snapshot of some(repository.snapshots())) {
    const right = expected.get(snapshot.id);
    assert(right !== undefined, `${what}: a snapshot out of nowhere`);
    for (const read of [restored.bind(null, env), readAsDevice]) {
      const got = await rightOrTyped(() => read(repository, snapshot), right, what);
      if (got === 'right') rightReads++;
      else refusedReads++;
    }
  }
  const report: CheckReport = await checked(env, await open(env, objects));
  const said = report.problems.map(({ object, message }) => `${object}: ${message}`).join('\n');
  return { said, rightReads, refusedReads };
}

/** The part of a key that every message about the object must hold. */
function nameOf(key: string): string {
  // Nothing else tells how the only key was called.
  if (key.startsWith('keys/')) return 'keys/';
  return key.slice(key.lastIndexOf('/') + 1);
}

async function mustBeNamed(built: Built, key: string, bytes: Uint8Array | undefined, what: string) {
  const content = new Map(built.content);
  if (bytes === undefined) content.delete(key);
  else content.set(key, bytes);
  const verdict = await judge(content, built.expected, what);
  assert(verdict.said.includes(nameOf(key)), `${what} was not named: ${verdict.said || 'nothing'}`);
  return verdict;
}

function keys(built: Built, prefix: string): string[] {
  return [...built.content.keys()].filter((key) => key.startsWith(prefix));
}

/** All positions of what is small, and about `count` of what is not, ends included. */
function positions(from: number, to: number, count: number): number[] {
  const length = to - from;
  if (length <= count) return Array.from({ length }, (_, at) => from + at);
  const step = length / count;
  const spread = Array.from({ length: count }, (_, at) => from + Math.floor(at * step));
  return [...new Set([...spread, to - 1])];
}

async function flips(built: Built, key: string, at: readonly number[]): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  const good = built.content.get(key)!;
  for (const position of at) {
    const hurt = good.slice();
    hurt[position] = hurt[position]! ^ (1 << ((position * 5) % 8));
    verdicts.push(await mustBeNamed(built, key, hurt, `a bit of byte ${position} of ${key}`));
  }
  return verdicts;
}

const HEADER = 44;
const FOOTER = 28;

/** The regions of a pack by its footer. */
function regions(pack: Uint8Array): Record<string, readonly [number, number]> {
  const view = new DataView(pack.buffer, pack.byteOffset + pack.byteLength - FOOTER, FOOTER);
  const frames = Number(view.getBigUint64(0, true));
  return {
    header: [0, HEADER],
    frames: [HEADER, frames],
    table: [frames, pack.byteLength - FOOTER],
    footer: [pack.byteLength - FOOTER, pack.byteLength],
  };
}

/** `superblockBytes` of each copy of the superblock are damaged, one by one. */
export function damageSuite(superblockBytes: number): void {
  for (const kind of kinds) {
    describe(`${kind}:`, () => {
      before(async () => {
        small = await build(kind, 3);
        long = await build(kind, 70);
      });
      suite(superblockBytes);
    });
  }
}

function suite(superblockBytes: number): void {
  test('the repository under test has what is to be damaged: patches, segments, a checkpoint', async () => {
    assert.equal(keys(small, 'log/').length, 3);
    assert(keys(small, 'packs/').length >= 3);
    assert.equal(keys(long, 'checkpoints/').length, 1);
    assert(keys(long, 'index/').length >= 2);
    const repository = await open(env, await fill(memoryStore('a'), small.content));
    const index = await repository.index();
    let patches = 0;
    for (const pack of repository.log.state.loosePacks) {
      const table = await index.tableOf(pack);
      for (let at = 0; at < table.count; at++) if (table.depths[at] !== 0) patches++;
    }
    assert(patches >= 2, `${patches} patches`);
    for (const built of [small, long]) {
      assert.equal((await judge(built.content, built.expected, 'nothing')).said, '');
    }
  });

  for (const copy of [0, 1]) {
    test(`bytes all over superblock copy ${copy}: named, and everything still reads right`, async () => {
      const key = `superblock/${copy}`;
      const { byteLength } = small.content.get(key)!;
      const verdicts = await flips(small, key, positions(0, byteLength, superblockBytes));
      assert(verdicts.every(({ rightReads }) => rightReads === 6));
    });
  }

  test('every byte of every log entry', async () => {
    for (const key of keys(small, 'log/')) {
      await flips(small, key, positions(0, small.content.get(key)!.byteLength, 200));
    }
  });

  for (const region of ['header', 'frames', 'table', 'footer']) {
    test(`bytes all over the ${region} of every pack`, async () => {
      let refused = 0;
      for (const key of keys(small, 'packs/')) {
        const [from, to] = regions(small.content.get(key)!)[region]!;
        for (const verdict of await flips(small, key, positions(from, to, 60))) {
          refused += verdict.refusedReads;
        }
      }
      if (region !== 'header') assert(refused > 0, 'some reads need the damaged part');
    });
  }

  test('bytes all over segments and the checkpoint; what a checkpoint covers still reads right', async () => {
    for (const key of [...keys(long, 'index/'), ...keys(long, 'checkpoints/')]) {
      const size = long.content.get(key)!.byteLength;
      const verdicts = await flips(long, key, positions(0, size, 25));
      if (key.startsWith('checkpoints/'))
        assert(verdicts.every(({ rightReads }) => rightReads === 6));
    }
  });

  test('an old log entry behind a checkpoint is named by check, and does no other harm', async () => {
    const key = keys(long, 'log/')[9]!;
    const verdicts = await flips(long, key, positions(0, long.content.get(key)!.byteLength, 10));
    assert(verdicts.every(({ rightReads }) => rightReads === 6));
    await mustBeNamed(long, key, undefined, `the loss of ${key}`);
  });

  test('objects that are cut short, at every awkward length', async () => {
    for (const built of [small, long]) {
      const all = [...built.content.keys()];
      const chosen =
        built === small ? all : [...keys(long, 'index/'), ...keys(long, 'checkpoints/')];
      for (const key of chosen) {
        const good = built.content.get(key)!;
        const size = good.byteLength;
        for (const length of [0, 1, Math.floor(size / 2), size - 1]) {
          await mustBeNamed(built, key, good.slice(0, length), `${key} cut to ${length}`);
        }
        const longer = new Uint8Array(size + 1);
        longer.set(good);
        await mustBeNamed(built, key, longer, `${key} with a byte more`);
      }
    }
  });

  test('objects that are gone, one at a time', async () => {
    const last = keys(small, 'log/').at(-1)!;
    for (const built of [small, long]) {
      const prefixes = built === small ? [''] : ['index/'];
      for (const key of prefixes.flatMap((prefix) => keys(built, prefix))) {
        if (built === small && key === last) continue;
        await mustBeNamed(built, key, undefined, `the loss of ${key}`);
      }
    }
  });

  test('without its last log entry a repository is a whole, older one: who knew the head notices', async () => {
    const content = new Map(small.content);
    content.delete(keys(small, 'log/').at(-1)!);
    const verdict = await judge(content, small.expected, 'the loss of the newest entry');
    assert.deepEqual(verdict, { said: '', rightReads: 4, refusedReads: 0 });
    const objects = await fill(memoryStore('older'), content);
    const report = await checked(env, await open(env, objects));
    assert(report.orphanPacks > 0, 'what it had added is counted as left over');
  });

  test('packs that changed places, and packs that stand for another, are named', async () => {
    const packs = keys(small, 'packs/');
    for (const [at, first] of packs.entries()) {
      const second = packs[(at + 1) % packs.length]!;
      const content = new Map(small.content);
      content.set(first, small.content.get(second)!);
      content.set(second, small.content.get(first)!);
      const swapped = await judge(content, small.expected, `${first} and ${second} swapped`);
      assert(swapped.said.includes(nameOf(first)) && swapped.said.includes(nameOf(second)));
      await mustBeNamed(small, first, small.content.get(second)!, `${second} in place of ${first}`);
    }
  });

  test('log entries that stand for another are named', async () => {
    const entries = keys(small, 'log/');
    for (const key of entries) {
      for (const other of entries) {
        if (key === other) continue;
        await mustBeNamed(small, key, small.content.get(other)!, `${other} in place of ${key}`);
      }
    }
  });

  test('one lost pack leaves what does not need it readable, and the next backup heals its chunks', async () => {
    for (const key of keys(small, 'packs/')) {
      const content = new Map(small.content);
      content.delete(key);
      const objects: ObjectStore = await fill(memoryStore('hurt'), content);
      const repository = await open(env, objects);
      const bytes = noise(5 * CHUNK_BYTES, 77);
      // A volume of its own: the parent's manifest may be what was lost.
      const { snapshot } = await backUp(env, repository, bytes, { volume: 'other' });
      const again = await open(env, objects);
      assert.deepEqual(await restored(env, again, snapshot), bytes);
      const whole = small.expected.get(repository.latest('disk')!.id)!;
      const healed = await backUp(env, again, whole, { volume: 'third' });
      const third = await open(env, objects);
      assert.deepEqual(await restored(env, third, healed.snapshot), whole);
    }
  });

  test('both superblocks gone: it is no repository', async () => {
    const content = new Map(small.content);
    content.delete('superblock/0');
    content.delete('superblock/1');
    const objects = await fill(memoryStore('a'), content);
    await assert.rejects(open(env, objects), { code: 'STORE_NOT_A_REPOSITORY' });
  });

  test('a store that fails while it is checked is told as such, not as damage', async () => {
    const inner = await fill(memoryStore('a'), small.content);
    const frames = faultStore(inner, ({ operation, key, number }) =>
      operation === 'get-range' && key.startsWith('packs/') && number > 40
        ? { code: 'OBJECT_IO' }
        : undefined,
    );
    const report = await checked(env, await open(env, frames));
    assert(report.problems.length > 0);
    for (const { code } of report.problems) assert.equal(code, 'STORE_IO');
    const whole = await checked(env, await open(env, inner));
    assert.deepEqual(whole.problems, []);
  });
}
