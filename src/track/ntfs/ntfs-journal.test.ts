/** Goal: what NTFS's journals tell covers what differs, or it is said why nothing can be told. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { deviceOf, imageBytes } from '../../../test/golden/images/images.ts';
import { Windows } from '../../../test/golden/images/windows.ts';
import { ExtentSet, nodeEnv } from '../../core/index.ts';
import type { NtfsRun } from '../../fs/ntfs/index.ts';
import type { Snapshot } from '../../store/index.ts';
import { SourceMemory } from '../source-memory.ts';
import { ntfsJournalSource, parseNtfsMemory } from './index.ts';

const CLUSTER = 4096;
const tools = imageBytes('tools.ntfs');
const since = { id: 'a1'.repeat(32), digest: 'b2'.repeat(32), volume: 'vm' } as Snapshot;

/** What is said now of a volume of which `before` was the last snapshot. */
async function ask(before: Uint8Array, now: Uint8Array, isChosen = true) {
  const folder = await mkdtemp(join(tmpdir(), 'ferry-ntfs-'));
  try {
    const state = { directory: folder, makeDirectory: async () => {} };
    const memory = new SourceMemory(nodeEnv(), state, 'ntfs-journal', parseNtfsMemory);
    const open = async () => deviceOf(before);
    const source = ntfsJournalSource({ memory, open, isChosen });
    const snapshot = { ...since, sizeBytes: before.byteLength };
    const first = { volume: 'vm', device: deviceOf(before), since: undefined };
    await (await source.changes(first)).finish?.({ kind: 'committed', snapshot });
    return await source.changes({ volume: 'vm', device: deviceOf(now), since: snapshot });
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A day of Windows on the volume, from one shutdown to the next. */
async function day(work: (windows: Windows) => void) {
  const windows = await Windows.begin(tools.slice());
  const before = windows.bytes.slice();
  const morning = { usn: windows.usn, lsn: windows.log.lsn };
  windows.mount();
  work(windows);
  windows.unmount();
  return { before, now: windows.bytes, windows, morning };
}

async function toldOf(before: Uint8Array, now: Uint8Array): Promise<ExtentSet> {
  const answer = await ask(before, now);
  assert.equal(answer.kind === 'cannot-say' ? answer.why : '', '');
  assert.ok(answer.kind === 'changes' && answer.precision === 'superset');
  return new ExtentSet(await Array.fromAsync(answer.changed));
}

function untold(told: ExtentSet, before: Uint8Array, now: Uint8Array): number[] {
  const clusters: number[] = [];
  for (let at = 0; at < now.byteLength; at += CLUSTER) {
    const end = Math.min(at + CLUSTER, now.byteLength);
    if (Buffer.compare(before.subarray(at, end), now.subarray(at, end)) === 0) continue;
    if (!told.contains(at, end - at)) clusters.push(at / CLUSTER);
  }
  return clusters;
}

test('files that changed are told as a whole, others are not, nor is one only looked for', async () => {
  const { before, now, windows } = await day((own) => own.overwrite('documents/one.txt', 3, 0xaa));
  const told = await toldOf(before, now);
  assert.deepEqual(untold(told, before, now), []);
  const has = (name: string) =>
    windows
      .runs(name)
      .flatMap(({ cluster, count }) =>
        cluster === undefined ? [] : [told.contains(cluster * CLUSTER, count * CLUSTER)],
      );
  assert.ok(has('documents/one.txt').every(Boolean));
  for (const name of ['documents/deep/two.txt', 'scattered.bin', 'sparse.bin']) {
    assert.ok(!has(name).some(Boolean), name);
  }
  // What the system writes past its journals, and the file system's own.
  for (const name of ['pagefile.sys', 'System Volume Information/store', '$MFT', '$LogFile']) {
    assert.ok(has(name).every(Boolean), name);
  }
  assert.ok(told.contains(now.byteLength - CLUSTER, CLUSTER));
});

test('a file is told with all its pieces if one of its records differs, and what two claim', async () => {
  let record = 0;
  const scattered = await day((own) => {
    record = own.furtherRecord('scattered.bin');
    own.logged(record);
  });
  const told = await toldOf(scattered.before, scattered.now);
  for (const { cluster, count } of scattered.windows.runs('scattered.bin')) {
    if (cluster !== undefined) assert.ok(told.contains(cluster * CLUSTER, count * CLUSTER));
  }
  const shared = await day((own) => {
    own.map('documents/one.txt', own.runs('documents/deep/two.txt')[0]!.cluster!);
  });
  const [two] = shared.windows.runs('documents/deep/two.txt') as [NtfsRun];
  const both = await toldOf(shared.before, shared.now);
  assert.ok(both.contains(two.cluster! * CLUSTER, two.count * CLUSTER));
});

test('whatever Windows does between two shutdowns, what differs is told', async () => {
  const names = ['documents/one.txt', 'documents/deep/two.txt', 'scattered.bin', 'sparse.bin'];
  const file = fc.constantFrom(...names);
  const free = freeClusters(await Windows.begin(tools.slice()));
  const step = fc.oneof(
    fc.tuple(file, fc.nat(400), fc.nat(255)).map(([name, pick, byte]) => (own: Windows) => {
      const kept = own.runs(name).filter(({ cluster }) => cluster !== undefined);
      own.overwrite(name, kept[pick % kept.length]!.vcn, byte);
    }),
    file.map((name) => (own: Windows) => own.look(name)),
    file.map((name) => (own: Windows) => own.delete(name)),
    fc.nat(9).map((at) => (own: Windows) => own.smuggle('pagefile.sys', at, 0x77)),
    fc.constantFrom(...free).map((cluster) => (own: Windows) => own.fill(cluster, 0x33)),
    fc.constant((own: Windows) => own.move('documents/one.txt', free.at(-30)!)),
    fc.nat(20_000).map((length) => (own: Windows) => void own.log.padded(length)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { before, now } = await day((own) => {
        for (const one of steps) one(own);
      });
      assert.deepEqual(untold(await toldOf(before, now), before, now), []);
    }),
    { numRuns: 12 },
  );
});

/** Of no file, ascending. */
function freeClusters(windows: Windows): number[] {
  const used = new Set<number>();
  for (const { cluster = 0, count } of windows.allRuns) {
    for (let index = 0; index < count; index++) used.add(cluster + index);
  }
  const all = Array.from({ length: tools.byteLength / CLUSTER - 1 }, (_, index) => index);
  return all.filter((cluster) => !used.has(cluster));
}

type Morning = { readonly usn: number; readonly lsn: bigint };
type Break = readonly [
  reason: string,
  why: RegExp,
  work: (windows: Windows, morning: Morning) => void,
];

const breaks: readonly Break[] = [
  ['replaced', /another volume/, ({ bytes }) => bytes.set([1, 2, 3], 0x48)],
  ['resized', /1022 clusters/, ({ bytes }) => bytes.set([0xf0, 0x1f], 0x28)],
  ['replaced', /another \$UsnJrnl/, (own) => own.remakeJournal(0x1d6_0000_0002n)],
  ['wrapped', /\$UsnJrnl/, wrapsUsn],
  ['wrapped', /\$LogFile/, wrapsLog],
  ['untold', /dirty/, (own) => own.setFlags(1)],
  ['lost', /deleting/, (own) => own.setFlags(0x10)],
  ['behind-its-back', /changed by chkdsk/, (own) => own.setFlags(0x8000)],
  ['behind-its-back', /checked by chkdsk since/, checked],
  ['untold', /not unmounted/, ({ log }) => log.writeRestart(false)],
  [
    'untold',
    /fast startup/,
    ({ log }) => log.writeRestart(true, (p) => p.setUint16(0x1c, 2, true)),
  ],
  ['behind-its-back', /ntfs-3g/, ({ log }) => log.empty()],
  ['replaced', /another \$LogFile/, ({ log }) => log.remake(0xbeef)],
  ['untold', /mounted 2 times/, mountedAgain],
  ['untold', /mounted 2 times.*ntfs3/, ({ log }) => log.openBySilentDriver()],
  ['reverted', /older state/, ({ log }) => log.remake(log.openCount - 3)],
  ['reverted', /another history/, (own, { usn }) => own.forgeUsn(usn)],
  ['reverted', /another history/, ({ log }, { lsn }) => log.forge(lsn)],
  ['lost', /gap/, skipsPages],
  ['behind-its-back', /without a journal: record \d+/, (own) => own.touchUnlogged('scattered.bin')],
  ['behind-its-back', /record \d+ of/, (own) => own.deleteUnlogged('documents/one.txt')],
  ['untold', /cluster \d+, in a file/, loggedElsewhere],
  ['failed', /names record 999999/, notedElsewhere],
  ['lost', /does not have its last record/, ({ log }) => log.writeRestart(true, lsnOfNobody)],
  ['failed', /no restart page/, ({ log }) => log.writeRestart(true, (p) => p.setUint32(0x10, 7))],
];

function wrapsUsn(own: Windows): void {
  own.mount();
  for (let count = 0; count < 60; count++) own.touch('documents/one.txt');
  own.trimJournal(1);
  own.unmount();
  own.log.openCount -= 1;
  own.log.writeRestart(true);
}

function wrapsLog(own: Windows): void {
  own.log.openCount -= 1;
  own.mount();
  for (let count = 0; count < 30; count++) own.log.padded(4096);
  own.unmount();
}

function checked(own: Windows): void {
  own.log.checkedLsn = 77n;
  own.log.writeRestart(true);
}

function mountedAgain(own: Windows): void {
  own.mount();
  own.unmount();
}

function skipsPages(own: Windows): void {
  own.log.openCount -= 1;
  own.log.skipPages(3);
  own.mount();
  own.unmount();
}

function loggedElsewhere(own: Windows): void {
  own.log.openCount -= 1;
  own.mount();
  own.log.append([own.runs('scattered.bin').find(({ cluster }) => cluster)!.cluster!]);
  own.unmount();
}

function notedElsewhere(own: Windows): void {
  own.log.openCount -= 1;
  own.mount();
  own.note(999_999, 1, 1);
  own.unmount();
}

function lsnOfNobody(page: DataView): void {
  page.setBigUint64(0x30, page.getBigUint64(0x30, true) + 2n, true);
}

for (const [reason, why, work] of breaks) {
  test(`${reason}: ${why.source}`, async () => {
    const one = await day((own) => own.overwrite('sparse.bin', 100, 0xaa));
    const { before, now, windows, morning } = one;
    work(windows, morning);
    const answer = await ask(before, now);
    assert.ok(answer.kind === 'cannot-say');
    assert.match(answer.why, why);
    assert.equal(answer.reason, reason);
  });
}

/** While Windows was off. */
const silent: readonly Break[] = [
  ['behind-its-back', /logs nothing/, ({ log }) => log.openBySilentDriver()],
  ['behind-its-back', /record \d+ of \$MFT/, (own) => own.touchUnlogged('sparse.bin')],
  ['behind-its-back', /record 3 of \$MFT/, (own) => own.setFlags(0)],
  ['behind-its-back', /without being mounted/, ({ log }) => log.close()],
];
for (const [reason, why, work] of silent) {
  test(`a driver without a journal, ${reason}: ${why.source}`, async () => {
    const windows = await Windows.begin(tools.slice());
    const before = windows.bytes.slice();
    work(windows, { usn: windows.usn, lsn: windows.log.lsn });
    const answer = await ask(before, windows.bytes);
    assert.ok(answer.kind === 'cannot-say');
    assert.match(answer.why, why);
    assert.equal(answer.reason, reason);
  });
}

test('who sleeps is not believed, and who is not chosen only prepares', async () => {
  const { before, now } = await day((own) => own.overwrite('sparse.bin', 100, 0xaa));
  const unwanted = await ask(before, now, false);
  assert.ok(unwanted.kind === 'cannot-say' && unwanted.finish !== undefined);
  assert.equal(unwanted.reason, 'unwanted');
  const night = await day((own) => {
    own.rename('pagefile.sys', 'hiberfil.sys');
    own.write('pagefile.sys', 'HIBR');
  });
  const asleep = await ask(night.before, night.now);
  assert.ok(asleep.kind === 'cannot-say');
  assert.match(asleep.why, /sleeps/);
  const none = await ask(before, new Uint8Array(tools.byteLength));
  assert.equal(none.kind === 'cannot-say' && none.reason, 'absent');
});

test('of several volumes one that cannot say is read whole, with all that is no volume', async () => {
  const { before, now, windows } = await day((own) => own.overwrite('sparse.bin', 100, 0xaa));
  const disk = imageBytes('gpt.disk');
  const [other, own] = [2048 * 512, 8192 * 512];
  disk.set(tools.subarray(0, 512), other);
  const [first, second] = [disk.slice(), disk.slice()];
  first.set(before, own);
  second.set(now, own);
  const answer = await ask(first, second);
  assert.ok(answer.kind === 'changes');
  assert.match(answer.reason, /^what NTFS logged since vm@a1a1a1a1.*; read whole: .* ends at/);
  const told = new ExtentSet(await Array.fromAsync(answer.changed));
  assert.ok(told.contains(0, own + 512) && told.contains(own + now.byteLength, 4096));
  assert.deepEqual(untold(told, first, second), []);
  const kept = windows.runs('scattered.bin').find(({ cluster }) => cluster !== undefined)!;
  assert.ok(!told.contains(own + kept.cluster! * CLUSTER, CLUSTER));
});

test('a volume that was put back, and mounted again and again, has another history', async () => {
  const { now } = await day((own) => {
    for (let count = 0; count < 30; count++) own.touch('sparse.bin');
  });
  const other = await Windows.begin(tools.slice());
  for (let count = 0; count < 2; count++) {
    other.mount();
    other.unmount();
  }
  const answer = await ask(now, other.bytes);
  assert.ok(answer.kind === 'cannot-say');
  assert.match(answer.why, /older state/);
  assert.equal(answer.reason, 'reverted');
});
