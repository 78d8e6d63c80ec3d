/** Goal: ext4 and its journal are read as the kernel left them, and damage is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { deviceOf, imageBytes, imageDigests } from '../../test/golden/images/images.ts';
import { sha256, toHex } from '../core/index.ts';
import { CRC_START, crc32c } from './crc32c.ts';
import {
  type Ext4,
  fileRuns,
  findCommit,
  looksLikeExt4,
  openExt4,
  openJbd2,
  readExt4Super,
  walkLog,
} from './index.ts';

const names = ['new.ext4', 'old.ext4'] as const;
const SUPER = 1024;

async function contentOf(fs: Ext4, number: number): Promise<Uint8Array> {
  const inode = await fs.inode(number);
  const { blockBytes } = fs.super;
  const content = new Uint8Array(inode.sizeBytes);
  for await (const { fileBlock, block, count } of fileRuns(fs, inode)) {
    const bytes = new Uint8Array(count * blockBytes);
    await fs.device.read(bytes, block * blockBytes);
    const at = fileBlock * blockBytes;
    content.set(bytes.subarray(0, Math.min(bytes.byteLength, content.byteLength - at)), at);
  }
  return content;
}

/** A change of the image, which is a copy. */
function changed(
  name: (typeof names)[number],
  change: (view: DataView, bytes: Uint8Array) => void,
) {
  const bytes = imageBytes(name).slice();
  change(new DataView(bytes.buffer), bytes);
  return deviceOf(bytes);
}

test('the checksum is that of its standard, whatever the pieces', () => {
  const text = new TextEncoder().encode('123456789');
  assert.equal(~crc32c(CRC_START, text) >>> 0, 0xe3069283); // RFC 3720, B.4 has others.
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, at) => {
      const parts = crc32c(crc32c(CRC_START, bytes.subarray(0, at)), bytes.subarray(at));
      assert.equal(parts, crc32c(CRC_START, bytes));
    }),
  );
});

test('files read as the kernel read them, through extents and through pointers', async () => {
  const digests = imageDigests();
  for (const name of names) {
    const fs = await openExt4(deviceOf(imageBytes(name)));
    const numbers = [...digests.keys()].filter((key) => key.startsWith(`${name}@`));
    assert.equal(numbers.length, 3);
    for (const key of numbers) {
      const content = await contentOf(fs, Number(key.split('@')[1]));
      assert.equal(toHex(sha256(content)), digests.get(key), key);
    }
  }
});

test('every block of a file is in use, and so is what holds the file system together', async () => {
  for (const name of names) {
    const fs = await openExt4(deviceOf(imageBytes(name)));
    const { firstDataBlock } = fs.super;
    assert.equal(fs.super.groupCount, 1);
    const group = await fs.group(0);
    const used = await fs.blocksInUse(group);
    for (const block of [group.blockBitmap, group.inodeBitmap, group.inodeTable]) {
      assert.ok(used.test(block - firstDataBlock));
    }
    for await (const { block, count } of fileRuns(fs, await fs.inode(12))) {
      assert.ok(used.testRange(block - firstDataBlock, count));
    }
    assert.ok(used.count() < used.size);
  }
});

test('the log is gone through from its first transaction to the last, and no further', async () => {
  for (const name of names) {
    const log = await openJbd2(await openExt4(deviceOf(imageBytes(name))));
    // Made by one mount: it left out the first number, and one more at its end.
    const walk = await walkLog(log, log.super.first, 2);
    assert.equal(walk.last?.sequence, log.super.sequence - 2);
    assert.equal(log.after(walk.last!.at), log.super.head);
    assert.equal(walk.length, log.super.head - log.super.first);
    assert.ok(walk.logged.length > 50 && walk.revoked.length > 0);
    assert.deepEqual(await findCommit(log, walk.last!.sequence), walk.last);
    assert.equal((await findCommit(log, 2))?.sequence, 2);
    assert.equal(await findCommit(log, 1), undefined);
    assert.equal((await walkLog(log, log.super.first, 3)).last, undefined);
  }
});

test('a log that goes round its end is one log', async () => {
  const fs = await openExt4(deviceOf(imageBytes('new.ext4')));
  const log = await openJbd2(fs);
  const { first, end, blockBytes } = log.super;
  const straight = await walkLog(log, first, 2);
  // The same blocks, so that the second half begins anew at the first place.
  const from = end - 40;
  const bytes = new Uint8Array(blockBytes);
  const copies: Uint8Array[] = [];
  for (let index = 0; index < straight.length; index++) {
    await fs.device.read(bytes, log.place(first + index).block * blockBytes);
    copies.push(bytes.slice());
  }
  for (const [index, copy] of copies.entries()) {
    await fs.device.write(copy, log.place(log.after(from, index)).block * blockBytes, 0);
  }
  const round = await walkLog(log, from, 2);
  assert.deepEqual([round.logged, round.revoked], [straight.logged, straight.revoked]);
});

test('a transaction that is not whole ends the log, wherever it is damaged', async () => {
  const image = imageBytes('new.ext4');
  const log = await openJbd2(await openExt4(deviceOf(image)));
  const whole = await walkLog(log, log.super.first, 2);
  for (let index = 0; index < whole.length; index += 7) {
    const bytes = image.slice();
    const at = log.place(log.super.first + index).block * log.super.blockBytes;
    bytes[at + 100] = bytes[at + 100]! ^ 1;
    const torn = await openJbd2(await openExt4(deviceOf(bytes)));
    const walk = await walkLog(torn, torn.super.first, 2);
    assert.ok((walk.last?.sequence ?? 0) < whole.last!.sequence, `block ${index}`);
    assert.ok(walk.length <= index);
  }
});

test('what has no file system, or one that is not known, is refused', async () => {
  assert.equal(await looksLikeExt4(deviceOf(new Uint8Array(2047))), false);
  await assert.rejects(readExt4Super(deviceOf(new Uint8Array(4096))), { code: 'FS_NOT_FOUND' });
  const cases: [string, (view: DataView) => void, string][] = [
    [
      'a feature of tomorrow',
      (view) => view.setUint32(SUPER + 0x60, 0x80000042, true),
      'FS_UNSUPPORTED',
    ],
    ['a journal device', (view) => view.setUint32(SUPER + 0x60, 0x8, true), 'FS_UNSUPPORTED'],
    ['blocks of 2 TiB', (view) => view.setUint32(SUPER + 0x18, 31, true), 'FS_DAMAGED'],
    ['no blocks per group', (view) => view.setUint32(SUPER + 0x20, 0, true), 'FS_DAMAGED'],
    ['no inodes per group', (view) => view.setUint32(SUPER + 0x28, 0, true), 'FS_DAMAGED'],
    ['inodes of 3 bytes', (view) => view.setUint16(SUPER + 0x58, 3, true), 'FS_DAMAGED'],
    ['more than the device', (view) => view.setUint32(SUPER + 0x4, 7000, true), 'FS_DAMAGED'],
    ['fewer inodes than groups', (view) => view.setUint32(SUPER, 1, true), 'FS_DAMAGED'],
  ];
  for (const [what, change, code] of cases) {
    await assert.rejects(openExt4(changed('old.ext4', change)), { code }, what);
  }
});

test('a wrong checksum is found in each kind of block', async () => {
  const fs = await openExt4(deviceOf(imageBytes('new.ext4')));
  const { blockBytes } = fs.super;
  const group = await fs.group(0);
  const flipped = (at: number) => openExt4(changed('new.ext4', (_, bytes) => (bytes[at]! ^= 1)));
  const damaged = { code: 'FS_DAMAGED', message: /wrong checksum/ };
  await assert.rejects(flipped(SUPER + 0x30), damaged);
  const descriptor = await flipped(2 * blockBytes + 0xc);
  await assert.rejects(descriptor.group(0), damaged);
  const bitmap = await flipped(group.blockBitmap * blockBytes + 9);
  await assert.rejects(async () => bitmap.blocksInUse(await bitmap.group(0)), damaged);
  const inode = await flipped(group.inodeTable * blockBytes + 11 * fs.super.inodeBytes + 0x10);
  await assert.rejects(inode.inode(12), damaged);
  // Its extents do not fit into the inode: four bytes behind the header is a block of them.
  const { bytes } = await fs.inode(12);
  const below = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0x28 + 12 + 4, true);
  const tree = await flipped(below * blockBytes + 20);
  await assert.rejects(async () => Array.fromAsync(fileRuns(tree, await tree.inode(12))), damaged);
  const old = await openExt4(changed('old.ext4', (_, all) => (all[2 * 1024 + 0xc]! ^= 1)));
  await assert.rejects(old.group(0), damaged);
});

test('a journal that is elsewhere, or has fast commits, is refused', async () => {
  const cases: [string, number, number][] = [
    ['no journal', 0x5c, 0x38],
    ['fast commits', 0x5c, 0x43c],
    ['on another device', 0xe4, 0x801],
  ];
  for (const [what, at, value] of cases) {
    const fs = await openExt4(
      changed('old.ext4', (view) => view.setUint32(SUPER + at, value, true)),
    );
    await assert.rejects(openJbd2(fs), { code: 'FS_UNSUPPORTED' }, what);
  }
});

test('an image that is cut short is damaged, not shorter', async () => {
  const bytes = imageBytes('old.ext4');
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.byteLength - 1), async (length) => {
      await assert.rejects(openExt4(deviceOf(bytes.subarray(0, length))), (error) =>
        ['FS_NOT_FOUND', 'FS_DAMAGED'].includes((error as { code: string }).code),
      );
    }),
    { numRuns: 20 },
  );
});
