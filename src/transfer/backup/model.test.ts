/** Goal: a repository is a map from snapshots to bytes, whatever collides, splits and resizes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Draws } from '../../../sim/index.ts';
import { equalBytes, nodeEnv } from '../../core/index.ts';
import { memoryStore, type ObjectStore } from '../../objects/index.ts';
import { diffTrees, type OpenOptions, type Repository, treeOf } from '../../store/index.ts';
import {
  backUp,
  checked,
  type Expected,
  init,
  type Kind,
  kinds,
  noise,
  open,
  readAsDevice,
  restored,
} from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const KiB = 1024;

type Model = { bytes: Uint8Array; readonly expected: Expected };
type Real = {
  readonly objects: ObjectStore;
  repository: Repository;
  readonly options: OpenOptions;
};
type Command = fc.AsyncCommand<Model, Real>;

const PACK_BYTES = 100 * KiB;

const writes = fc.tuple(fc.nat(2 ** 30), fc.nat(200 * KiB), fc.nat(12), fc.nat(3)).map(
  ([place, length, seed, kind]): Command => ({
    check: ({ bytes }) => bytes.byteLength > 0,
    toString: () => `write(${place}, ${length}, ${seed}, ${kind})`,
    async run(model) {
      model.bytes = model.bytes.slice();
      const at = place % model.bytes.byteLength;
      const target = model.bytes.subarray(at, at + length);
      if (kind === 0) target.fill(0);
      else if (kind === 1) target.fill(seed);
      else target.set(noise(target.byteLength, seed));
    },
  }),
);

/** Small changes, so that patches come about. */
const touches = fc.tuple(fc.nat(2 ** 30), fc.nat(255)).map(
  ([place, value]): Command => ({
    check: ({ bytes }) => bytes.byteLength > 0,
    toString: () => `touch(${place}, ${value})`,
    async run(model) {
      model.bytes = model.bytes.slice();
      for (
        let at = place % 40_000;
        at < model.bytes.byteLength;
        at += 150_000 + (place % 7) * 1000
      ) {
        model.bytes[at] = value;
      }
    },
  }),
);

const resizes = fc
  .oneof(fc.nat(300 * KiB), fc.constantFrom(0, 1, 4096, 65536, 65537, 131072, 700_001))
  .map(
    (size): Command => ({
      check: () => true,
      toString: () => `resize(${size})`,
      async run(model) {
        const bytes = new Uint8Array(size);
        bytes.set(model.bytes.subarray(0, size));
        model.bytes = bytes;
      },
    }),
  );

const backups = fc.boolean().map(
  (compare): Command => ({
    check: () => true,
    toString: () => `backup(${compare ? 'compared' : 'with changed ranges'})`,
    async run(model, real) {
      const { repository } = real;
      const parent = repository.latest('disk');
      const before = parent && model.expected.get(parent.id);
      const since =
        compare || parent === undefined || before === undefined
          ? {}
          : { since: { parent, changed: changedBlocks(before, model.bytes) } };
      const request = { packTargetBytes: PACK_BYTES, ...since };
      const { snapshot } = await backUp(env, repository, model.bytes, request);
      model.expected.set(snapshot.id, model.bytes);
      tally.backups++;
    },
  }),
);

/** Blocks of 4 KiB that differ as far as both reach: what a tracker would tell. */
function changedBlocks(before: Uint8Array, after: Uint8Array) {
  const extents: { offsetBytes: number; lengthBytes: number }[] = [];
  const end = Math.min(before.byteLength, after.byteLength);
  for (let at = 0; at < end; at += 4096) {
    const same = equalBytes(before.subarray(at, at + 4096), after.subarray(at, at + 4096));
    if (!same) extents.push({ offsetBytes: at, lengthBytes: 4096 });
  }
  return extents;
}

const reopens = fc.constant<Command>({
  check: () => true,
  toString: () => 'reopen',
  async run(_model, real) {
    real.repository = await open(env, real.objects, real.options);
  },
});

const reads = fc.tuple(fc.nat(100), fc.boolean()).map(
  ([which, mounted]): Command => ({
    check: ({ expected }) => expected.size > 0,
    toString: () => `read(${which}, ${mounted ? 'as a device' : 'restored'})`,
    async run({ expected }, { repository }) {
      const snapshots = repository.snapshots('disk');
      assert.deepEqual(
        snapshots.map(({ id }) => id),
        [...expected.keys()],
      );
      const snapshot = snapshots[which % snapshots.length]!;
      tally.reads++;
      const found = mounted
        ? await readAsDevice(repository, snapshot)
        : await restored(env, repository, snapshot);
      assert(equalBytes(found, expected.get(snapshot.id)!), `${snapshot.id} reads wrongly`);
    },
  }),
);

const diffs = fc.tuple(fc.nat(100), fc.nat(100)).map(
  ([first, second]): Command => ({
    check: ({ expected }) => expected.size > 1,
    toString: () => `diff(${first}, ${second})`,
    async run({ expected }, { repository }) {
      const snapshots = repository.snapshots('disk');
      const older = snapshots[first % snapshots.length]!;
      const newer = snapshots[second % snapshots.length]!;
      await repository.index();
      tally.diffs++;
      const found = new Uint8Array(newer.sizeBytes);
      for await (const extent of diffTrees(repository.reader, treeOf(older), treeOf(newer))) {
        found.fill(1, extent.offsetBytes, extent.offsetBytes + extent.lengthBytes);
      }
      const before = expected.get(older.id)!;
      const after = expected.get(newer.id)!;
      for (let at = 0; at < after.byteLength; at++) {
        if (found[at] === 1) continue;
        assert(at < before.byteLength && before[at] === after[at], `${at} changed, untold`);
      }
    },
  }),
);

const checks = fc.constant<Command>({
  check: () => true,
  toString: () => 'check',
  async run(_model, { repository }) {
    const report = await checked(env, repository);
    assert.deepEqual(report.problems, []);
    assert.equal(report.orphanPacks, 0);
  },
});

/** What all runs did, to show that they did something. */
const tally = { backups: 0, reads: 0, diffs: 0 };

async function runModel(
  commands: Iterable<Command>,
  kind: Kind,
  chunkBytes: number,
  options: OpenOptions,
): Promise<void> {
  const objects = memoryStore('model');
  await init(env, objects, kind, { chunkBytes });
  const repository = await open(env, objects, options);
  const model = { bytes: noise(400_000, 1), expected: new Map() };
  for (const change of [0, 7]) {
    model.bytes = model.bytes.slice();
    model.bytes.fill(change, 200_000, 270_000);
    const { snapshot } = await backUp(env, repository, model.bytes);
    model.expected.set(snapshot.id, model.bytes);
  }
  await fc.asyncModelRun(() => ({ model, real: { objects, repository, options } }), commands);
}

const commands = fc.commands(
  [
    writes,
    touches,
    touches,
    resizes,
    backups,
    backups,
    backups,
    reopens,
    reads,
    reads,
    diffs,
    checks,
  ],
  { maxCommands: 30, size: 'max' },
);

for (const [kind, chunkBytes, bits, numRuns] of [
  ['plain', 64 * KiB, 32, 40],
  ['plain', 64 * KiB, 8, 30],
  ['plain', 4 * KiB, 8, 30],
  ['plain', 1024 * KiB, 32, 20],
  ['encrypted', 64 * KiB, 32, 20],
  ['encrypted', 4 * KiB, 8, 20],
  ['encrypted', 1024 * KiB, 32, 10],
] as const) {
  test(`${kind}: chunks of ${chunkBytes} bytes, fingerprints of ${bits} bits`, async () => {
    const before = { ...tally };
    await fc.assert(
      fc.asyncProperty(commands, (list) =>
        runModel(list, kind, chunkBytes, { fingerprints: { bits } }),
      ),
      { numRuns },
    );
    for (const what of ['backups', 'reads', 'diffs'] as const) {
      // Commands are drawn at random: a third of what is to be expected is no accident.
      assert(
        tally[what] - before[what] >= numRuns / 3,
        `only ${tally[what] - before[what]} ${what}`,
      );
    }
  });
}

for (const kind of kinds) {
  test(`${kind}: a long history of small changes, with many packs, segments and patches`, () =>
    longHistory(kind));
}

async function longHistory(kind: Kind): Promise<void> {
  const objects = memoryStore('history');
  await init(env, objects, kind);
  const expected: Expected = new Map();
  let bytes = noise(500_000, 3);
  for (let round = 0; round < 75; round++) {
    const draws = new Draws(1, round);
    bytes = bytes.slice();
    for (let change = 0; change < 3; change++) {
      const at = draws.below(bytes.byteLength - 100);
      bytes.set(noise(100, round * 3 + change), at);
    }
    const repository = await open(env, objects);
    const { snapshot } = await backUp(env, repository, bytes, { packTargetBytes: 20_000 });
    expected.set(snapshot.id, bytes);
  }
  const repository = await open(env, objects);
  assert(repository.log.state.segments.size > 0, 'packs were merged into segments');
  assert(repository.log.state.loosePacks.size <= 33);
  const entries = await Array.fromAsync(objects.list('checkpoints/'));
  assert.equal(entries.length, 1);
  for (const snapshot of repository.snapshots()) {
    const found = await restored(env, repository, snapshot);
    assert(equalBytes(found, expected.get(snapshot.id)!));
  }
  const report = await checked(env, repository);
  assert.deepEqual(report.problems, []);
  assert(report.packs >= 75);
}
