/** Goal: what a journal tells is judged by what was kept of the last time, and covers its files. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { deviceOf, imageBytes } from '../../test/golden/images/images.ts';
import { type Extent, ExtentSet, nodeEnv } from '../core/index.ts';
import { type Device, slice } from '../device/index.ts';
import { fileRuns, openExt4, openJbd2, walkLog } from '../fs/index.ts';
import type { Snapshot } from '../store/index.ts';
import { ChangedUnits } from './changed-units.ts';
import { type Ext4Facts, settledFacts } from './ext4-facts.ts';
import { ext4JournalSource, ext4Places, parseJournalMemory } from './ext4-journal.ts';
import { SourceMemory } from './source-memory.ts';

const golden = imageBytes('new.ext4');
const since = { id: 'a1'.repeat(32), digest: 'b2'.repeat(32), volume: 'vm' } as Snapshot;

/** As it was before the one mount that the image had since it was made. */
async function factsBefore(device: Device): Promise<Ext4Facts> {
  const settled = await settledFacts(await openExt4(device));
  assert.ok('facts' in settled);
  const { last: _, ...facts } = settled.facts;
  return { ...facts, sequence: 1, mountCount: facts.mountCount - 1, mountedAt: 0 };
}

type Asked = {
  readonly now?: Uint8Array;
  readonly change?: (facts: Ext4Facts) => Partial<Ext4Facts>;
  readonly before?: Uint8Array;
  readonly isChosen?: boolean;
};

async function ask({ now, change, before, isChosen = true }: Asked = {}) {
  const image = golden;
  const device = deviceOf(now ?? image);
  const folder = await mkdtemp(join(tmpdir(), 'ferry-journal-'));
  try {
    const state = { directory: folder, makeDirectory: async () => {} };
    const memory = new SourceMemory(nodeEnv(), state, 'journal', parseJournalMemory);
    const facts = await factsBefore(deviceOf(image));
    const system = { offsetBytes: 0, lengthBytes: image.byteLength };
    const kept = { ...system, facts: { ...facts, ...change?.(facts) } };
    await memory.remember(since, { systems: [kept] });
    const open = async () => deviceOf(before ?? image);
    const source = ext4JournalSource({ memory, open, isChosen });
    const asked = { ...since, sizeBytes: device.sizeBytes };
    return await source.changes({ volume: 'vm', device, since: asked });
  } finally {
    await rm(folder, { recursive: true });
  }
}

test('logged blocks, the files of changed inodes, what is free, and the journal are told', async () => {
  const image = golden;
  const fs = await openExt4(deviceOf(image));
  const { blockBytes } = fs.super;
  const log = await openJbd2(fs);
  // Before, the file was of another time: one inode of sixteen in its block.
  const before = image.slice();
  const group = await fs.group(0);
  const inode = group.inodeTable * blockBytes + 11 * fs.super.inodeBytes;
  before[inode + 0xc] = before[inode + 0xc]! ^ 1;
  const answer = await ask({ before });
  assert.ok(answer.kind === 'changes' && answer.precision === 'superset');
  const told = new ExtentSet(await Array.fromAsync(answer.changed));
  const has = (block: number) => told.contains(block * blockBytes, blockBytes);
  const walk = await walkLog(log, log.super.first, 2);
  for (const block of walk.logged) assert.ok(has(block));
  for (let index = 0; index < walk.length; index++) {
    assert.ok(has(log.place(log.super.first + index).block));
  }
  for await (const { block } of fileRuns(fs, await fs.inode(12))) assert.ok(has(block));
  const used = await fs.blocksInUse(group);
  for (let bit = used.nextClear(0); bit < used.size; bit = used.nextClear(bit + 1)) {
    assert.ok(has(group.firstBlock + bit));
  }
  assert.ok(told.contains(0, 2048));
  // The rest of the journal was not written.
  assert.ok(!has(log.place(log.super.end - 8).block));
});

test('what does not follow from what was kept is not told', async () => {
  const cases: [string, (facts: Ext4Facts) => Partial<Ext4Facts>][] = [
    ['replaced', () => ({ uuid: '00' })],
    ['replaced', ({ madeAt }) => ({ madeAt: madeAt - 1 })],
    ['replaced', () => ({ journal: 'another' })],
    ['resized', ({ blockCount }) => ({ blockCount: blockCount - 1 })],
    ['behind-its-back', ({ checkedAt }) => ({ checkedAt: checkedAt - 1 })],
    ['behind-its-back', ({ mountCount }) => ({ mountCount: mountCount + 1 })],
    ['untold', ({ mountCount }) => ({ mountCount: mountCount + 65_535 })],
    ['reverted', ({ mountCount }) => ({ mountCount: mountCount + 2 })],
    ['reverted', () => ({ sequence: 100 })],
    ['wrapped', () => ({ last: { sequence: 99, at: 1, digest: '' } })],
    ['reverted', () => ({ last: { sequence: 3, at: 0, digest: '' } })],
    ['wrapped', () => ({ sequence: 2 })],
  ];
  // The commit of the third transaction, wherever it lies, with another digest.
  const log = await openJbd2(await openExt4(deviceOf(golden)));
  const first = await walkLog(log, log.super.first, 2);
  assert.ok(first.last !== undefined);
  for (const [reason, change] of cases) {
    const placed = (facts: Ext4Facts) => {
      const changed = change(facts);
      const { last } = changed;
      if (last?.sequence !== 3) return changed;
      return { last: { ...last, sequence: first.last!.sequence, at: first.last!.at } };
    };
    const answer = await ask({ change: placed });
    assert.equal(answer.kind === 'cannot-say' && answer.reason, reason, `${change}`);
  }
});

test('a file system that is in use says nothing, and so does one that nobody chose', async () => {
  const image = imageBytes('old.ext4').slice();
  new DataView(image.buffer).setUint32(1024 + 0x60, 0x16, true); // Needs recovery.
  const mounted = await ask({ now: image });
  assert.equal(mounted.kind === 'cannot-say' && mounted.reason, 'untold');
  assert.ok(!('finish' in mounted));
  const unwanted = await ask({ isChosen: false });
  assert.equal(unwanted.kind === 'cannot-say' && unwanted.reason, 'unwanted');
  assert.ok('finish' in unwanted);
  const none = await ask({ now: new Uint8Array(65_536) });
  assert.equal(none.kind === 'cannot-say' && none.reason, 'absent');
});

test('what was mounted while it was read is not remembered', async () => {
  const device = deviceOf(golden);
  const folder = await mkdtemp(join(tmpdir(), 'ferry-journal-'));
  try {
    const state = { directory: folder, makeDirectory: async () => {} };
    const memory = new SourceMemory(nodeEnv(), state, 'journal', parseJournalMemory);
    const open = async () => device;
    const source = ext4JournalSource({ memory, open, isChosen: true });
    const end = async () => {
      const answer = await source.changes({ volume: 'vm', device, since: undefined });
      return () => answer.finish!({ kind: 'committed', snapshot: since });
    };
    const first = await end();
    const fs = await openExt4(device);
    const { block } = (await openJbd2(fs)).place(0);
    const sequence = block * fs.super.blockBytes + 0x1b;
    await device.write(new Uint8Array([9]), sequence, 0);
    await first();
    assert.ok('reason' in (await memory.recall(since)));
    await device.write(new Uint8Array([6]), sequence, 0);
    await (await end())();
    assert.ok('value' in (await memory.recall(since)));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('file systems are found bare and in partitions, and not where two claims contradict', async () => {
  const image = golden;
  assert.deepEqual(await ext4Places(deviceOf(image)), [
    { offsetBytes: 0, lengthBytes: image.byteLength },
  ]);
  const disk = imageBytes('gpt.disk').slice();
  assert.deepEqual(await ext4Places(deviceOf(disk)), []);
  const place = { offsetBytes: 8192 * 512, lengthBytes: 10_240 * 512 };
  const part = image.subarray(0, 4096);
  disk.set(part, place.offsetBytes);
  const device = deviceOf(disk);
  assert.deepEqual(await ext4Places(device), [place]);
  assert.equal(slice(device, place).sizeBytes, place.lengthBytes);
  const twice = imageBytes('mbr.disk').slice();
  twice.set(part.subarray(1024, 2048), 1024);
  await assert.rejects(ext4Places(deviceOf(twice)), { code: 'FS_UNSUPPORTED' });
});

test('ranges in any order come back ascending, joined, and cover all that was added', () => {
  const range = fc.record({ offsetBytes: fc.nat(300_000), lengthBytes: fc.nat(50_000) });
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 20 }),
      fc.integer({ min: 1, max: 250_000 }),
      (all, size) => {
        const units = new ChangedUnits(size);
        for (const one of all) units.add(one);
        const got: Extent[] = [...units];
        const set = new ExtentSet(got);
        assert.equal(set.count, got.length);
        for (const { offsetBytes, lengthBytes } of all) {
          const end = Math.min(size, offsetBytes + lengthBytes);
          if (end > offsetBytes) assert.ok(set.contains(offsetBytes, end - offsetBytes));
        }
        const wanted = all.reduce((sum, { lengthBytes }) => sum + lengthBytes + 8192, 0);
        assert.ok(set.totalBytes <= wanted);
      },
    ),
  );
});
