/**
 * Goal: what is said to be done at once is done, and everything else is left to the thread pool.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { nodeFiles } from './files.ts';
import { AT_ONCE_BYTES_MAX, dirtyRoomBytes } from './page-cache.ts';

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'ferry-page-cache-'));
after(() => fs.rmSync(directory, { recursive: true }));
const files = nodeFiles();
const at = (name: string): string => path.join(directory, name);
const onTmpfs = fs.statfsSync(directory).type === 0x01021994;
const onDisk = [0xef53, 0x58465342, 0x9123683e].includes(fs.statfsSync(directory).type);

test('cached bytes are read at once, into any part of any buffer', async () => {
  const content = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
  fs.writeFileSync(at('cached'), content);
  const file = await files.open(at('cached'), 'read');
  for (const size of [300_000, 70_000]) {
    const memory = new Uint8Array(size);
    const target = memory.subarray(3, 3 + 65_537);
    assert.equal(file.readAtOnce!(target, 1001), true);
    assert.deepEqual(target, content.subarray(1001, 1001 + 65_537));
    assert.deepEqual([memory[2], memory[3 + 65_537]], [0, 0]);
  }
  await file.close();
});

test('a read that passes the end, is too long or comes too late is not answered at once', async () => {
  fs.writeFileSync(at('short'), new Uint8Array(AT_ONCE_BYTES_MAX * 2));
  const file = await files.open(at('short'), 'read');
  assert.equal(file.readAtOnce!(new Uint8Array(11), AT_ONCE_BYTES_MAX * 2 - 10), false);
  assert.equal(file.readAtOnce!(new Uint8Array(AT_ONCE_BYTES_MAX + 1), 0), false);
  assert.equal(file.readAtOnce!(new Uint8Array(AT_ONCE_BYTES_MAX), 0), true);
  await file.close();
  assert.equal(file.readAtOnce!(new Uint8Array(10), 0), false);
  assert.equal(file.writeAtOnce!(new Uint8Array(4096), 0), false);
});

test('what is not in memory is left to the pool, and after misses tries become rare', async (t) => {
  if (onTmpfs) return t.skip('temporary files lie in memory here: set TMPDIR to a disk');
  fs.writeFileSync(at('cold'), new Uint8Array(4 * 2 ** 20).fill(7));
  execFileSync('sync', [at('cold')]);
  const file = await files.open(at('cold'), 'read');
  const drop = () =>
    execFileSync('dd', [`of=${at('cold')}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], {
      stdio: 'ignore',
    });
  const target = new Uint8Array(4096);
  // The kernel drops pages when it can: not those that another processor has in hand.
  let missed = 0;
  for (let turn = 0; missed < 6 && turn < 100; turn += 1) {
    drop();
    missed = file.readAtOnce!(target, 2 ** 21) ? 0 : missed + 1;
  }
  assert.equal(missed, 6);
  fs.readFileSync(at('cold')); // Now all of it is in memory, but that is found out only later.
  assert.equal(file.readAtOnce!(target, 0), false);
  let tries = 0;
  while (!file.readAtOnce!(target, 0)) tries += 1;
  assert.ok(tries <= 64, `${tries} tries`);
  assert.equal(file.readAtOnce!(target, 4096), true);
  await file.close();
});

test('whole pages are written at once, and the file has them', async (t) => {
  if (!onDisk && !onTmpfs) return t.skip('temporary files lie on no local disk: set TMPDIR');
  const file = await files.open(at('pages'), 'create');
  const page = new Uint8Array(8192).fill(9);
  assert.equal(file.writeAtOnce!(page, 4096), true);
  assert.deepEqual(fs.readFileSync(at('pages')), Buffer.concat([new Uint8Array(4096), page]));
  for (const [lengthBytes, offsetBytes] of [
    [4095, 0],
    [4096, 512],
    [AT_ONCE_BYTES_MAX + 4096, 0],
  ] as const) {
    assert.equal(file.writeAtOnce!(new Uint8Array(lengthBytes), offsetBytes), false);
  }
  await file.close();
  const readOnly = await files.open(at('pages'), 'read');
  assert.equal(readOnly.writeAtOnce!(page, 0), false);
  assert.equal(fs.statSync(at('pages')).size, 4096 + 8192);
  await readOnly.close();
});

test('room is what is left below the point at which the kernel slows writers down', () => {
  const vmstat = (dirty: number, writeback: number): string =>
    `nr_free_pages 1\nnr_dirty ${dirty}\nnr_writeback ${writeback}\nnr_dirtied 5\n` +
    'nr_dirty_threshold 1000\nnr_dirty_background_threshold 500\n';
  assert.equal(dirtyRoomBytes(vmstat(0, 0)), 750 * 4096);
  assert.equal(dirtyRoomBytes(vmstat(500, 200)), 50 * 4096);
  assert.equal(dirtyRoomBytes(vmstat(500, 251)), 0);
  assert.equal(dirtyRoomBytes('nr_dirty 1\n'), 0);
  assert.equal(dirtyRoomBytes(''), 0);
});
