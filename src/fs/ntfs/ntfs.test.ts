/** Goal: NTFS is read as ntfs-3g wrote it, its journals as published, and damage is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceOf, imageBytes, imageDigests } from '../../../test/golden/images/images.ts';
import { Windows } from '../../../test/golden/images/windows.ts';
import { sha256, toHex } from '../../core/index.ts';
import { ntfsPlaces } from '../index.ts';
import {
  ATTRIBUTE,
  findInDirectory,
  LogRecords,
  lastUsnBefore,
  type Ntfs,
  openLogFile,
  openNtfs,
  openUsnJournal,
  RECORD,
  usnRecords,
} from './index.ts';

const golden = imageBytes('tools.ntfs');
const RECORD_BYTES = 1024;

async function fileAt(ntfs: Ntfs, path: string) {
  let file = await ntfs.record(RECORD.root);
  for (const name of path.split('/')) {
    const found = await findInDirectory(ntfs, file, name);
    assert.ok(found !== undefined, name);
    file = await ntfs.recordOf(found);
  }
  return file;
}

/** A copy with a change, as a device. */
function changed(change: (view: DataView, bytes: Uint8Array) => void) {
  const bytes = golden.slice();
  change(new DataView(bytes.buffer), bytes);
  return deviceOf(bytes);
}

test('files read as ntfs-3g reads them: in pieces, with holes, through lists of attributes', async () => {
  const ntfs = await openNtfs(deviceOf(golden));
  const digests = [...imageDigests()].filter(([key]) => key.startsWith('tools.ntfs@'));
  assert.equal(digests.length, 4);
  for (const [key, digest] of digests) {
    const file = await fileAt(ntfs, key.slice('tools.ntfs@'.length));
    const stream = await ntfs.stream(file, ATTRIBUTE.data, '');
    const content = new Uint8Array(stream.dataBytes);
    for (let at = 0; at < content.length; at += 10_000) {
      const count = Math.min(10_000, content.length - at);
      content.set((await stream.read(at, count)).bytes, at);
    }
    assert.equal(toHex(sha256(content)), digest, key);
  }
  const scattered = await fileAt(ntfs, 'scattered.bin');
  assert.ok(scattered.attributes.some(({ type }) => type === ATTRIBUTE.list));
  const resident = await ntfs.stream(await fileAt(ntfs, 'resident.txt'), ATTRIBUTE.data, '');
  assert.equal(Buffer.from((await resident.read(0, 4)).bytes).toString(), 'fits');
  const notes = await ntfs.stream(await fileAt(ntfs, 'documents/one.txt'), ATTRIBUTE.data, 'notes');
  assert.equal(notes.dataBytes, 8192);
  await assert.rejects(ntfs.stream(scattered, ATTRIBUTE.data, 'none'), { code: 'FS_NOT_FOUND' });
});

test('names are found in a directory of several blocks, and none that is not there', async () => {
  const ntfs = await openNtfs(deviceOf(golden));
  const many = await fileAt(ntfs, 'many');
  for (let index = 1; index <= 40; index++) {
    const found = await findInDirectory(ntfs, many, `a-name-that-fills-the-index-${index}`);
    assert.ok(found !== undefined, `${index}`);
  }
  assert.equal(await findInDirectory(ntfs, many, 'a-name-that-fills-the-index-41'), undefined);
});

test('the records of both journals follow one another, over ends of pages and of the log', async () => {
  const windows = await Windows.begin(golden.slice());
  const from = { usn: windows.usn, lsn: windows.log.lsn };
  windows.mount();
  const lsns: bigint[] = [];
  for (let count = 0; count < 9; count++) {
    for (let each = 0; each < 10; each++) windows.touch('sparse.bin');
    lsns.push(windows.log.padded(5000));
  }
  windows.unmount();
  const ntfs = await openNtfs(deviceOf(windows.bytes));
  const journal = await openUsnJournal(ntfs);
  assert.equal(journal.next, windows.usn);
  const records = await Array.fromAsync(usnRecords(journal, from.usn));
  assert.equal(records.length, 180);
  const { number } = await fileAt(ntfs, 'sparse.bin');
  assert.ok(records.every(({ file }) => file.record === number));
  assert.equal((await lastUsnBefore(journal, journal.next))?.usn, records.at(-1)!.usn);
  assert.equal((await lastUsnBefore(journal, records.at(-1)!.usn))?.usn, records.at(-2)!.usn);
  const { stream, state } = await openLogFile(ntfs);
  assert.ok(typeof state === 'object' && state.isClean && state.major === 1);
  assert.equal(state.lsn, windows.log.lsn);
  const log = await LogRecords.open(stream, state);
  for (const lsn of lsns) assert.equal((await log.at(lsn))?.bytes.length, 0x30 + 5000);
  const walk = await log.walk(from.lsn, state.lsn);
  assert.ok(walk !== undefined && walk.recordCount > 180 && walk.clusters.length >= 180);
  assert.equal(await log.walk(from.lsn, state.lsn + 1n), undefined);
  assert.equal(await log.at(lsns[0]! + 1n), undefined);
  // Round the end of the log, and what it was is over.
  windows.mount();
  const begin = windows.log.lsn;
  for (let count = 0; count < 20; count++) windows.log.padded(5000);
  windows.unmount();
  const again = await openLogFile(await openNtfs(deviceOf(windows.bytes)));
  assert.ok(typeof again.state === 'object');
  const later = await LogRecords.open(again.stream, again.state);
  assert.equal((await later.walk(begin, again.state.lsn))?.recordCount, 21);
  assert.equal(await later.at(from.lsn), undefined);
});

test('records of the journal of later versions are read, of unknown ones refused', async () => {
  const windows = await Windows.begin(golden.slice());
  const journal = await openUsnJournal(await openNtfs(deviceOf(windows.bytes)));
  const at = journal.stream.runs[0]!.cluster! * 4096;
  const own = (change: (view: DataView) => void) => {
    const bytes = windows.bytes.slice();
    change(new DataView(bytes.buffer, at));
    return openNtfs(deviceOf(bytes)).then(openUsnJournal);
  };
  const long = await own((view) => {
    view.setUint16(4, 3, true);
    view.setBigUint64(0x10, 0n, true);
    view.setBigUint64(0x28, 0n, true);
  });
  const [first] = await Array.fromAsync(usnRecords(long, 0));
  assert.equal(first?.usn, 0);
  const bad: [string, (view: DataView) => void][] = [
    ['FS_UNSUPPORTED', (view) => view.setUint16(4, 9, true)],
    ['FS_DAMAGED', (view) => view.setUint32(0, 9, true)],
    ['FS_DAMAGED', (view) => view.setUint32(0, 0, true)],
    ['FS_DAMAGED', (view) => view.setUint32(0x18, 8, true)],
  ];
  for (const [code, change] of bad) {
    const damaged = await own(change);
    await assert.rejects(Array.fromAsync(usnRecords(damaged, 0)), { code });
  }
  await assert.rejects(Array.fromAsync(usnRecords(journal, journal.next + 1)), {
    code: 'FS_DAMAGED',
  });
});

test('a boot sector or a record that contradicts itself is refused', async () => {
  const [mft, size] = [4 * 4096, golden.byteLength];
  const cases: [string, Parameters<typeof changed>[0]][] = [
    ['FS_NOT_FOUND', (_, bytes) => bytes.fill(0, 3, 11)],
    ['FS_DAMAGED', (view) => view.setUint16(0x0b, 513, true)],
    ['FS_DAMAGED', (view) => view.setUint8(0x0d, 0)],
    ['FS_DAMAGED', (view) => view.setUint32(0x28, size, true)],
    ['FS_DAMAGED', (view) => view.setUint32(0x30, 99_999, true)],
    ['FS_DAMAGED', (view) => view.setUint8(0x40, 1 + 0x80)],
    ['FS_DAMAGED', (view) => view.setUint8(mft + 510, view.getUint8(mft + 510) ^ 1)],
    ['FS_DAMAGED', (view) => view.setUint16(mft + 6, 9, true)],
    ['FS_DAMAGED', (view) => view.setUint16(mft + 4, 0x1ff, true)],
    ['FS_DAMAGED', (view) => view.setUint16(mft + 0x14, 8, true)],
    ['FS_DAMAGED', (view) => view.setUint32(mft + 0x18, RECORD_BYTES + 8, true)],
    ['FS_DAMAGED', (_, bytes) => bytes.fill(0, mft, mft + 4)],
  ];
  for (const [code, change] of cases) {
    await assert.rejects(openNtfs(changed(change)), { code }, `${change}`);
  }
  await assert.rejects(openUsnJournal(await openNtfs(withoutJournal())), { code: 'FS_NOT_FOUND' });
});

/** Its name in $Extend is another one. */
function withoutJournal() {
  const name = Buffer.from('$UsnJrnl', 'utf16le');
  return changed((_, bytes) => {
    const all = Buffer.from(bytes.buffer);
    for (let at = all.indexOf(name); at >= 0; at = all.indexOf(name, at + 1)) bytes[at] = 0x21;
  });
}

test('volumes are found bare and in partitions', async () => {
  const whole = { offsetBytes: 0, lengthBytes: golden.byteLength };
  assert.deepEqual(await ntfsPlaces(deviceOf(golden)), [whole]);
  const disk = imageBytes('gpt.disk');
  assert.deepEqual(await ntfsPlaces(deviceOf(disk)), []);
  const place = { offsetBytes: 8192 * 512, lengthBytes: 10_240 * 512 };
  disk.set(golden.subarray(0, 512), place.offsetBytes);
  assert.deepEqual(await ntfsPlaces(deviceOf(disk)), [place]);
  assert.deepEqual(await ntfsPlaces(deviceOf(new Uint8Array(0))), []);
});
