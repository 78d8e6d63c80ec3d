/** The contract of ObjectStore as tests; every implementation runs them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ObjectStore } from './object-store.ts';

export type SuiteOptions = {
  readonly name: string;
  /** Runs `use` with a new and empty store, then gets rid of it. */
  readonly withStore: (use: (store: ObjectStore) => Promise<void>) => Promise<void>;
  /** How many random histories to try; fewer where each put forces a real disk. */
  readonly historyCount: number;
};

/** Their order tells a walk of folders from an order by full names: '-' and '.' come before '/'. */
const keys = ['a-b/c', 'a.x', 'a/c', 'a/z', 'a0', 'log/1', 'log/10', 'log/2', 'packs/ab/x', 'p.q'];
const prefixes = ['', 'a/', 'log/', 'packs/', 'packs/ab/', 'nothing/'];

const badNames = [
  '',
  '/',
  '.',
  '..',
  '../a',
  'a/..',
  'a/../b',
  'a//b',
  '/a',
  'a/',
  'a/.b',
  '.a',
  '-a',
  '_a',
  'A',
  'a b',
  'a\0',
  'a\n',
  'ä',
  'a\\b',
  'a%2e',
  'a'.repeat(201),
  'tmp',
  'tmp/a',
];

type Model = Map<string, Uint8Array>;
type Command = fc.AsyncCommand<Model, ObjectStore>;

const key = fc.constantFrom(...keys);
const bytes = fc.uint8Array({ maxLength: 700 });

function command(label: string, run: (model: Model, store: ObjectStore) => Promise<void>): Command {
  return { check: () => true, run, toString: () => label };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => String((error as { code?: unknown }).code),
  );
}

async function all(store: ObjectStore, prefix: string): Promise<[string, number][]> {
  const found: [string, number][] = [];
  for await (const entry of store.list(prefix)) found.push([entry.key, entry.sizeBytes]);
  return found;
}

const puts = fc.tuple(key, bytes).map(([name, content]) =>
  command(`put(${name}, ${content.byteLength})`, async (model, store) => {
    const expected = model.has(name) ? 'OBJECT_EXISTS' : 'done';
    assert.equal(await codeOf(store.putIfAbsent(name, content)), expected);
    if (expected === 'done') model.set(name, content);
  }),
);

const creates = fc
  .tuple(key, fc.array(bytes, { maxLength: 4 }), fc.boolean())
  .map(([name, parts, commits]) =>
    command(`create(${name}, ${parts.length} parts, ${commits})`, async (model, store) => {
      await using writer = await store.create(name);
      for (const part of parts) await writer.append(part);
      assert.equal(await codeOf(store.size(name)), model.has(name) ? 'done' : 'OBJECT_NOT_FOUND');
      if (!commits) return;
      const expected = model.has(name) ? 'OBJECT_EXISTS' : 'done';
      assert.equal(await codeOf(writer.commit()), expected);
      if (expected === 'done') model.set(name, new Uint8Array(Buffer.concat(parts)));
    }),
  );

const gets = fc.tuple(key, fc.nat(800)).map(([name, bytesMax]) =>
  command(`get(${name}, ${bytesMax})`, async (model, store) => {
    const expected = model.get(name);
    if (expected === undefined) {
      assert.equal(await codeOf(store.get(name, bytesMax)), 'OBJECT_NOT_FOUND');
      assert.equal(await codeOf(store.size(name)), 'OBJECT_NOT_FOUND');
    } else if (expected.byteLength > bytesMax) {
      assert.equal(await codeOf(store.get(name, bytesMax)), 'OBJECT_RANGE');
    } else {
      assert.deepEqual(await store.get(name, bytesMax), new Uint8Array(expected));
      assert.equal(await store.size(name), expected.byteLength);
    }
  }),
);

const rangeGets = fc.tuple(key, fc.nat(800), fc.nat(800)).map(([name, offset, length]) =>
  command(`getRange(${name}, ${length} at ${offset})`, async (model, store) => {
    const target = new Uint8Array(length);
    const content = model.get(name);
    const code = await codeOf(store.getRange(name, target, offset));
    if (content === undefined) assert.equal(code, 'OBJECT_NOT_FOUND');
    else if (offset + length > content.byteLength) assert.equal(code, 'OBJECT_RANGE');
    else {
      assert.equal(code, 'done');
      assert.deepEqual(target, content.slice(offset, offset + length));
    }
  }),
);

const lists = fc.constantFrom(...prefixes).map((prefix) =>
  command(`list(${prefix})`, async (model, store) => {
    const expected = [...model]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, content]): [string, number] => [name, content.byteLength])
      .sort(([a], [b]) => (a < b ? -1 : 1));
    assert.deepEqual(await all(store, prefix), expected);
  }),
);

const removes = key.map((name) =>
  command(`remove(${name})`, async (model, store) => {
    await store.remove(name);
    model.delete(name);
  }),
);

export function objectStoreSuite({ name, withStore, historyCount }: SuiteOptions): void {
  test(`${name}: behaves like a map of names to bytes`, () =>
    fc.assert(
      fc.asyncProperty(
        fc.commands([puts, creates, gets, rangeGets, lists, removes], { maxCommands: 40 }),
        (commands) =>
          withStore((store) =>
            fc.asyncModelRun(
              () => ({ model: new Map<string, Uint8Array>(), real: store }),
              commands,
            ),
          ),
      ),
      { numRuns: historyCount },
    ));

  test(`${name}: refuses names that are none, in every method`, () =>
    withStore(async (store) => {
      for (const bad of badNames) {
        const calls = [
          store.get(bad, 1),
          store.getRange(bad, new Uint8Array(1), 0),
          store.size(bad),
          store.putIfAbsent(bad, new Uint8Array(1)),
          store.create(bad),
          store.remove(bad),
        ];
        for (const call of calls) assert.equal(await codeOf(call), 'OBJECT_NAME', bad);
        assert.equal(await codeOf(all(store, `${bad}/`)), 'OBJECT_NAME', bad);
      }
      assert.equal(await codeOf(all(store, 'a')), 'OBJECT_NAME', 'a prefix ends in a slash');
      assert.deepEqual(await all(store, ''), []);
    }));

  test(`${name}: takes the longest name, and an empty object`, () =>
    withStore(async (store) => {
      const longest = 'a'.repeat(200);
      await store.putIfAbsent(longest, new Uint8Array(0));
      assert.deepEqual(await all(store, ''), [[longest, 0]]);
      assert.deepEqual(await store.get(longest, 0), new Uint8Array(0));
      await store.getRange(longest, new Uint8Array(0), 0);
    }));

  test(`${name}: of many puts under one name exactly one wins, and its bytes stay`, () =>
    withStore(async (store) => {
      const racers = Array.from({ length: 12 }, (_, index) => new Uint8Array(100).fill(index));
      const results = await Promise.all(
        racers.map((racer) => codeOf(store.putIfAbsent('log/1', racer))),
      );
      assert.deepEqual(results.toSorted(), [...Array(11).fill('OBJECT_EXISTS'), 'done']);
      assert.deepEqual(await store.get('log/1', 100), racers[results.indexOf('done')]);
    }));

  test(`${name}: keeps its own copy of what it was given, also of a Buffer`, () =>
    withStore(async (store) => {
      const given = Buffer.from('precious');
      await store.putIfAbsent('a', given);
      await using writer = await store.create('b');
      await writer.append(given);
      given.fill(0);
      await writer.commit();
      for (const name of ['a', 'b']) {
        const got = await store.get(name, 100);
        assert.equal(Buffer.from(got).toString(), 'precious');
        got.fill(0);
        assert.equal(Buffer.from(await store.get(name, 100)).toString(), 'precious');
      }
    }));

  test(`${name}: an uncommitted object leaves no trace, and a writer may be disposed twice`, () =>
    withStore(async (store) => {
      const writer = await store.create('a');
      await writer.append(new Uint8Array(10));
      assert.deepEqual(await all(store, ''), []);
      await writer[Symbol.asyncDispose]();
      await writer[Symbol.asyncDispose]();
      assert.deepEqual(await all(store, ''), []);
      await store.putIfAbsent('a', Uint8Array.of(1));
      assert.deepEqual(await all(store, ''), [['a', 1]]);
    }));

  test(`${name}: what was appended is read back, if at all, until the commit begins`, () =>
    withStore(async (store) => {
      await using writer = await store.create('a');
      if (writer.readBack === undefined) return;
      const bytes = new Uint8Array(5000).map((_, at) => (at * at) % 251);
      await writer.append(bytes.subarray(0, 3000));
      const beside = writer.append(bytes.subarray(3000));
      const first = new Uint8Array(2990);
      assert.equal(await writer.readBack(first, 10), true);
      assert.deepEqual(first, bytes.slice(10, 3000));
      await beside;
      const second = new Uint8Array(4000);
      assert.equal(await writer.readBack(second, 1000), true);
      assert.deepEqual(second, bytes.slice(1000));
      await assert.rejects(writer.readBack(second, 1001), /behind its end/);
      const late = writer.readBack(second.fill(0), 1000);
      await writer.commit();
      if (await late) assert.deepEqual(second, bytes.slice(1000));
      assert.equal(await writer.readBack(second, 0), false);
      assert.deepEqual(await store.get('a', 5000), bytes);
    }));

  test(`${name}: lists in the order of full names, whatever is a folder`, () =>
    withStore(async (store) => {
      for (const each of keys.toReversed()) await store.putIfAbsent(each, new Uint8Array(2));
      for (const prefix of prefixes) {
        const expected = keys.filter((each) => each.startsWith(prefix)).sort();
        assert.deepEqual(
          await all(store, prefix),
          expected.map((each) => [each, 2]),
        );
        for (const after of [...keys, 'a', 'a/d', 'log', 'zz']) {
          const found = await Array.fromAsync(store.list(prefix, after), ({ key: name }) => name);
          const wanted = expected.filter((each) => each > after);
          assert.deepEqual(found, wanted, `${prefix} after ${after}`);
        }
      }
    }));

  test(`${name}: an object is found by range reads though an earlier one missed it`, () =>
    withStore(async (store) => {
      const target = new Uint8Array(1);
      assert.equal(await codeOf(store.getRange('a', target, 0)), 'OBJECT_NOT_FOUND');
      await store.putIfAbsent('a', Uint8Array.of(5));
      await store.getRange('a', target, 0);
      assert.deepEqual(target, Uint8Array.of(5));
    }));

  test(`${name}: a removed object is gone for range reads too`, () =>
    withStore(async (store) => {
      await store.putIfAbsent('a', Uint8Array.of(1, 2, 3));
      await store.getRange('a', new Uint8Array(2), 1);
      await store.remove('a');
      assert.equal(await codeOf(store.getRange('a', new Uint8Array(2), 1)), 'OBJECT_NOT_FOUND');
      await store.remove('a');
    }));

  test(`${name}: serves many range reads of many objects at once`, () =>
    withStore(async (store) => {
      const names = Array.from({ length: 100 }, (_, index) => `packs/${index % 7}/${index}`);
      for (const [index, each] of names.entries()) {
        await store.putIfAbsent(each, new Uint8Array(300).fill(index));
      }
      await Promise.all(
        names.flatMap((each, index) =>
          [0, 100, 200].map(async (offset) => {
            const target = new Uint8Array(100);
            await store.getRange(each, target, offset);
            assert.deepEqual(target, new Uint8Array(100).fill(index));
          }),
        ),
      );
    }));
}
