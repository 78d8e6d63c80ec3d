/** Goal: tags of every form are read, of 32 and 64 bits, with the checksums of their time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceOf, imageBytes } from '../../test/golden/images/images.ts';
import { CRC_START, crc32c, crc32cOfU32 } from './crc32c.ts';
import { commitAt, openExt4, openJbd2, walkLog } from './index.ts';

const MAGIC = 0xc03b3998;
const [DESCRIPTOR, COMMIT, REVOKE] = [1, 2, 5];
const [IS_64BIT, CSUM_2, CSUM_3] = [2, 8, 16];
const [ESCAPED, SAME_UUID, LAST] = [1, 2, 8];
const BLOCK = 1024;

type Form = { readonly features: number; readonly tagBytes: number };

/** The image of 1 KiB blocks, with a log of one transaction, made to the layout of `features`. */
async function logOf({ features, tagBytes }: Form) {
  const bytes = imageBytes('old.ext4');
  const view = new DataView(bytes.buffer);
  const found = await openJbd2(await openExt4(deviceOf(bytes)));
  const at = (logBlock: number) => found.place(logBlock).block * BLOCK;
  const hasSums = (features & (CSUM_2 | CSUM_3)) !== 0;
  const seed = crc32c(CRC_START, bytes.subarray(at(0) + 0x30, at(0) + 0x40));
  const sumAt = (logBlock: number, place: number) => {
    if (!hasSums) return;
    view.setUint32(at(logBlock) + place, 0);
    const block = bytes.subarray(at(logBlock), at(logBlock) + BLOCK);
    view.setUint32(at(logBlock) + place, crc32c(seed, block));
  };
  const header = (logBlock: number, type: number) => {
    bytes.fill(0, at(logBlock), at(logBlock) + BLOCK);
    for (const [index, value] of [MAGIC, type, 7].entries()) {
      view.setUint32(at(logBlock) + index * 4, value);
    }
  };
  view.setUint32(at(0) + 0x28, features | 1);
  view.setUint32(at(0) + 0xfc, 0);
  if (hasSums)
    view.setUint32(at(0) + 0xfc, crc32c(CRC_START, bytes.subarray(at(0), at(0) + BLOCK)));
  header(1, DESCRIPTOR);
  const high = (features & IS_64BIT) === 0 ? 0 : 3;
  let tag = at(1) + 12;
  for (const [index, flags] of [ESCAPED, SAME_UUID, SAME_UUID | LAST].entries()) {
    const content = bytes.subarray(at(2 + index), at(2 + index) + BLOCK).fill(index + 1);
    const sum = crc32c(crc32cOfU32(seed, 7, 'big'), content);
    view.setUint32(tag, 100 + index);
    if ((features & CSUM_3) !== 0) {
      view.setUint32(tag + 4, flags);
      view.setUint32(tag + 12, sum);
    } else {
      view.setUint16(tag + 4, hasSums ? sum & 0xffff : 0);
      view.setUint16(tag + 6, flags);
    }
    if (high > 0) view.setUint32(tag + 8, high);
    tag += tagBytes + (index === 0 ? 16 : 0); // Behind the first one stands a UUID.
  }
  sumAt(1, BLOCK - 4);
  header(5, REVOKE);
  const entryBytes = high > 0 ? 8 : 4;
  view.setUint32(at(5) + 12, 16 + entryBytes);
  view.setUint32(at(5) + 16 + entryBytes - 4, 55);
  sumAt(5, BLOCK - 4);
  header(6, COMMIT);
  sumAt(6, 0x10);
  return { bytes, at, blocks: [100, 101, 102].map((block) => block + high * 2 ** 32) };
}

const forms: readonly (Form & { readonly name: string })[] = [
  { name: 'none', features: 0, tagBytes: 8 },
  { name: 'none, 64 bits', features: IS_64BIT, tagBytes: 12 },
  { name: 'the second kind', features: CSUM_2, tagBytes: 10 },
  { name: 'the second kind, 64 bits', features: CSUM_2 | IS_64BIT, tagBytes: 14 },
  { name: 'the third kind', features: CSUM_3, tagBytes: 16 },
  { name: 'the third kind, 64 bits', features: CSUM_3 | IS_64BIT, tagBytes: 16 },
];

for (const { name, ...form } of forms) {
  test(`tags with checksums: ${name}`, async () => {
    const { bytes, at, blocks } = await logOf(form);
    const log = await openJbd2(await openExt4(deviceOf(bytes)));
    const walk = await walkLog(log, 1, 7);
    assert.deepEqual(walk.logged, blocks);
    assert.deepEqual(walk.revoked, [55]);
    assert.deepEqual([walk.from, walk.length, walk.last?.at], [1, 6, 6]);
    const descriptor = await log.read(1);
    const escaped = log.tags(descriptor).map(({ isEscaped }) => isEscaped);
    assert.deepEqual(escaped, [true, false, false]);
    assert.equal((await commitAt(log, 6, 7))?.at, 6);
    assert.equal(await commitAt(log, 6, 8), undefined);
    assert.equal(await commitAt(log, 5, 7), undefined);
    if ((form.features & (CSUM_2 | CSUM_3)) === 0) return;
    for (const logBlock of [1, 2, 4, 5, 6]) {
      const torn = bytes.slice();
      torn[at(logBlock) + 900] = torn[at(logBlock) + 900]! ^ 4;
      const other = await openJbd2(await openExt4(deviceOf(torn)));
      assert.equal((await walkLog(other, 1, 7)).last, undefined, `block ${logBlock}`);
    }
  });
}

test('a superblock of the journal that contradicts itself is refused', async () => {
  const { bytes, at } = await logOf({ features: 0, tagBytes: 8 });
  const cases: [string, number, number, string][] = [
    ['another magic', 0, 1, 'FS_DAMAGED'],
    ['the first version', 4, 3, 'FS_UNSUPPORTED'],
    ['blocks of another size', 0xc, 4096, 'FS_DAMAGED'],
    ['longer than its file', 0x10, 2 ** 31, 'FS_DAMAGED'],
    ['a log that begins at 0', 0x14, 0, 'FS_DAMAGED'],
    ['begun behind its end', 0x1c, 2 ** 20, 'FS_DAMAGED'],
    ['a feature of tomorrow', 0x28, 0x100, 'FS_UNSUPPORTED'],
    ['fast commits', 0x28, 0x20, 'FS_UNSUPPORTED'],
    ['two kinds of checksums', 0x28, 0x18, 'FS_DAMAGED'],
    ['checksums that are wrong', 0x28, 0x10, 'FS_DAMAGED'],
  ];
  for (const [what, place, value, code] of cases) {
    const changed = bytes.slice();
    new DataView(changed.buffer).setUint32(at(0) + place, value);
    const fs = await openExt4(deviceOf(changed));
    await assert.rejects(openJbd2(fs), { code }, what);
  }
});
