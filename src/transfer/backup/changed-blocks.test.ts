/** Goal: the changed-block API tells what really changed, in every form, however it is paged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nodeEnv } from '../../core/index.ts';
import { memoryStore } from '../../objects/index.ts';
import {
  type BlockForm,
  type ChangedBlock,
  changedBlocks,
  pageOfBlocks,
  Repository,
  type Snapshot,
} from '../../store/index.ts';
import { backUp, init, noise, open } from './model-repository.fixture.ts';

const env = { ...nodeEnv(), workers: { ...nodeEnv().workers, parallelism: 0 } };
const CHUNK = 65_536;
/** Three leaves and a part of a chunk, so that walks begin in the middle of something. */
const SIZE = 2 * 8 * 1024 * 1024 + 5 * CHUNK + 1000;

type States = {
  readonly repository: Repository;
  readonly states: readonly { snapshot: Snapshot; bytes: Uint8Array }[];
};

async function threeStates(): Promise<States> {
  const objects = memoryStore('blocks');
  await Repository.init(env, objects);
  const bytes = new Uint8Array(SIZE);
  const states: { snapshot: Snapshot; bytes: Uint8Array }[] = [];
  const keep = async () => {
    const repository = await open(env, objects);
    await backUp(env, repository, bytes, {});
    states.push({ snapshot: repository.latest('disk')!, bytes: bytes.slice() });
  };
  for (const at of [0, 3, 4, 130, 260]) bytes.set(noise(CHUNK, at), at * CHUNK);
  await keep();
  bytes.fill(0, 3 * CHUNK, 5 * CHUNK);
  bytes.set(noise(CHUNK, 7), 7 * CHUNK);
  bytes.set(noise(10, 8), SIZE - 10);
  await keep();
  bytes.set(noise(3 * CHUNK, 9), 127 * CHUNK);
  bytes.set(noise(100, 10), 4 * CHUNK + 5);
  await keep();
  const repository = await open(env, objects);
  await repository.index();
  return { repository, states };
}

/** What a comparison of the bytes gives, chunk by chunk. */
function changedChunks(before: Uint8Array | undefined, after: Uint8Array): Set<number> {
  const changed = new Set<number>();
  for (let at = 0; at < after.byteLength; at += CHUNK) {
    const now = Buffer.from(after.subarray(at, at + CHUNK));
    const was = before?.subarray(at, at + CHUNK) ?? new Uint8Array(now.byteLength);
    if (!now.equals(was)) changed.add(at / CHUNK);
  }
  return changed;
}

function unitsOf(blocks: readonly ChangedBlock[], unitBytes: number): Set<number> {
  const units = new Set<number>();
  for (const { offsetBytes, lengthBytes } of blocks) {
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += unitBytes) {
      units.add(Math.floor(at / unitBytes));
    }
  }
  return units;
}

const forms: readonly BlockForm[] = [
  { kind: 'variable' },
  { kind: 'fixed', blockBytes: 4096 },
  { kind: 'fixed', blockBytes: CHUNK },
  { kind: 'fixed', blockBytes: 512 * 1024 },
];

test('what is told is what a comparison of the bytes finds, in blocks of any size', async () => {
  const { repository, states } = await threeStates();
  for (const [from, to] of [
    [undefined, 0],
    [undefined, 2],
    [0, 1],
    [1, 2],
    [0, 2],
    [2, 0],
  ] as const) {
    const older = from === undefined ? undefined : states[from]!;
    const newer = states[to]!;
    const wanted = changedChunks(older?.bytes, newer.bytes);
    for (const form of forms) {
      const listing = { older: older?.snapshot, newer: newer.snapshot, form };
      const blocks = await Array.fromAsync(changedBlocks(repository, listing));
      const unit = form.kind === 'fixed' ? Math.max(CHUNK, form.blockBytes) : CHUNK;
      const wantedUnits = new Set([...wanted].map((chunk) => Math.floor((chunk * CHUNK) / unit)));
      assert.deepEqual(unitsOf(blocks, unit), wantedUnits);
      for (const { offsetBytes, lengthBytes, kind } of blocks) {
        assert.ok(offsetBytes + lengthBytes <= SIZE);
        if (form.kind === 'fixed') assert.equal(offsetBytes % form.blockBytes, 0);
        if (kind === 'data') continue;
        const part = newer.bytes.subarray(offsetBytes, offsetBytes + lengthBytes);
        assert.ok(!part.some((byte) => byte !== 0));
      }
    }
  }
});

test('pages of any size, from any offset, make up the stream from there', async () => {
  const { repository, states } = await threeStates();
  const older = states[0]!.snapshot;
  const newer = states[2]!.snapshot;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...forms),
      fc.integer({ min: 0, max: SIZE + CHUNK }),
      fc.integer({ min: 1, max: 7 }),
      async (form, startingOffsetBytes, maxResults) => {
        const listing = { older, newer, form };
        const all = await Array.fromAsync(changedBlocks(repository, listing));
        const streamed = await Array.fromAsync(
          changedBlocks(repository, listing, startingOffsetBytes),
        );
        const expected = all.filter(
          ({ offsetBytes, lengthBytes }) => offsetBytes + lengthBytes > startingOffsetBytes,
        );
        assert.deepEqual(streamed.slice(1), expected.slice(1));
        assert.equal(streamed.length, expected.length);
        const paged: ChangedBlock[] = [];
        let nextToken: string | undefined;
        do {
          const request = { ...listing, startingOffsetBytes, maxResults, nextToken };
          const page = await pageOfBlocks(repository, request);
          assert.ok(page.blocks.length <= maxResults);
          assert.equal(page.volumeSizeBytes, SIZE);
          paged.push(...page.blocks);
          nextToken = page.nextToken;
        } while (nextToken !== undefined);
        assert.deepEqual(paged, streamed);
      },
    ),
    { numRuns: 60 },
  );
});

test('a token is good for its own listing only, and a damaged one for none', async () => {
  const { repository, states } = await threeStates();
  const [a, b, c] = states.map(({ snapshot }) => snapshot);
  const form: BlockForm = { kind: 'variable' };
  const listing = { older: a!, newer: c!, form, maxResults: 1 };
  const { nextToken } = await pageOfBlocks(repository, listing);
  assert.ok(nextToken !== undefined);
  const refused = [
    { ...listing, older: b! },
    { ...listing, older: undefined },
    { ...listing, newer: b! },
    { ...listing, form: { kind: 'fixed', blockBytes: CHUNK } as const },
  ];
  for (const other of refused) {
    const page = pageOfBlocks(repository, { ...other, nextToken });
    await assert.rejects(page, { code: 'STORE_PAGE_TOKEN' });
  }
  for (let at = 0; at < nextToken.length; at++) {
    const digit = nextToken[at] === '7' ? '6' : '7';
    const bad = nextToken.slice(0, at) + digit + nextToken.slice(at + 1);
    for (const token of [bad, nextToken.slice(0, at), `${nextToken}.1`]) {
      const page = pageOfBlocks(repository, { ...listing, nextToken: token });
      await assert.rejects(page, { code: 'STORE_PAGE_TOKEN' });
    }
  }
});

test('sizes of pages and blocks are bounded', async () => {
  const { repository, states } = await threeStates();
  const newer = states[0]!.snapshot;
  const form: BlockForm = { kind: 'variable' };
  for (const maxResults of [0, 10_001, 1.5]) {
    const page = pageOfBlocks(repository, { older: undefined, newer, form, maxResults });
    await assert.rejects(page, { code: 'STORE_LIMIT' });
  }
  for (const blockBytes of [0, 512, 4097, 2 ** 31]) {
    const odd = { kind: 'fixed', blockBytes } as const;
    const page = pageOfBlocks(repository, { older: undefined, newer, form: odd });
    await assert.rejects(page, { code: 'STORE_LIMIT' });
  }
});

test("a snapshot's device tells the same changes, whatever range and limit is asked for", async () => {
  const { repository, states } = await threeStates();
  const older = states[0]!.snapshot;
  const newer = states[2]!.snapshot;
  const { tracking } = await repository.device(newer, { since: older });
  assert.equal((await repository.device(newer)).tracking, undefined);
  const [epoch] = tracking!.epochs();
  const wanted = changedChunks(states[0]!.bytes, states[2]!.bytes);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: SIZE - 1 }),
      fc.integer({ min: 1, max: SIZE }),
      fc.integer({ min: 1, max: 5 }),
      async (offsetBytes, length, limit) => {
        const lengthBytes = Math.min(length, SIZE - offsetBytes);
        let at = offsetBytes;
        while (at < offsetBytes + lengthBytes) {
          const rest = offsetBytes + lengthBytes - at;
          const runs = await tracking!.changes(epoch!, rest, at, limit);
          assert.ok(runs.length >= 1 && runs.length <= limit);
          for (const run of runs) {
            const first = Math.floor(at / CHUNK);
            const last = Math.floor((at + run.lengthBytes - 1) / CHUNK);
            for (let chunk = first; chunk <= last; chunk++) {
              assert.equal(run.isDirty, wanted.has(chunk), `chunk ${chunk}`);
            }
            at += run.lengthBytes;
          }
        }
        assert.equal(at, offsetBytes + lengthBytes);
      },
    ),
    { numRuns: 60 },
  );
});

test('a snapshot of another repository is compared without reading what both have', async () => {
  const { repository, states } = await threeStates();
  const [older, newer] = [states[0]!, states[2]!];
  const whole = changedChunks(older.bytes, newer.bytes);
  const kinds = [
    { mode: 'plain', chunkBytes: CHUNK },
    { mode: 'plain', chunkBytes: 4096 },
    { mode: 'encrypted', chunkBytes: CHUNK },
  ] as const;
  for (const { mode, chunkBytes } of kinds) {
    const objects = memoryStore('other');
    await init(env, objects, mode, { chunkBytes });
    const olderIn = await open(env, objects);
    const { snapshot } = await backUp(env, olderIn, older.bytes, {});
    await olderIn.index();
    const listing = { older: snapshot, olderIn, newer: newer.snapshot, form: forms[0]! };
    const told = unitsOf(await Array.fromAsync(changedBlocks(repository, listing)), CHUNK);
    assert.deepEqual(
      [...whole].filter((chunk) => !told.has(chunk)),
      [],
      `${mode} ${chunkBytes}`,
    );
    if (mode === 'plain' && chunkBytes === CHUNK) assert.deepEqual(told, whole);
    // The last leaf has changed in both, the middle one from one state to the next.
    const leaves = new Set([...told].map((chunk) => Math.floor(chunk / 128)));
    assert.deepEqual(leaves, new Set([...whole].map((chunk) => Math.floor(chunk / 128))));
    const same = { ...listing, newer: older.snapshot };
    assert.deepEqual(await Array.fromAsync(changedBlocks(repository, same)), []);
  }
});
