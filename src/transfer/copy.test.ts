/** Goal: a copy is the snapshot, bit for bit, with its facts; only what is missing travels. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode } from '../core/index.ts';
import { memoryStore, type ObjectStore } from '../objects/index.ts';
import { Repository } from '../store/index.ts';
import { forget, gc, versionsOf } from './backup/gc.fixture.ts';
import {
  backUp,
  type Expected,
  init,
  type Kind,
  kinds,
  open,
} from './backup/model-repository.fixture.ts';
import { copy, select } from './copy/index.ts';
import { copyAll, env, verifyCopies } from './copy.fixture.ts';

type Filled = { readonly objects: ObjectStore; readonly expected: Expected };

async function empty(kind: Kind, chunkBytes = 65536): Promise<ObjectStore> {
  const objects = memoryStore(`${kind} ${chunkBytes}`);
  await init(env, objects, kind, { chunkBytes });
  return objects;
}

async function addVersions({ objects, expected }: Filled, from: number, to: number) {
  for (const bytes of versionsOf(to).slice(from)) {
    const repository = await open(env, objects);
    const { snapshot } = await backUp(env, repository, bytes, { packTargetBytes: 60_000 });
    expected.set(snapshot.id, bytes);
  }
}

async function filled(count: number, kind: Kind = 'plain', chunkBytes = 65536): Promise<Filled> {
  const made = { objects: await empty(kind, chunkBytes), expected: new Map() };
  await addVersions(made, 0, count);
  return made;
}

for (const from of kinds) {
  for (const to of kinds) {
    test(`${from} to ${to}: all of it, then nothing, then only what is new`, async () => {
      const source = await filled(3, from);
      const target = await empty(to);
      const first = await copyAll(source.objects, target);
      assert.deepEqual(first.refused, []);
      assert.deepEqual(await verifyCopies(target, source.expected), [...source.expected.keys()]);
      const [whole, ...later] = first.copied;
      // The first has everything; the others are compared with it.
      assert(whole!.readBytes >= 800_000);
      for (const { base, readBytes } of later) {
        assert(base !== undefined);
        // Ids that are keyed on both sides say nothing of the digest: whole leaves are read.
        if (from === 'plain' || to === 'plain') assert(readBytes < 500_000, `${readBytes}`);
      }
      const second = await copyAll(source.objects, target);
      assert.deepEqual([second.copied, second.selection.presentCount], [[], 3]);
      await addVersions(source, 3, 4);
      const third = await copyAll(source.objects, target);
      assert.equal(third.copied.length, 1);
      assert.deepEqual(await verifyCopies(target, source.expected), [...source.expected.keys()]);
    });
  }
}

test('what people said of a snapshot goes with it, and where it comes from', async () => {
  const source = await filled(2);
  const repository = await open(env, source.objects);
  const [older, newer] = repository.snapshots();
  await repository.tag([older!], { added: ['release', 'audit'] });
  await repository.hold([older!], true);
  const target = await empty('encrypted');
  await copyAll(source.objects, target);
  const [copyOfOlder, copyOfNewer] = (await open(env, target)).snapshots();
  const { id, time, digest, sizeBytes, source: found, origin, volume } = older!;
  assert.deepEqual(copyOfOlder!.tags, ['audit', 'release']);
  assert.equal(copyOfOlder!.held, true);
  assert.equal(copyOfNewer!.held, false);
  assert.notEqual(copyOfOlder!.id, id);
  const facts = { copyOf: id, time, digest, sizeBytes, source: found, origin, volume };
  for (const [key, value] of Object.entries(facts)) {
    assert.equal(copyOfOlder![key as keyof typeof facts], value, key);
  }
  assert.equal(copyOfNewer!.parent, copyOfOlder!.id);
  assert.equal(copyOfNewer!.copyOf, newer!.id);
});

test('a copy of a copy is known for what it is, on the way back too', async () => {
  const source = await filled(2);
  const middle = await empty('encrypted');
  const end = await empty('plain');
  await copyAll(source.objects, middle);
  await copyAll(middle, end);
  assert.deepEqual(await verifyCopies(end, source.expected), [...source.expected.keys()]);
  for (const [from, to] of [
    [source.objects, end],
    [end, source.objects],
    [end, middle],
  ] as const) {
    const { copied, selection } = await copyAll(from, to);
    assert.deepEqual([copied.length, selection.presentCount], [0, 2]);
  }
});

for (const [fromBytes, toBytes] of [
  [4096, 65536],
  [65536, 4096],
  [1024 * 1024, 65536],
  [16384, 16384],
] as const) {
  test(`chunks of ${fromBytes} bytes become chunks of ${toBytes}`, async () => {
    const source = await filled(3, 'plain', fromBytes);
    for (const kind of kinds) {
      const target = await empty(kind, toBytes);
      await copyAll(source.objects, target);
      assert.deepEqual(await verifyCopies(target, source.expected), [...source.expected.keys()]);
    }
  });
}

test('what the destination has of other volumes is neither read nor stored again', async () => {
  const source = await filled(1);
  for (const kind of kinds) {
    const target = await empty(kind);
    const [bytes] = source.expected.values();
    await backUp(env, await open(env, target), bytes!, { volume: 'other' });
    const { copied } = await copyAll(source.objects, target);
    const [only] = copied;
    assert.deepEqual([only!.readBytes, only!.newBytes], [0, 0]);
    assert(only!.foundBytes >= 800_000);
    assert.equal(only!.copy.digest, only!.snapshot.digest);
  }
});

test('what retention removed there stays away, unless it is asked for', async () => {
  const source = await filled(3);
  const target = await empty('plain');
  await copyAll(source.objects, target);
  const copies = (await open(env, target)).snapshots();
  await forget(target, new Map(), [copies[0]!.id, copies[1]!.id]);
  await gc(target);
  const again = await copyAll(source.objects, target);
  assert.deepEqual([again.copied.length, again.selection.older.length], [0, 2]);
  const [oldest] = source.expected.keys();
  const named = await copyAll(source.objects, target, { names: [`disk@${oldest!.slice(0, 12)}`] });
  assert.deepEqual(
    named.selection.late.map(({ id }) => id),
    [oldest],
  );
  const left = await verifyCopies(target, source.expected);
  assert.deepEqual(left, [[...source.expected.keys()][2], oldest]);
});

test('a source that forgets and collects, and a destination that lost its newest', async () => {
  const source = await filled(3);
  const target = await empty('encrypted');
  await copyAll(source.objects, target);
  const all = new Map(source.expected);
  const ids = [...source.expected.keys()];
  await forget(source.objects, source.expected, [ids[0]!, ids[1]!]);
  await gc(source.objects);
  const newest = (await open(env, target)).latest('disk')!;
  await forget(target, new Map(), [newest.id]);
  await gc(target);
  const { copied } = await copyAll(source.objects, target);
  assert.deepEqual(
    copied.map(({ snapshot }) => snapshot.id),
    [ids[2]],
  );
  assert.deepEqual(await verifyCopies(target, all), ids);
});

test('one volume, one snapshot, and names that mean nothing', async () => {
  const source = await filled(2);
  const [bytes] = source.expected.values();
  await backUp(env, await open(env, source.objects), bytes!, { volume: 'other' });
  const target = await empty('plain');
  const only = await copyAll(source.objects, target, { names: ['disk@latest~1'] });
  assert.deepEqual(
    only.copied.map(({ snapshot }) => snapshot.volume),
    ['disk'],
  );
  const rest = await copyAll(source.objects, target, { names: ['disk'] });
  assert.equal(rest.copied.length, 1);
  const other = await copyAll(source.objects, target);
  assert.deepEqual(
    other.copied.map(({ snapshot }) => snapshot.volume),
    ['other'],
  );
  await assert.rejects(copyAll(source.objects, target, { names: ['nobody'] }), (error) =>
    hasCode(error, 'STORE_VOLUME_NOT_FOUND'),
  );
});

test('a repository is not copied into itself, nor one volume into the middle of another', async () => {
  const source = await filled(1);
  await assert.rejects(copyAll(source.objects, source.objects), (error) =>
    hasCode(error, 'TRANSFER_SAME_REPOSITORY'),
  );
  const target = await empty('plain');
  const [bytes] = source.expected.values();
  await backUp(env, await open(env, target), bytes!, { origin: 'another disk' });
  await assert.rejects(copyAll(source.objects, target), (error) =>
    hasCode(error, 'TRANSFER_VOLUME_TAKEN'),
  );
  assert.equal((await open(env, target)).snapshots().length, 1);
});

test('sizes that are no multiple of anything, that grow and shrink, and no size at all', async () => {
  const source = await filled(1);
  const [bytes] = source.expected.values();
  for (const size of [700_001, 0, 65_537, 900_000]) {
    const part = bytes!.slice(0, size);
    const { snapshot } = await backUp(env, await open(env, source.objects), part);
    source.expected.set(snapshot.id, part);
  }
  for (const [kind, chunkBytes] of [
    ['plain', 65536],
    ['encrypted', 65536],
    ['plain', 4096],
  ] as const) {
    const target = await empty(kind, chunkBytes);
    await copyAll(source.objects, target);
    assert.deepEqual(await verifyCopies(target, source.expected), [...source.expected.keys()]);
  }
});

test('without the password of the source nothing is copied', async () => {
  const { objects } = await filled(1, 'encrypted');
  const blind = await Repository.open(env, objects, { blind: true });
  const target = await open(env, await empty('plain'));
  await assert.rejects(copy(env, blind, target, blind.snapshots(), {}), (error) =>
    hasCode(error, 'STORE_NO_PASSWORD'),
  );
  assert.equal(target.snapshots().length, 0);
});

test('two runs at the same time make one copy of each snapshot', async () => {
  const source = await filled(3);
  const target = await empty('plain');
  const reports = await Promise.all([
    copyAll(source.objects, target),
    copyAll(source.objects, target),
  ]);
  assert.deepEqual(await verifyCopies(target, source.expected), [...source.expected.keys()]);
  const sum = reports.reduce((all, each) => all + each.copied.length + each.presentCount, 0);
  assert.equal(sum, 6);
});

test('a copy whose origin a program did not keep is known by its facts', async () => {
  const source = await filled(2);
  const target = await empty('plain');
  await copyAll(source.objects, target);
  const destination = await open(env, target);
  const { snapshots } = destination.log.state;
  for (const [id, { copyOf: _lost, ...facts }] of snapshots) snapshots.set(id, facts);
  const selection = select(await open(env, source.objects), destination, []);
  assert.deepEqual([selection.wanted, selection.presentCount], [[], 2]);
});
